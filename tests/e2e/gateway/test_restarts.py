"""Restarts under load: nothing is lost, nothing is counted twice, and what could not be reserved is said to be so."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness import MODEL, PRICES, PYTHON, FakeProvider, Gateway, Workspace, wait_until

AGENTS = 16

# Agents that call, each on a connection that it keeps, whole answers and streams in turn, until a file is there. They
# never try again by themselves, so that whatever is lost is seen. Prints how often each outcome came.
AGENT = f"""\
import asyncio
import collections
import json
import pathlib
import sys

import aiohttp

BODY = {{"model": "{MODEL}", "messages": [{{"role": "user", "content": "go on"}}]}}
URL, STOP, AGENTS = sys.argv[1] + "/v1/chat/completions", pathlib.Path(sys.argv[2]), int(sys.argv[3])
outcomes = collections.Counter()


async def call(session, number, streams):
    headers = {{"X-Loop-Id": f"agent-{{number % 4}}"}}
    async with session.post(URL, json=BODY | {{"stream": streams}}, headers=headers) as answer:
        text = (await answer.read()).decode()
    if answer.status == 200:
        whole = text.rstrip().endswith("[DONE]") if streams else "choices" in json.loads(text)
        return "whole" if whole else "cut"
    return f"{{answer.status}} {{json.loads(text)['error']['code']}}"


async def agent(session, number):
    streams = False
    while not STOP.exists():
        try:
            outcome = await call(session, number, streams)
        except (aiohttp.ClientError, OSError) as error:
            outcome = f"lost: {{type(error).__name__}}"
        outcomes[outcome] += 1
        streams = not streams
        await asyncio.sleep(0.005)


async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(agent(session, number) for number in range(AGENTS)))
    print(json.dumps(outcomes))


asyncio.run(main())
"""


class Load:
    """Agents at work."""

    def __init__(self, workspace: Workspace, gateway: Gateway, agents: int) -> None:
        self._stop = workspace.root / "stop"
        program = str(workspace.write("agent.py", AGENT))
        self._agents = workspace.start(PYTHON, program, gateway.origin, str(self._stop), str(agents))

    def end(self) -> Counter[str]:
        """Lets each finish its call; returns how often each outcome came."""
        self._stop.touch()
        out, err = self._agents.communicate(timeout=60)
        assert self._agents.returncode == 0, err
        return Counter(json.loads(out))


class Service:
    """A leashd that is stopped and started as a service manager does it, and that no client starts."""

    def __init__(self, workspace: Workspace, sock: Path) -> None:
        self._workspace = workspace
        self._flags = ("--ledger", str(workspace.root / "service.db"), "--socket", str(sock))

    def start(self) -> None:
        """Returns once it is ready."""
        self._process = self._workspace.start(PYTHON, "-m", "leashd", *self._flags)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert "ready" in line, line + self._process.stderr.read()

    def stop(self) -> None:
        """Returns once it has ended as it should."""
        self._process.terminate()
        _, said = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, said


@contextmanager
def _under_load(
    workspace: Workspace, provider: FakeProvider, *flags: str, agents: int = AGENTS
) -> Iterator[tuple[Gateway, Load]]:
    prices = workspace.write("prices.json", PRICES)
    gateway = workspace.gateway(
        *("--insecure", "--prices", str(prices), "--max-cost", "1000", "--max-calls", "0"),
        *("--upstream", provider.origin, *flags),
    )
    load = Load(workspace, gateway, agents)
    _until_served(provider, 2 * agents)
    yield gateway, load
    gateway.stop()


def _until_served(provider: FakeProvider, calls: int) -> None:
    wait_until(lambda: provider.served() > calls, f"more than {calls} calls were served")


def _until_another_daemon(workspace: Workspace, pid: int) -> None:
    wait_until(lambda: workspace.daemon_pids() not in ([], [pid]), "another leashd is there")


def _recorded(workspace: Workspace, *which: str) -> tuple[int, int]:
    """The calls of all agents in the ledger: those that are settled, and those that are unresolved."""
    accounts = [workspace.account(f"agent-{number}", *which) for number in range(4)]
    assert not any(account["open_calls"] for account in accounts)
    return sum(account["calls"] for account in accounts), sum(account["unresolved_calls"] for account in accounts)


def test_a_rolling_restart_loses_no_call_and_cuts_no_stream(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider("--chunk-delay", "10ms")
    with _under_load(workspace, provider, "--workers", "2") as (gateway, load):
        before = {worker.pid for worker in gateway.workers()}
        gateway.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: not before & {worker.pid for worker in gateway.workers()}, "the workers are replaced")
        time.sleep(0.5)  # the new ones alone take the load for a while
        outcomes = load.end()

    assert set(outcomes) == {"whole"}
    assert _recorded(workspace) == (outcomes["whole"], 0)
    assert provider.served() == outcomes["whole"]


def test_leashd_killed_under_load_loses_nothing_and_counts_nothing_twice(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider("--chunk-delay", "10ms")
    with _under_load(workspace, provider, "--workers", "2") as (_, load):
        for number in (signal.SIGTERM, signal.SIGKILL):
            [pid] = workspace.daemon_pids()
            served = provider.served()
            os.kill(pid, number)
            _until_another_daemon(workspace, pid)
            _until_served(provider, served + 2 * AGENTS)
        outcomes = load.end()

    assert set(outcomes) <= {"whole", "503 leash_unavailable"}
    assert _recorded(workspace) == (provider.served(), 0)
    assert provider.served() == outcomes["whole"]


def test_leashd_restarted_as_a_service_under_32_connections_loses_no_call(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider("--chunk-delay", "10ms")
    sock = workspace.root / "run" / "service.sock"
    service = Service(workspace, sock)
    service.start()
    longest_s = 0.0
    with _under_load(workspace, provider, "--workers", "2", "--socket", str(sock), agents=32) as (_, load):
        for _ in range(2):
            served = provider.served()
            began_s = time.monotonic()
            service.stop()
            service.start()
            longest_s = max(longest_s, time.monotonic() - began_s)
            _until_served(provider, served + 64)
        outcomes = load.end()

    # Calls wait for five seconds; a machine on which a restart takes longer is told so, and nothing else happens.
    assert set(outcomes) <= ({"whole"} if longest_s < 3 else {"whole", "503 leash_unavailable"})
    assert _recorded(workspace, "--socket", str(sock)) == (provider.served(), 0)
    assert provider.served() == outcomes["whole"]
