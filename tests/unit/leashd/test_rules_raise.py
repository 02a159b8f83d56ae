"""DESIGN 4.2: raise, and opening again, and the races of both with those who wait, over a real ledger.

=========================================================================  ============================================
rule                                                                       where its test is
=========================================================================  ============================================
a raise must change the limit that tripped, above what is used             core/test_control, here (same, equal, below)
a kill, a stall or a blind stop needs --resume                             core/test_control, here
a raise while calls wait: decided again at once, the oldest first          test_line, here (how many, same batch)
a raise that lowers: those who wait are decided again too                  here
a raise and a reserve of one batch go in their order                       here
a raise of the deadline within the episode                                 core/test_control, here (with a waiter)
a raise that could not be written lifts nothing                            here
a raise stays over a crash, and for the job that is run again              here, core/test_control, core/test_limits
... which declares more: refused, and nothing changes                      here
... which declares what was raised, or less                                here
a stop, a raise, and a stop again: each recorded and told once             here
=========================================================================  ============================================
"""

from __future__ import annotations

from typing import Any

import pytest

from leashd.core.admission import Admit
from leashd.core.events import Opened, Raised
from leashd.engine import GRACE_NS
from leashd.operations import AccountShown, FailureCode, RunStopped
from tests.unit.leashd.desk import MICRODOLLAR, Desk, Shim, call_id, failure, priced
from tests.unit.leashd.play import HOUR, MINUTE, SECOND
from tests.unit.leashd.room import BUDGET, known, raised, sized, stops, together, told


def stopped(desk: Desk) -> Shim:
    """A shim whose run has used its budget of one call, and was stopped for it."""
    shim = priced(desk, max_calls=1)
    shim.admitted(1)
    shim.settle(1)
    assert shim.refused(2) == "max_calls"
    return shim


# A raise


@pytest.mark.parametrize("given", [{"max_calls": 3}, {"max_calls": 2}, {"max_cost_nanodollars": 9}, {"warn_at_ppm": 5}])
def test_a_raise_to_what_is_used_or_less_or_of_another_limit_leaves_the_run_stopped(
    desk: Desk, given: dict[str, int]
) -> None:
    shim = priced(desk, max_calls=3)
    for call in (1, 2, 3):
        shim.admitted(call)
        shim.settle(call)
    assert shim.refused(4) == "max_calls"
    answer = desk.raise_limits(**given)

    assert failure(answer) is FailureCode.CANNOT_RAISE
    assert "--max-calls" in answer.message
    assert shim.refused(5) == "max_calls"
    assert "Raised" not in desk.kinds()


def test_a_raise_that_changes_nothing_of_a_run_that_goes_on_is_refused(desk: Desk) -> None:
    priced(desk, max_calls=3)

    assert failure(desk.raise_limits(max_calls=3)) is FailureCode.CANNOT_RAISE
    assert failure(desk.raise_limits(resume=True)) is FailureCode.CANNOT_RAISE
    assert desk.kinds() == ["Opened"]


def test_a_raise_lets_in_as_many_of_those_who_wait_as_it_makes_room_for_the_oldest_first(desk: Desk) -> None:
    shim = known(desk, max_calls=1)
    shim.admitted(1)
    numbers = [shim.waits(call) for call in (2, 3, 4)]
    desk.raise_limits(max_calls=3)

    assert told(desk, *numbers) == ["Admit", "Admit", ""]


def test_one_who_waits_goes_before_a_newcomer_in_the_batch_of_the_raise(desk: Desk) -> None:
    shim = known(desk, max_calls=1)
    shim.admitted(1)
    waiting = shim.waits(2)
    desk.ask_later(raised(max_calls=2))
    newcomer = desk.ask_later(shim.asks(3))
    desk.commit()

    assert told(desk, waiting, newcomer) == ["Admit", ""]


def test_a_raise_that_lowers_a_limit_below_what_is_used_stops_those_who_wait(desk: Desk) -> None:
    shim = known(desk, max_calls=3)
    shim.admitted(1)
    shim.settle(1)
    shim.admitted(2, 3)
    waiting = shim.waits(4)
    desk.raise_limits(max_calls=1)

    assert told(desk, waiting) == ["max_calls"]
    assert stops(desk) == ["max_calls"]


