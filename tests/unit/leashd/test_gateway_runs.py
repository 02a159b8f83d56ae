"""What a gateway asks of the engine: runs for others, bounds on them, and whether the ledger can be written."""

from __future__ import annotations

from typing import Any

import pytest

from leashd.core.account import Status
from leashd.core.reasons import Reason
from leashd.engine import GRACE_NS
from leashd.operations import (
    AccountShown,
    CloseRun,
    Failed,
    FailureCode,
    OpenRun,
    Probe,
    Probed,
    RunStopped,
    RunWarned,
)
from tests.unit.leashd.desk import Desk, Shim, failure, priced
from tests.unit.leashd.play import HOUR


@pytest.fixture
def gateway(desk: Desk) -> Shim:
    return desk.session(b"gateway1")


def in_force(answer: Any) -> tuple[int, int]:
    assert isinstance(answer, AccountShown), answer
    limits = answer.account.limits.in_force
    return limits.max_cost_nanodollars, limits.max_calls


def limits(cost: int, calls: int) -> dict[str, int]:
    return {"max_cost_nanodollars": cost, "max_calls": calls}


# Limits of runs that are opened for others


def test_looser_limits_of_a_gateway_leave_an_existing_run_as_it_is(gateway: Shim) -> None:
    assert in_force(gateway.open_for_others(given=limits(5, 10))) == (5, 10)
    assert in_force(gateway.open_for_others(given=limits(20, 8))) == (5, 8)
    assert in_force(gateway.open_for_others(given=limits(0, 0))) == (5, 8)


def test_what_a_person_raised_stays_when_a_gateway_says_again_what_it_said(gateway: Shim) -> None:
    gateway.open_for_others(given=limits(5, 10))
    gateway.open_for_others(given=limits(20, 10))
    gateway.desk.raise_limits(max_cost_nanodollars=30)

    assert in_force(gateway.open_for_others(given=limits(20, 10))) == (30, 10)


def test_a_client_lowers_the_limits_of_a_new_run(gateway: Shim) -> None:
    asked = gateway.open_for_others(given=limits(5, 10), lowered=limits(2, 20))

    assert in_force(asked) == (2, 10)
    assert in_force(gateway.open_for_others(given=limits(5, 10))) == (2, 10)
    assert in_force(gateway.open_for_others(given=limits(5, 10), lowered=limits(1, 1))) == (2, 10)
    gateway.desk.raise_limits(max_cost_nanodollars=50)
    assert in_force(gateway.open_for_others(given=limits(5, 10), lowered=limits(2, 20))) == (50, 10)


def test_a_limit_that_is_off_is_lowered_by_any_and_lowers_none(gateway: Shim) -> None:
    assert in_force(gateway.open_for_others("a", given=limits(0, 10), lowered=limits(2, 0))) == (2, 10)


# How many runs there may be


def test_a_new_run_waits_until_fewer_are_open_and_an_old_one_does_not(gateway: Shim) -> None:
    for run in ("t/a", "u/b"):
        gateway.open_for_others(run, max_open_runs=2)

    assert failure(gateway.open_for_others("t/c", max_open_runs=2)) is FailureCode.TOO_MANY_OPEN
    assert in_force(gateway.open_for_others("t/a", max_open_runs=2)) == (0, 0)
    other = gateway.desk.session(b"gateway2")
    assert in_force(other.open_for_others("t/a", max_open_runs=2)) == (0, 0)
    gateway.close("t/a")
    assert failure(gateway.open_for_others("t/c", max_open_runs=2)) is FailureCode.TOO_MANY_OPEN
    other.close("t/a")
    assert in_force(gateway.open_for_others("t/c", max_open_runs=2)) == (0, 0)
    assert in_force(other.open_for_others("t/a", max_open_runs=2)) == (0, 0), "it is there, and gets its answer"


def test_a_tenant_has_so_many_runs_for_good(gateway: Shim) -> None:
    for run in ("t/a", "t/b", "tt/a", "t2/a", "a"):
        gateway.open_for_others(run, max_runs=2)
        gateway.close(run)

    assert failure(gateway.open_for_others("t/c", max_runs=2)) is FailureCode.TOO_MANY_RUNS
    assert in_force(gateway.open_for_others("tt/b", max_runs=2)) == (0, 0)
    assert in_force(gateway.open_for_others("b", max_runs=2)) == (0, 0)
    assert failure(gateway.open_for_others("c", max_runs=2)) is FailureCode.TOO_MANY_RUNS
    gateway.desk.restart()
    gateway.connect()
    assert failure(gateway.open_for_others("t/c", max_runs=2)) is FailureCode.TOO_MANY_RUNS


def test_runs_of_the_same_batch_and_of_a_batch_that_failed_are_counted_right(gateway: Shim) -> None:
    desk = gateway.desk
    assert in_force(gateway.open_for_others("t/a", max_runs=9, max_open_runs=9)) == (0, 0)
    numbers = [desk.ask_later(_opening(gateway, run)) for run in ("t/b", "t/c", "t/d")]
    assert (desk.engine.working.open_runs, desk.engine.working.runs_of_tenant("t/x")) == (4, 4)

    batch, outbound = desk.engine.take()
    desk.engine.discard(batch, desk.now_ns)
    assert len(outbound.answers) == len(numbers)
    assert (desk.engine.working.open_runs, desk.engine.working.runs_of_tenant("t/x")) == (1, 1)

    desk.ask_later(_opening(gateway, "u/a"))
    assert desk.engine.working.runs_of_tenant("u/x") == 1, "asked for the first time within its batch"


