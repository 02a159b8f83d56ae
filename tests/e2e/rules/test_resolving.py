"""Calls whose outcome is not known, on the wire and in a person's hands, with processes that die or stand still."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.rules.agents import Agents, call
from tests.e2e.rules.counting import CountingProvider, body_of, usage_of
from tests.harness import MODEL, PYTHON, WAIT_S, Gateway, Workspace, wait_until

pytestmark = pytest.mark.long

RUN = "r"
Start = Callable[..., Gateway]

# Makes one call with the official client, which tries again by itself unless it is told not to.
ASKING = f"""\
import openai

try:
    openai.OpenAI(default_headers={{"X-Loop-Id": "{RUN}"}}).chat.completions.create(
        model="{MODEL}", messages=[{{"role": "user", "content": "call 77"}}]
    )
except openai.RateLimitError as refused:
    print(refused.code)
"""


def cost_of(number: int) -> float:
    """In dollars, by the prices of the harness."""
    prompt, completion = usage_of(number)
    return (prompt * 10 + completion * 30) / 1e6


def unresolved(workspace: Workspace, calls: int) -> dict[str, Any]:
    """The account once so many calls are unresolved and none is open."""

    def state() -> tuple[int, int]:
        account = workspace.account(RUN)
        return account["open_calls"], account["unresolved_calls"]

    wait_until(lambda: state() == (0, calls), f"{calls} calls are unresolved")
    return workspace.account(RUN)


def refused_answer(gateway: Gateway, number: int) -> tuple[int, dict[str, str], dict[str, Any]]:
    """The status, the headers and the error of a call that is refused."""
    body = json.dumps(body_of(number, streams=False)).encode()
    asked = urllib.request.Request(
        f"{gateway.origin}/v1/chat/completions", body, {"Content-Type": "application/json", "X-Loop-Id": RUN}
    )
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(asked, timeout=WAIT_S):
        pass
    with refused.value as answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer.code, headers, json.load(answer)["error"]


def answers_with(gateway: Gateway, status: int) -> int:
    """How often a gateway has answered with this status."""
    with urllib.request.urlopen(f"{gateway.admin}/metrics", timeout=WAIT_S) as answer:
        figures = [line.split() for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return sum(int(float(figure)) for name, figure in figures if name == f'leash_responses_total{{code="{status}"}}')


def test_unresolved_calls_that_leave_no_room_refuse_for_good_until_a_person_resolves_one(
    workspace: Workspace, provider: CountingProvider, start: Start, pool: ThreadPoolExecutor
) -> None:
    gateway = start(provider, "--max-cost", "100", "--max-calls", "3", admin=True)
    assert call(gateway.origin, 0, RUN) == "whole"
    provider.hold()
    agents = Agents(pool, gateway.origin, RUN, range(1, 3))
    provider.until_received(3)
    for worker in gateway.workers():
        worker.kill()
    assert set(agents.ends()) <= {"cut", "lost"}
    provider.release()
    account = unresolved(workspace, 2)
    wait_until(lambda: len(gateway.workers()) == 2, "its workers are replaced")

    status, headers, error = refused_answer(gateway, 50)
    assert (status, error["code"], headers["x-should-retry"]) == (429, "unresolved_calls", "false")
    assert "retry-after" not in headers
    assert "leashctl resolve" in error["message"]
    before = answers_with(gateway, 429)
    program = str(workspace.write("asking.py", ASKING))
    asked = workspace.run(PYTHON, program, environ={"OPENAI_BASE_URL": f"{gateway.origin}/v1"})
    assert (asked.returncode, asked.stdout) == (0, "unresolved_calls\n"), asked.stderr
    assert answers_with(gateway, 429) == before + 1, "the client has asked once"
    assert len(provider.received) == 3
    account = workspace.account(RUN)
    assert (account["status"], account["reason"]) == ("running", ""), "it stops nothing"

    first, second = (one["call"] for one in account["unresolved"])
    assert workspace.leashctl("resolve", RUN, first, "--release").returncode == 0
    assert call(gateway.origin, 51, RUN) == "whole"
    assert call(gateway.origin, 52, RUN) == "429 unresolved_calls"
    assert workspace.leashctl("resolve", RUN, second, "--cost", "0.01").returncode == 0
    assert call(gateway.origin, 53, RUN) == "429 max_calls", "what was resolved at a cost is a call"
    account = workspace.account(RUN)
    assert (account["calls"], account["unresolved_calls"], account["status"]) == (3, 0, "stopped")
    gateway.stop()


def stand_still(gateway: Gateway, *, still: bool) -> None:
    """Stops a gateway's processes, or lets them go on."""
    for pid in (gateway.process.pid, *(worker.pid for worker in gateway.workers())):
        os.kill(pid, signal.SIGSTOP if still else signal.SIGCONT)