@pytest.mark.parametrize("first", ["raise", "reserve"])
def test_a_raise_and_the_reserve_that_would_trip_go_in_their_order(desk: Desk, first: str) -> None:
    shim = known(desk, max_calls=1)
    shim.admitted(1)
    shim.settle(1)
    reserve, change = shim.asks(2), raised(max_calls=2)
    answers = together(desk, *((change, reserve) if first == "raise" else (reserve, change)))

    if first == "raise":
        assert isinstance(answers[1], Admit)
        assert stops(desk) == []
    else:
        assert answers[0].refuse.reason.value == "max_calls"
        assert stops(desk) == ["max_calls"]
        shim.admitted(3)
    assert desk.account().stop is None


def test_a_raise_makes_room_though_unresolved_calls_hold_more_than_it_adds_and_they_are_told_apart(desk: Desk) -> None:
    shim = known(desk, max_cost_nanodollars=BUDGET)
    shim.admitted(1, 2, **sized(500))
    shim.abandon(1)
    shim.settle(2, tokens=1_000)
    assert shim.refused(3) == "cost_budget"
    desk.raise_limits(max_cost_nanodollars=BUDGET + 400 * MICRODOLLAR)
    assert desk.account().stop is None

    assert shim.refused(4) == "unresolved_calls"
    desk.resolve(call_id(1), None)
    shim.admitted(5)


def test_a_raised_deadline_lets_one_who_waits_wait_on(desk: Desk) -> None:
    shim = known(desk, max_calls=1, deadline_ns=MINUTE, hold_wait_ns=HOUR)
    shim.admitted(1)
    waiting = shim.waits(2)
    desk.pass_time(MINUTE - 1)
    desk.raise_limits(deadline_ns=2 * MINUTE)
    assert desk.engine.next_tick_ns() == desk.now_ns + MINUTE + 1
    desk.pass_time(MINUTE)
    assert told(desk, waiting) == [""]

    desk.pass_time(1)
    assert told(desk, waiting) == ["deadline"]
    assert stops(desk) == ["deadline"]


def test_a_deadline_that_is_raised_after_its_stop_goes_on_from_the_same_beginning(desk: Desk) -> None:
    shim = known(desk, deadline_ns=MINUTE)
    shim.admitted(1)
    desk.pass_time(MINUTE)
    assert shim.refused(2) == "deadline"
    desk.pass_time(MINUTE)
    assert failure(desk.raise_limits(deadline_ns=2 * MINUTE)) is FailureCode.CANNOT_RAISE
    desk.raise_limits(deadline_ns=3 * MINUTE)
    shim.admitted(3)
    desk.pass_time(MINUTE)

    assert shim.refused(4) == "deadline"
    assert stops(desk) == ["deadline", "deadline"]


def test_a_deadline_that_is_lowered_below_what_has_passed_stops_those_who_wait_at_once(desk: Desk) -> None:
    shim = known(desk, max_calls=1, deadline_ns=HOUR)
    shim.admitted(1)
    waiting = shim.waits(2)
    desk.pass_time(10 * SECOND)
    desk.raise_limits(deadline_ns=SECOND)

    assert told(desk, waiting) == ["deadline"]


def test_a_raise_that_could_not_be_written_lifts_nothing(desk: Desk) -> None:
    shim = stopped(desk)
    desk.ask_later(raised(max_calls=5))
    batch, _ = desk.engine.take()
    desk.engine.discard(batch, desk.now_ns)

    assert shim.refused(3) == "max_calls"
    desk.raise_limits(max_calls=5)
    shim.admitted(4)


def test_a_raise_without_resume_leaves_a_killed_run_and_its_limits_as_they_were(desk: Desk) -> None:
    shim = known(desk, max_calls=3)
    desk.kill("r")

    assert failure(desk.raise_limits(max_calls=9)) is FailureCode.CANNOT_RAISE
    assert desk.account().limits.in_force.max_calls == 3
    assert shim.refused(1) == "kill_switch"
    desk.raise_limits(resume=True)
    shim.admitted(2)


# Opening again


def nightly(desk: Desk, **limits: int) -> Any:
    """What the job that is run again each night is told when it opens its run, with what it always declares."""
    shim = desk.session(desk.now_ns.to_bytes(8, "big"))
    return shim, shim.open(**limits)


