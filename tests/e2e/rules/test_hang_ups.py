"""Clients that hang up at any instant: every call that the provider was sent is in the ledger, with its usage.

Many clients ask at once, each on a connection of its own, and leave at instants of their own: in the middle of their
request, before the headers of the answer, within a stream, or after all of it; by closing or by a reset. What the
provider was sent is what it bills, whoever listens: its own count and the ledger's have to be the same, call by call.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.rules.agents import Agents, call, connect, request, until_under_way
from tests.e2e.rules.counting import CountingProvider, counting_provider, usage_of
from tests.harness import LEASHCTL, MODEL, PRICES, PYTHON, WAIT_S, Gateway, Workspace, wait_until

CLIENTS = 40
RUN = "many"

# Clients in threads: sys.argv is the seed, how many there are, and the run's header. Prints what each did.
AGENTS = f"""\
import json
import os
import random
import socket
import struct
import sys
import threading
import time
from urllib.parse import urlsplit

SEED, CLIENTS, RUN = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
BASE = urlsplit(os.environ["OPENAI_BASE_URL"])
did = {{}}
ready = threading.Barrier(CLIENTS)


def client(number):
    chance = random.Random(SEED * 1_000 + number)
    streams = chance.random() < 0.5
    body = {{"model": "{MODEL}", "messages": [{{"role": "user", "content": f"call {{number}}"}}], "stream": streams}}
    body = json.dumps(body).encode()
    head = f"POST {{BASE.path}}/chat/completions HTTP/1.1\\r\\nHost: {{BASE.netloc}}\\r\\nX-Loop-Id: {{RUN}}\\r\\n"
    head += f"Content-Type: application/json\\r\\nContent-Length: {{len(body)}}\\r\\n\\r\\n"
    whole = head.encode() + body
    way = chance.choice(("part of the request", "at once", "later", "later", "later", "within", "within", "stays"))
    connection = socket.create_connection((BASE.hostname, BASE.port), timeout=60)
    if chance.random() < 0.5:
        # It leaves with a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ready.wait()
    time.sleep(chance.random() * 0.1)
    got, seconds = b"", chance.random() ** 2 * 0.8
    if way == "part of the request":
        connection.sendall(whole[: chance.randrange(1, len(whole))])
    else:
        connection.sendall(whole)
    if way == "later":
        time.sleep(seconds)
    elif way in ("within", "stays"):
        while data := connection.recv(200):
            got += data
            if way == "within" or b"[DONE]" in got or b'"usage"' in got:
                break
        if way == "within":
            time.sleep(seconds / 4)
    connection.close()
    did[number] = way, streams, round(seconds, 3), len(got)


threads = [threading.Thread(target=client, args=(number,)) for number in range(1, CLIENTS + 1)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(did), flush=True)
"""


# A program with calls in flight, each on a connection of its own, which it keeps until it is ended.
IN_FLIGHT = f"""\
import json
import os
import socket
import sys
import time
from urllib.parse import urlsplit

base = urlsplit(os.environ["OPENAI_BASE_URL"])
connections = []
for number in range(1, 1 + int(sys.argv[1])):
    body = {{"model": "{MODEL}", "messages": [{{"role": "user", "content": f"call {{number}}"}}]}}
    body = json.dumps(body | {{"stream": number % 2 == 0}}).encode()
    head = f"POST {{base.path}}/chat/completions HTTP/1.1\\r\\nHost: {{base.netloc}}\\r\\n"
    head += f"X-Loop-Id: {{sys.argv[2]}}\\r\\nContent-Type: application/json\\r\\n"
    head += f"Content-Length: {{len(body)}}\\r\\n\\r\\n"
    connections.append(socket.create_connection((base.hostname, base.port)))
    connections[-1].sendall(head.encode() + body)
