"""Thirty-two calls are in flight when a process is killed: afterwards the provider's count and the ledger's agree.

=====================================  ==============================================================================
killed with ``kill -9``                what holds for all 32, each exactly once
=====================================  ==============================================================================
the gateway, supervisor and workers    unresolved with its hold kept, or settled if its answer had come
the gateway's workers                  the same, and the supervisor serves on with others
leashd                                 settled: answers go on, and settles are sent again
the gateway and leashd                 unresolved with its hold kept, once leashd is up again
=====================================  ==============================================================================
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.rules.agents import Agents, call
from tests.e2e.rules.counting import CountingProvider, counting_provider, usage_of
from tests.harness import Gateway, Workspace, wait_until

CALLS = range(1, 33)
FIRST, LAST = 0, 100  # calls before and after those: the first one makes the model known, so that the others hold
RUN = "many"
Start = Callable[..., Gateway]


@pytest.fixture
def provider() -> Iterator[CountingProvider]:
    with counting_provider(after_release=lambda number: number * 0.05) as created:
        yield created


def in_flight(
    workspace: Workspace, provider: CountingProvider, gateway: Gateway, pool: ThreadPoolExecutor
) -> tuple[Agents, dict[str, Any]]:
    """Has all calls in flight, held by the provider; returns them, and the account as it then is."""
    assert call(gateway.origin, FIRST, RUN) == "whole"
    provider.hold()
    agents = Agents(pool, gateway.origin, RUN, CALLS)
    provider.until_received(1 + len(CALLS))
    wait_until(lambda: workspace.account(RUN)["open_calls"] == len(CALLS), "all are open")
    account = workspace.account(RUN)
    assert account["held_cost"] > 0
    return agents, account


def end(*pids: int) -> None:
    """Kills processes, all at once: none of them sees another one's end."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def closed(workspace: Workspace) -> dict[str, Any]:
    """The account once no call is open."""
    wait_until(lambda: not workspace.account(RUN)["open_calls"], "no call is open any more")
    return workspace.account(RUN)


def accounted(account: dict[str, Any], provider: CountingProvider) -> Counter[str]:
    """How the calls of the journal ended, where each has one end and it is what the provider says it was."""
    ends: dict[str, str] = {}
    usage: Counter[tuple[int, int]] = Counter()
    for entry in account["entries"]:
        if entry["kind"] == "settled":
            usage[entry["input_tokens"], entry["output_tokens"]] += 1
        if entry["kind"] in ("settled", "voided", "abandoned"):
            assert ends.get(entry["call"], "abandoned") == "abandoned", "a call that had its end already"
            ends[entry["call"]] = entry["kind"]
    reserved = [entry["call"] for entry in account["entries"] if entry["kind"] == "reserved"]
    assert sorted(reserved) == sorted(set(ends)), "each call that was admitted has an end"
    assert len(reserved) == len(provider.received) == len(set(provider.received)), "the provider counts the same"
    assert usage <= provider.usage()
    counted = Counter(ends.values())
    assert (account["calls"], account["unresolved_calls"]) == (counted["settled"], counted["abandoned"])
    assert account["input_tokens"] == sum(prompt * times for (prompt, _), times in usage.items())
    assert account["output_tokens"] == sum(completion * times for (_, completion), times in usage.items())
    return counted


def victims(gateway: Gateway, which: str) -> list[int]:
    workers = [worker.pid for worker in gateway.workers()]
    assert len(workers) == 2
    return workers if which == "workers" else [gateway.process.pid, *workers]


def serves(start: Start, provider: CountingProvider, which: str, before: Gateway) -> Gateway:
    """The gateway after the kill: the supervisor's own new workers, or another one that is started."""
    if which == "workers":
        wait_until(lambda: len(before.workers()) == 2, "its workers are replaced")
        return before
    before.process.wait(timeout=30)
    return start(provider)


@pytest.mark.parametrize("which", ["gateway", pytest.param("workers", marks=pytest.mark.long)])
def test_a_gateway_that_is_killed_leaves_its_calls_unresolved_with_their_holds(
    workspace: Workspace, provider: CountingProvider, start: Start, pool: ThreadPoolExecutor, which: str
) -> None:
    gateway = start(provider)
    agents, before = in_flight(workspace, provider, gateway, pool)
    end(*victims(gateway, which))
    assert set(agents.ends()) <= {"lost", "cut"}
    account = closed(workspace)
    assert accounted(account, provider) == {"settled": 1, "abandoned": len(CALLS)}
    assert account["held_cost"] == before["held_cost"], "what they may have cost still counts"

    provider.release()
    again = serves(start, provider, which, gateway)
    assert call(again.origin, LAST, RUN) == "whole"
    for unresolved, word in zip(account["unresolved"], (("--cost", "0.01"), ("--release",)), strict=False):
        resolved = workspace.leashctl("resolve", RUN, unresolved["call"], *word)
        assert resolved.returncode == 0, resolved.stderr
    after = workspace.account(RUN)
    assert (after["calls"], after["unresolved_calls"]) == (3, len(CALLS) - 2)
    assert after["held_cost"] == pytest.approx(before["held_cost"] * (len(CALLS) - 2) / len(CALLS))
    assert len(provider.received) == 2 + len(CALLS)
    again.stop()