def test_the_bounds_hold_among_the_openings_of_one_batch(gateway: Shim) -> None:
    desk = gateway.desk
    for run in ("t/a", "t/b", "t/c", "u/a", "t/a"):
        desk.ask_later(_opening(gateway, run, max_runs=2, max_open_runs=3))
    desk.ask_later(_opening(gateway, "v/a", max_runs=2, max_open_runs=3))
    desk.commit()

    codes = [answer.code if isinstance(answer, Failed) else None for answer in desk.answers.values()]
    assert codes[1:] == [None, None, FailureCode.TOO_MANY_RUNS, None, None, FailureCode.TOO_MANY_OPEN]


def test_a_close_that_could_not_be_written_leaves_the_run_counted_as_open(gateway: Shim) -> None:
    desk, other = gateway.desk, gateway.desk.session(b"gateway2")
    for run in ("t/a", "t/b"):
        gateway.open_for_others(run)
    other.open_for_others("t/b")
    for shim, run in ((gateway, "t/a"), (gateway, "t/b"), (other, "t/b")):
        desk.ask_later(CloseRun(shim.name, shim.link, run))
    desk.ask_later(_opening(gateway, "t/c"))
    assert (desk.engine.working.open_runs, desk.engine.working.runs_of_tenant("t/x")) == (1, 3)

    batch, _ = desk.engine.take()
    desk.engine.discard(batch, desk.now_ns)
    assert (desk.engine.working.open_runs, desk.engine.working.runs_of_tenant("t/x")) == (2, 2)
    gateway.close("t/b")
    assert desk.engine.working.open_runs == 2
    other.close("t/b")
    assert desk.engine.working.open_runs == 1


def test_a_session_that_is_lost_leaves_room_for_others(gateway: Shim) -> None:
    gateway.open_for_others("t/a", max_open_runs=1)
    other = gateway.desk.session(b"gateway2")
    gateway.disconnect()
    assert failure(other.open_for_others("t/b", max_open_runs=1)) is FailureCode.TOO_MANY_OPEN
    gateway.desk.pass_time(GRACE_NS)

    assert in_force(other.open_for_others("t/b", max_open_runs=1)) == (0, 0)


def _opening(shim: Shim, run: str, **bounds: int) -> OpenRun:
    return OpenRun(
        session=shim.name, link=shim.link, run=run, owner_uid=7, given={}, defaults={}, prices_sha256=b"", pid=0,
        **bounds,
    )  # fmt: skip


# Episodes


@pytest.mark.parametrize(("unfinished", "started_anew"), [(False, True), (True, False)])
def test_a_run_that_is_left_unfinished_goes_on_with_its_episode(
    gateway: Shim, unfinished: bool, started_anew: bool
) -> None:
    desk = gateway.desk
    gateway.open_for_others(given={"deadline_ns": 2 * HOUR})
    gateway.admitted(1)
    gateway.settle(1)
    started_ns = desk.account().episode_started_at_ns
    desk.pass_time(HOUR)
    gateway.close(unfinished=unfinished)
    assert desk.account().status is Status.FINISHED
    gateway.open_for_others(given={"deadline_ns": 2 * HOUR})
    gateway.admitted(2)

    assert (desk.account().episode_started_at_ns != started_ns) is started_anew


# What is told


def test_one_of_the_sessions_that_are_told_of_a_stop_counts_it(desk: Desk) -> None:
    shims = [desk.session(f"gateway{number}".encode()) for number in range(3)]
    for shim in shims:
        shim.open_for_others()
    desk.kill("r")
    desk.kill("r", now=True)

    pushes = [shim.link.pushes for shim in shims]
    assert [[push.counts for push in told] for told in pushes] == [[True, False], [False, False], [False, False]]
    shims[1].connect()
    shims[1].open_for_others()
    assert not any(push.counts for push in shims[1].link.pushes)


def test_one_of_the_sessions_that_are_told_of_a_warning_counts_it(desk: Desk) -> None:
    shim = priced(desk, max_calls=2, warn_at_ppm=500_000)
    other = desk.session(b"another1")
    other.open()
    shim.admitted(1)
    shim.settle(1)

    told = [push for each in (shim, other) for push in each.link.pushes]
    assert [type(push) for push in told] == [RunWarned, RunWarned]
    assert sorted(push.counts for push in told) == [False, True]
    assert not [push for push in told if isinstance(push, RunStopped)]


def test_a_settle_is_told_that_its_call_was_blind(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=10**9, on_blind=2)
    shim.admitted(1, 2)

    assert shim.settle(1, metered=False).blind is Reason.METER_BLIND
    assert shim.settle(2, tokens=1).blind is None


def test_a_probe_is_a_write_that_changes_nothing(gateway: Shim) -> None:
    gateway.open_for_others("t/a")
    before = gateway.desk.ledger.clock()
    gateway.desk.now_ns += 5
    number = gateway.desk.ask_later(_probe(gateway))
    batch, _ = gateway.desk.engine.take()
    assert bool(batch)
    assert number not in gateway.desk.answers, "it is answered when it is durable"
    assert (batch.entries, batch.accounts, batch.calls) == ([], {}, {})

    assert gateway.probe() == Probed(open_runs=1)
    assert before == gateway.desk.ledger.clock(), "the clock is the committer's to add"


def _probe(shim: Shim) -> Probe:
    return Probe(shim.name, shim.link)