time.sleep(600)
"""


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("LEASH_TEST_SEED") or random.randrange(1_000_000))
    print(f"seed {chosen}: LEASH_TEST_SEED={chosen} runs it again")
    return chosen


@pytest.fixture
def provider(seed: int) -> Iterator[CountingProvider]:
    """It takes up to half a second before an answer, and as long again within a stream."""

    def before_head(number: int) -> float:
        return random.Random(seed * 1_000 + number + 1).random() ** 2 * 0.5

    def between_chunks(number: int) -> float:
        return random.Random(seed * 1_000 + number + 2).random() ** 2 * 0.2

    with counting_provider(before_head=before_head, between_chunks=between_chunks) as created:
        yield created


@pytest.fixture
def program(workspace: Workspace) -> str:
    return str(workspace.write("agents.py", AGENTS))


Start = Callable[..., Gateway]


def once_quiet(workspace: Workspace, provider: CountingProvider) -> dict[str, Any]:
    """The account once the provider has written all that it was asked for, and no call is open."""
    wait_until(lambda: len(provider.answered) == len(provider.received), "every answer is written to its end")
    wait_until(lambda: not workspace.account(RUN)["open_calls"], "no call is open any more")
    return workspace.account(RUN)


def assert_all_accounted(account: dict[str, Any], provider: CountingProvider) -> None:
    """What the provider was sent is what the ledger has settled, call by call, and nothing else is left."""
    usage = Counter(
        (entry["input_tokens"], entry["output_tokens"]) for entry in account["entries"] if entry["kind"] == "settled"
    )
    assert usage == provider.usage()
    assert len(set(provider.received)) == len(provider.received), "a call was sent twice"
    assert (account["calls"], account["unresolved_calls"]) == (len(provider.received), 0)
    assert account["input_tokens"] == sum(usage_of(number)[0] for number in provider.received)
    assert account["output_tokens"] == sum(usage_of(number)[1] for number in provider.received)
    assert account["held_cost"] == 0


def test_clients_of_a_gateway_that_hang_up_at_any_instant(
    workspace: Workspace, provider: CountingProvider, start: Start, program: str, seed: int
) -> None:
    gateway = start(provider)
    assert call(gateway.origin, 0, RUN) == "whole"
    did = workspace.run(
        *(PYTHON, program, str(seed), str(CLIENTS), RUN), environ={"OPENAI_BASE_URL": f"{gateway.origin}/v1"}
    )
    assert did.returncode == 0, did.stderr
    print(did.stdout)
    account = once_quiet(workspace, provider)
    assert_all_accounted(account, provider)
    # Even the one who leaves at once has sent its request; who has sent a part of it has sent none.
    ways = Counter(way for way, *_ in json.loads(did.stdout).values())
    assert len(provider.received) >= 1 + ways["stays"] + ways["within"]
    assert len(provider.received) <= 1 + CLIENTS - ways["part of the request"]
    gateway.stop()


def test_clients_under_wrap_that_hang_up_at_any_instant_and_leave_with_their_program(
    workspace: Workspace, provider: CountingProvider, program: str, seed: int
) -> None:
    prices = workspace.write("prices.json", PRICES)
    did = workspace.leashctl(
        *("wrap", "--run", RUN, "--prices", str(prices), "--max-cost", "100", "--max-calls", "0", "--"),
        *(PYTHON, program, str(seed), str(CLIENTS), RUN),
        environ={"OPENAI_BASE_URL": provider.base_url},
    )
    assert did.returncode == 0, did.stderr
    print(did.stdout)
    account = workspace.account(RUN)
    assert account["status"] == "finished"
    assert_all_accounted(account, provider)
    ways = Counter(way for way, *_ in json.loads(did.stdout).values())
    assert len(provider.received) >= ways["stays"] + ways["within"]


@pytest.mark.parametrize("door", ["gateway", "wrap"])
def test_a_program_that_is_killed_with_all_its_calls_in_flight_hangs_up_on_all_of_them(
    workspace: Workspace, provider: CountingProvider, start: Start, door: str
) -> None:
    command = (PYTHON, str(workspace.write("killed.py", IN_FLIGHT)), str(CLIENTS), RUN)
    provider.hold()
    if door == "gateway":
        gateway = start(provider, "--max-cost", "0", "--max-calls", "0")
        agent = workspace.start(*command, environ={"OPENAI_BASE_URL": f"{gateway.origin}/v1"})
    else:
        wrap = (LEASHCTL, "wrap", "--run", RUN, "--max-cost", "0", "--max-calls", "0", "--", *command)
        agent = workspace.start(*wrap, environ={"OPENAI_BASE_URL": provider.base_url})
    provider.until_received(CLIENTS)
    os.kill(agent.pid if door == "gateway" else workspace.listed(RUN)["pid"], signal.SIGKILL)
    if door == "gateway":
        agent.wait(WAIT_S)
    else:
        assert agent.stderr is not None
        assert f"waiting for {CLIENTS} of its calls" in agent.stderr.readline()
    provider.release()
    assert_all_accounted(once_quiet(workspace, provider), provider)
    if door == "gateway":
        gateway.stop()
    else:
        _, err = agent.communicate(timeout=WAIT_S)
        assert agent.returncode == 128 + signal.SIGKILL, err


def test_the_place_of_a_client_that_hangs_up_while_it_waits_goes_to_the_next_and_it_is_never_sent(
    workspace: Workspace, provider: CountingProvider, start: Start
) -> None:
    # Each call costs about a cent and holds twice that: beside what is spent there is room for two, not for three.
    gateway = start(provider, "--max-cost", "0.07", "--max-calls", "0", "--hold-wait", "5m", workers=1, admin=True)
    assert call(gateway.origin, 0, RUN) == "whole"
    provider.hold()
    with ThreadPoolExecutor(4) as pool:
        first = Agents(pool, gateway.origin, RUN, range(1, 3))
        provider.until_received(3)
        leaving = connect(gateway.origin)
        leaving.sendall(request(3, RUN, streams=False))
        until_under_way(gateway, 3)
        assert workspace.account(RUN)["open_calls"] == 2, "the third waits"
        staying = Agents(pool, gateway.origin, RUN, range(4, 5))
        until_under_way(gateway, 4)
        leaving.close()
        until_under_way(gateway, 3)
        provider.release(1)
        provider.until_received(4)
        assert provider.received[3] == 4
        provider.release()
        assert [*first.ends(), *staying.ends()] == ["whole"] * 3
    account = once_quiet(workspace, provider)
    assert_all_accounted(account, provider)
    assert Counter(entry["kind"] for entry in account["entries"])["reserved"] == 4, "for the third nothing was reserved"
    gateway.stop()