@pytest.mark.parametrize("which", ["gateway", pytest.param("workers", marks=pytest.mark.long)])
def test_a_gateway_that_is_killed_while_answers_come_leaves_each_settled_or_unresolved(
    workspace: Workspace, provider: CountingProvider, start: Start, pool: ThreadPoolExecutor, which: str
) -> None:
    gateway = start(provider)
    agents, before = in_flight(workspace, provider, gateway, pool)
    pids = victims(gateway, which)
    provider.release()
    wait_until(lambda: len(provider.answered) > 8, "some are answered")  # and the last of them in a second from now
    end(*pids)
    ends = Counter(agents.ends())
    account = closed(workspace)
    counted = accounted(account, provider)
    assert counted["settled"] + counted["abandoned"] == 1 + len(CALLS), "none is forgotten, and none taken back"
    assert counted["abandoned"] > 0
    assert ends["whole"] + ends["cut"] + ends["lost"] == len(CALLS)
    each = before["held_cost"] / len(CALLS)
    assert account["held_cost"] == pytest.approx(each * counted["abandoned"])
    serves(start, provider, which, gateway).stop()


@pytest.mark.parametrize("answers", ["once it is back", pytest.param("while it is away", marks=pytest.mark.long)])
def test_leashd_that_is_killed_loses_nothing_and_all_calls_are_settled(
    workspace: Workspace, provider: CountingProvider, start: Start, pool: ThreadPoolExecutor, answers: str
) -> None:
    gateway = start(provider)
    agents, _ = in_flight(workspace, provider, gateway, pool)
    [pid] = workspace.daemon_pids()
    end(pid)
    if answers == "while it is away":
        provider.release()
    wait_until(lambda: workspace.daemon_pids() not in ([], [pid]), "another leashd is there")
    if answers == "once it is back":
        wait_until(lambda: workspace.account(RUN)["open_calls"] == len(CALLS), "all are open still")
        provider.release()
    assert agents.ends() == ["whole"] * len(CALLS)
    account = closed(workspace)
    assert accounted(account, provider) == {"settled": 1 + len(CALLS)}
    assert provider.usage() == Counter(usage_of(number) for number in (FIRST, *CALLS))
    assert account["input_tokens"] == sum(usage_of(number)[0] for number in (FIRST, *CALLS))
    assert (account["unresolved_calls"], account["held_cost"]) == (0, 0)
    assert call(gateway.origin, LAST, RUN) == "whole"
    gateway.stop()


def test_leashd_that_is_killed_again_and_again_while_answers_come_loses_nothing(
    workspace: Workspace, provider: CountingProvider, start: Start, pool: ThreadPoolExecutor
) -> None:
    gateway = start(provider)
    agents, _ = in_flight(workspace, provider, gateway, pool)
    for life in range(1, 4):
        [pid] = workspace.daemon_pids()
        end(pid)
        provider.release(*range(life, len(CALLS) + 1, 4))
        wait_until(lambda pid=pid: workspace.daemon_pids() not in ([], [pid]), "another leashd is there")
    provider.release()
    assert agents.ends() == ["whole"] * len(CALLS)
    account = closed(workspace)
    assert accounted(account, provider) == {"settled": 1 + len(CALLS)}
    gateway.stop()


def test_where_the_gateway_and_leashd_are_killed_together_all_calls_are_unresolved(
    workspace: Workspace, provider: CountingProvider, start: Start, pool: ThreadPoolExecutor
) -> None:
    gateway = start(provider)
    agents, before = in_flight(workspace, provider, gateway, pool)
    end(*victims(gateway, "gateway"), *workspace.daemon_pids())
    assert set(agents.ends()) <= {"lost", "cut"}
    again = serves(start, provider, "gateway", gateway)
    account = closed(workspace)
    assert accounted(account, provider) == {"settled": 1, "abandoned": len(CALLS)}
    assert account["held_cost"] == before["held_cost"]
    provider.release()
    assert call(again.origin, LAST, RUN) == "whole"
    again.stop()
