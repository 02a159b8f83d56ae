"""Raises, kills and deadlines against calls that wait, and jobs that are run again, with real processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.rules.agents import Agents, call, until_under_way
from tests.e2e.rules.counting import CountingProvider, counting_provider
from tests.harness import PYTHON, Gateway, Workspace, wait_until

pytestmark = pytest.mark.long

RUN = "r"
Start = Callable[..., Gateway]

# Asks so often, and prints what each came to.
NIGHTLY = """\
import json, os, sys, urllib.error, urllib.request
for number in range(int(sys.argv[1]), int(sys.argv[2])):
    body = {"model": "demo-model", "messages": [{"role": "user", "content": f"call {number}"}], "stream": False}
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            print(answer.status, flush=True)
    except urllib.error.HTTPError as refused:
        with refused:
            print(refused.code, json.load(refused)["error"]["code"], flush=True)
"""


def entries(account: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry for entry in account["entries"] if entry["kind"] == kind]


WAITING = 5


def waiting(
    workspace: Workspace, provider: CountingProvider, gateway: Gateway, pool: ThreadPoolExecutor, *, run: str = RUN
) -> tuple[Agents, Agents]:
    """One call in flight, which leaves no room, and some that wait behind it."""
    provider.hold()
    sent = len(provider.received)
    number = 1 + 10 * sent
    first = Agents(pool, gateway.origin, run, range(number, number + 1))
    provider.until_received(sent + 1)
    others = Agents(pool, gateway.origin, run, range(number + 1, number + 1 + WAITING))
    until_under_way(gateway, 1 + WAITING)
    assert workspace.account(run)["open_calls"] == 1
    return first, others


def test_a_raise_lets_as_many_in_at_once_as_it_makes_room_for(
    workspace: Workspace, provider: CountingProvider, start: Start, pool: ThreadPoolExecutor
) -> None:
    gateway = start(provider, "--max-cost", "0", "--max-calls", "1", "--hold-wait", "10m", admin=True)
    first, others = waiting(workspace, provider, gateway, pool)
    raised = workspace.leashctl("raise", RUN, "--max-calls", "4")
    assert raised.returncode == 0, raised.stderr
    provider.until_received(4)
    account = workspace.account(RUN)
    assert (account["open_calls"], account["max_calls"]) == (4, 4)
    assert len(provider.received) == 4, "and no more than that"
    provider.release()
    assert first.ends() == ["whole"]
    assert Counter(others.ends()) == {"whole": 3, "429 max_calls": 2}
    account = workspace.account(RUN)
    assert (account["calls"], len(entries(account, "stopped"))) == (4, 1)
    gateway.stop()


def test_a_kill_refuses_all_who_wait_at_once_and_is_recorded_once(
    workspace: Workspace, provider: CountingProvider, start: Start, pool: ThreadPoolExecutor
) -> None:
    gateway = start(provider, "--max-cost", "0", "--max-calls", "1", "--hold-wait", "10m", admin=True)
    first, others = waiting(workspace, provider, gateway, pool)
    killed = workspace.leashctl("kill", RUN)
    assert killed.returncode == 0, killed.stderr
    assert others.ends() == ["429 kill_switch"] * 5
    provider.release()
    assert first.ends() == ["whole"], "what was in flight comes to its end"
    account = workspace.account(RUN)
    assert (account["status"], account["calls"], account["open_calls"]) == ("killed", 1, 0)
    assert [entry["reason"] for entry in entries(account, "stopped")] == ["kill_switch"]
    assert len(provider.received) == 1
    gateway.stop()


def test_a_kill_while_the_deadline_passes_leaves_the_run_killed_and_each_who_waits_is_told_once(
    workspace: Workspace, provider: CountingProvider, start: Start, pool: ThreadPoolExecutor
) -> None:
    gateway = start(provider, "--max-cost", "0", "--max-calls", "1", "--hold-wait", "10m", admin=True)
    for attempt, seconds in enumerate((0.4, 0.6, 0.8, 1.0, 1.2, 3.0)):
        run = f"{RUN}-{attempt}"
        first, others = waiting(workspace, provider, gateway, pool, run=run)
        # A command takes about half a second: over all of them the kill comes before, at and after the deadline.
        began = datetime.fromisoformat(workspace.account(run)["started_at"])
        passed_s = (datetime.now(UTC) - began).total_seconds()
        raised = workspace.leashctl("raise", run, "--deadline", f"{int(1000 * (passed_s + seconds))}ms")
        assert raised.returncode == 0, raised.stderr
        killed = workspace.leashctl("kill", run)
        assert killed.returncode == 0, killed.stderr
        told = Counter(others.ends())
        account = workspace.account(run)
        reasons = [entry["reason"] for entry in entries(account, "stopped")]
        assert reasons in (["kill_switch"], ["deadline", "kill_switch"])
        assert (account["status"], account["reason"]) == ("killed", "kill_switch")
        assert told == {f"429 {reasons[0]}": WAITING}, "they were decided together, by what came first"
        assert call(gateway.origin, 9_000 + attempt, run) == "429 kill_switch"
        provider.release()
        assert first.ends() == ["whole"]
        assert [entry["reason"] for entry in entries(workspace.account(run), "stopped")] == reasons
    gateway.stop()


def test_a_job_that_is_run_again_after_a_raise_keeps_it_over_crashes_and_gets_no_more(
    workspace: Workspace, provider: CountingProvider
) -> None:
    program = str(workspace.write("nightly.py", NIGHTLY))
    environ = {"OPENAI_BASE_URL": provider.base_url}

    def nightly(first: int, *, max_calls: int = 2) -> list[str]:
        limits = ("--max-cost", "0", "--max-calls", str(max_calls))
        done = workspace.leashctl(
            *("wrap", "--run", RUN, *limits, "--", PYTHON, program, str(first), str(first + 3)), environ=environ
        )
        return done.stdout.splitlines() or [f"{done.returncode} {done.stderr}"]

    def crash() -> None:
        for pid in workspace.daemon_pids():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not workspace.daemon_pids(), "leashd is gone")

    assert nightly(0) == ["200", "200", "429 max_calls"]
    assert nightly(10) == ["429 max_calls"] * 3
    same = workspace.leashctl("raise", RUN, "--max-calls", "2")
    assert (same.returncode, "give a higher --max-calls" in same.stderr) == (1, True), same.stderr
    raised = workspace.leashctl("raise", RUN, "--max-calls", "4")
    assert raised.returncode == 0, raised.stderr
    crash()
    assert nightly(20) == ["200", "200", "429 max_calls"]
    crash()
    assert nightly(30) == ["429 max_calls"] * 3
    [refused] = nightly(40, max_calls=5)
    assert refused.startswith("1 leash: run r cannot be opened: --max-calls is looser"), refused
    assert "leashctl raise r" in refused
    assert workspace.account(RUN)["max_calls"] == 4
    assert workspace.leashctl("raise", RUN, "--max-calls", "5").returncode == 0
    assert nightly(50) == ["200", "429 max_calls", "429 max_calls"]
    account = workspace.account(RUN)
    assert (account["calls"], account["max_calls"]) == (5, 5)
    assert len(provider.received) == 5
    assert [entry["reason"] for entry in entries(account, "stopped")] == ["max_calls"] * 3
    assert len(entries(account, "raised")) == 2


def test_many_who_try_again_at_the_edge_of_a_budget_all_end_and_exactly_as_many_as_it_is_for_are_sent(
    workspace: Workspace, start: Start, pool: ThreadPoolExecutor
) -> None:
    clients, budget = 24, 8
    held = threading.Event()
    with counting_provider(before_head=lambda _: 0.4) as provider:
        gateway = start(provider, "--max-cost", "0", "--max-calls", str(budget), "--hold-wait", "200ms")

        def client(number: int) -> tuple[str, int]:
            for attempt in range(200):
                end = call(gateway.origin, 1_000 * attempt + number, RUN, streams=bool(number % 2))
                if end != "429 budget_held":
                    return end, attempt
                held.set()
                time.sleep(0.1)
            return "goes round and round", 200

        ends = Counter(end for end, _ in pool.map(client, range(1, clients + 1)))
        assert ends == {"whole": budget, "429 max_calls": clients - budget}
        assert held.is_set(), "some had to try again"
        assert len(provider.received) == budget
        account = workspace.account(RUN)
        assert (account["calls"], account["open_calls"]) == (budget, 0)
        assert len(entries(account, "stopped")) == 1
        gateway.stop()