@pytest.mark.parametrize("first", ["the person", pytest.param("the late settle", marks=pytest.mark.long)])
def test_a_gateway_that_stood_still_settles_late_against_a_persons_word(
    workspace: Workspace, provider: CountingProvider, start: Start, pool: ThreadPoolExecutor, first: str
) -> None:
    gateway = start(provider, workers=1)
    assert call(gateway.origin, 0, RUN) == "whole"
    provider.hold()
    agents = Agents(pool, gateway.origin, RUN, range(1, 5))
    provider.until_received(5)
    stand_still(gateway, still=True)
    try:
        [pid] = workspace.daemon_pids()
        os.kill(pid, signal.SIGKILL)
        # The next look at it starts another one, which the gateway does not come back to within the grace.
        calls = [one["call"] for one in unresolved(workspace, 4)["unresolved"]]
        if first == "the person":
            priced = workspace.leashctl("resolve", RUN, calls[0], "--cost", "3")
            assert priced.returncode == 0, priced.stderr
            released = workspace.leashctl("resolve", RUN, calls[1], "--release")
            assert released.returncode == 0, released.stderr
            account = workspace.account(RUN)
            assert (account["calls"], account["unresolved_calls"]) == (2, 2)
            assert account["total_cost"] == pytest.approx(3 + cost_of(0))
    finally:
        stand_still(gateway, still=False)
    provider.release()
    assert agents.ends() == ["whole"] * 4
    wait_until(lambda: workspace.account(RUN)["calls"] == 5, "all are settled, each once")
    for one in calls:
        late = workspace.leashctl("resolve", RUN, one, "--cost", "7")
        assert late.returncode == 1, "what is settled is not a person's to close"
        assert "no such unresolved call" in late.stderr

    account = workspace.account(RUN)
    assert (account["calls"], account["unresolved_calls"], account["held_cost"]) == (5, 0, 0)
    assert account["total_cost"] == pytest.approx(sum(cost_of(number) for number in range(5)), abs=1e-9)
    assert account["input_tokens"] == sum(usage_of(number)[0] for number in range(5))
    amends = [entry.get("amends", False) for entry in account["entries"] if entry["kind"] == "settled"]
    assert sum(amends) == (2 if first == "the person" else 0)
    gateway.stop()


def test_a_reserve_whose_answer_was_lost_is_never_sent_twice_nor_kept(
    workspace: Workspace, provider: CountingProvider, start: Start, pool: ThreadPoolExecutor
) -> None:
    """leashd is killed again and again just as calls ask for their admission, and the gateway asks for them again."""
    gateway = start(provider, workers=1)
    assert call(gateway.origin, 0, RUN) == "whole"
    ends: list[str] = []
    for life in range(4):
        [pid] = workspace.daemon_pids()
        os.kill(pid, signal.SIGSTOP)
        agents = Agents(pool, gateway.origin, RUN, range(1 + 16 * life, 17 + 16 * life))
        # It may take some of what they ask, and is killed before they hear of it, or soon after.
        os.kill(pid, signal.SIGCONT)
        with suppress(TimeoutError):
            wait_until(lambda life=life: len(provider.received) > 16 * life + 1, "one is sent", timeout_s=0.02 * life)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: workspace.daemon_pids() not in ([], [pid]), "another leashd is there")
        ends += agents.ends()
    assert set(ends) <= {"whole", "503 leash_unavailable"}
    wait_until(lambda: not workspace.account(RUN)["open_calls"], "no call is open any more")
    account = workspace.account(RUN)
    assert len(provider.received) == len(set(provider.received)) == 1 + ends.count("whole")
    assert (account["calls"], account["unresolved_calls"]) == (len(provider.received), 0)
    assert account["input_tokens"] == sum(usage_of(number)[0] for number in provider.received)
    gateway.stop()