@pytest.mark.parametrize("end", ["clean", "lost", "the daemon too"])
def test_a_raise_stays_for_the_job_that_is_run_again_however_it_ended(desk: Desk, end: str) -> None:
    shim = stopped(desk)
    desk.raise_limits(max_calls=3)
    shim.admitted(3)
    shim.settle(3)
    if end == "clean":
        shim.close()
    elif end == "lost":
        shim.disconnect()
        desk.pass_time(GRACE_NS)
    else:
        desk.restart(down_ns=HOUR)
        desk.pass_time(GRACE_NS)
    again, answer = nightly(desk, max_calls=1)

    assert isinstance(answer, AccountShown)
    limits = desk.account().limits
    assert (limits.declared.max_calls, limits.in_force.max_calls) == (1, 3)
    last = desk.events()[-1]
    assert isinstance(last, Opened)
    assert last.in_force is None, "it changed nothing"
    again.admitted(4)
    again.settle(4)
    assert again.refused(5) == "max_calls"


@pytest.mark.parametrize(("declares", "declared", "in_force"), [(2, 2, 2), (3, 3, 3), (1, 1, 3)])
def test_a_job_that_declares_no_more_than_was_raised_is_taken_at_its_word(
    desk: Desk, declares: int, declared: int, in_force: int
) -> None:
    stopped(desk)
    desk.raise_limits(max_calls=3)
    _, answer = nightly(desk, max_calls=declares)

    assert isinstance(answer, AccountShown)
    limits = desk.account().limits
    assert (limits.declared.max_calls, limits.in_force.max_calls) == (declared, in_force)


@pytest.mark.parametrize("declares", [4, 0])
def test_a_job_that_declares_more_than_was_raised_is_refused_and_changes_nothing(desk: Desk, declares: int) -> None:
    stopped(desk)
    desk.raise_limits(max_calls=3)
    before = desk.account()
    shim, answer = nightly(desk, max_calls=declares)

    assert failure(answer) is FailureCode.LIMIT_HIGHER
    assert "leashctl raise r" in answer.message
    assert desk.account() == before
    assert failure(shim.reserve(9)) is FailureCode.NOT_OPEN


def test_a_limit_that_a_person_lowered_stays_lowered_for_the_job_that_is_run_again(desk: Desk) -> None:
    priced(desk, max_calls=5)
    desk.raise_limits(max_calls=2)
    nightly(desk, max_calls=5)

    assert desk.account().limits.in_force.max_calls == 2


def test_opening_a_stopped_run_again_lifts_nothing(desk: Desk) -> None:
    stopped(desk)
    shim, answer = nightly(desk, max_calls=1)

    assert isinstance(answer, AccountShown)
    assert shim.refused(9) == "max_calls"
    assert stops(desk) == ["max_calls"]


def test_an_opener_with_a_lower_limit_decides_those_who_wait_again(desk: Desk) -> None:
    shim = known(desk, max_calls=3)
    shim.admitted(1)
    shim.settle(1)
    shim.admitted(2, 3)
    waiting = shim.waits(4)
    nightly(desk, max_calls=1)

    assert told(desk, waiting) == ["max_calls"]


# A stop, a raise, and a stop again


def test_a_run_that_is_stopped_and_raised_and_stopped_again_tells_each_once(desk: Desk) -> None:
    shim = stopped(desk)
    for limit in (2, 3):
        desk.raise_limits(max_calls=limit)
        shim.admitted(10 * limit)
        shim.settle(10 * limit)
        for attempt in range(3):
            assert shim.refused(10 * limit + attempt + 1) == "max_calls"

    assert stops(desk) == ["max_calls"] * 3
    assert sum(isinstance(event, Raised) and event.lifted for event in desk.events()) == 2
    pushes = [push for push in shim.link.pushes if isinstance(push, RunStopped)]
    assert [(push.reason.value, push.counts) for push in pushes] == [("max_calls", True)] * 3
    assert desk.account().totals.calls == 3


def test_a_raise_survives_a_crash_and_the_stop_after_it_as_well(desk: Desk) -> None:
    shim = stopped(desk)
    desk.raise_limits(max_calls=2)
    desk.restart()
    shim.connect()
    assert desk.account().stop is None
    shim.admitted(3)
    shim.settle(3)
    assert shim.refused(4) == "max_calls"
    desk.restart()
    shim.connect()

    assert shim.refused(5) == "max_calls"
    assert stops(desk) == ["max_calls"] * 2
