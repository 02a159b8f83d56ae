"""DESIGN 4.2: kill, against the deadline, raises, lost streams and calls in flight, over a real ledger.

=========================================================================  ============================================
rule                                                                       where its test is
=========================================================================  ============================================
a kill while a deadline passes: one stop, the kill                         here (all orders)
a kill takes the place of another stop, and is recorded once               core/test_control, here (one batch)
a kill, a raise and a kill go in their order                               here
a kill reaches those who wait, once each                                   test_line, here
stopped stays stopped over a restart                                       test_engine, here (with a reserve unheard)
calls in flight at a kill come to their end, and stop nothing again        here
=========================================================================  ============================================
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from leashd.core.admission import Admit
from leashd.operations import CancelCall, Failed, FailureCode, Kill, Kills, Operation, RunStopped
from tests.unit.leashd.desk import Desk, Shim, call_id, failure, outcome
from tests.unit.leashd.play import HOUR, SECOND
from tests.unit.leashd.room import BUDGET, known, raised, stops, together, told


def kill(*, now: bool = False) -> Kill:
    return Kill(("r",), now, 7)


def at_its_deadline(desk: Desk) -> tuple[Shim, list[int]]:
    """A run whose deadline has passed just now, while two calls wait and nobody has looked yet."""
    shim = known(desk, max_calls=1, deadline_ns=10 * SECOND)
    shim.admitted(1)
    numbers = [shim.waits(call) for call in (2, 3)]
    desk.now_ns += 10 * SECOND
    return shim, numbers


@pytest.mark.parametrize("now", [False, True])
def test_a_kill_in_the_batch_in_which_the_deadline_passes_is_the_one_stop(desk: Desk, now: bool) -> None:
    shim, numbers = at_its_deadline(desk)
    [answer] = together(desk, kill(now=now))

    assert answer == Kills(("r",), (), ())
    assert told(desk, *numbers) == ["kill_switch", "kill_switch"]
    assert stops(desk) == ["kill_switch"]
    assert [push for push in shim.link.pushes if isinstance(push, RunStopped) and push.counts] == shim.link.pushes
    assert len(shim.link.pushes) == 1
    desk.pass_time(HOUR)
    assert stops(desk) == ["kill_switch"]


@pytest.mark.parametrize("with_waiters", [True, False])
def test_a_reserve_after_the_kill_does_not_find_the_deadline_and_one_before_it_does(
    desk: Desk, with_waiters: bool
) -> None:
    if with_waiters:
        shim, numbers = at_its_deadline(desk)
    else:
        shim, numbers = known(desk, deadline_ns=10 * SECOND), []
        shim.admitted(1)
        desk.now_ns += 10 * SECOND
    before, killed, after = together(desk, shim.asks(7), kill(), shim.asks(8))

    assert (before.refuse.reason.value, after.refuse.reason.value) == ("deadline", "kill_switch")
    assert killed == Kills(("r",), (), ())
    assert all(reason in ("deadline", "kill_switch") for reason in told(desk, *numbers))
    assert stops(desk) == ["deadline", "kill_switch"], "a kill takes the place of another stop"
    assert desk.account().status == "killed"


def test_a_kill_that_comes_after_the_deadline_takes_its_place_and_needs_resume_and_a_deadline(desk: Desk) -> None:
    shim, numbers = at_its_deadline(desk)
    desk.commit()
    assert told(desk, *numbers) == ["deadline", "deadline"]
    desk.kill("r")
    desk.kill("r")
    assert stops(desk) == ["deadline", "kill_switch"]

    assert failure(desk.raise_limits(deadline_ns=HOUR)) is FailureCode.CANNOT_RAISE
    assert failure(desk.raise_limits(resume=True)) is FailureCode.CANNOT_RAISE
    desk.raise_limits(resume=True, deadline_ns=HOUR)
    shim.settle(1, http_status=500, metered=False)
    desk.raise_limits(max_calls=2)
    shim.admitted(9)


def test_two_kills_of_one_batch_are_one_stop_and_the_second_may_still_cut_what_is_in_flight(desk: Desk) -> None:
    shim = known(desk)
    shim.admitted(1)
    answers = together(desk, kill(), kill(now=True))

    assert answers == [Kills(("r",), (), ()), Kills((), (), ("r",))]
    assert stops(desk) == ["kill_switch"]
    assert [push.now for push in shim.link.pushes if isinstance(push, RunStopped)] == [False, True]
    assert sum(push.counts for push in shim.link.pushes) == 1


@pytest.mark.parametrize(
    ("operations", "last"),
    [
        (lambda: (kill(), raised(resume=True)), ""),
        (lambda: (raised(max_calls=9), kill()), "kill_switch"),
        (lambda: (kill(), raised(max_calls=9)), "kill_switch"),
        (lambda: (kill(), raised(resume=True), kill()), "kill_switch"),
    ],
)
@pytest.mark.parametrize("commits", ["one", "each"])
def test_kills_and_raises_go_in_their_order(
    desk: Desk, operations: Callable[[], tuple[Operation, ...]], last: str, commits: str
) -> None:
    shim = known(desk, max_calls=3)
    if commits == "one":
        together(desk, *operations())
    else:
        for operation in operations():
            desk.ask(operation)

    if last:
        assert shim.refused(1) == last
    else:
        shim.admitted(1)
    desk.restart()
    account = desk.account()
    assert (account.stop.reason.value if account.stop else "") == last


def test_one_who_waits_and_hangs_up_in_the_batch_of_a_kill_is_told_once(desk: Desk) -> None:
    shim = known(desk, max_calls=1)
    shim.admitted(1)
    leaving, staying = shim.waits(2), shim.waits(3)
    killed, cancelled = together(desk, kill(), CancelCall(shim.name, shim.link, "r", call_id(2)))

    assert isinstance(killed, Kills)
    assert outcome(cancelled)[0] == "voided"
    assert isinstance(desk.answers[leaving], Failed)
    assert told(desk, staying) == ["kill_switch"]
    assert desk.account().open.calls == 1


def test_a_call_whose_admission_was_not_heard_before_a_kill_is_still_the_same_reserve(desk: Desk) -> None:
    shim = known(desk, max_calls=2)
    shim.admitted(1)
    shim.disconnect()
    desk.kill("r", now=True)
    desk.restart()
    shim.connect(call_id(1))
    shim.open()

    assert [push.now for push in shim.link.pushes if isinstance(push, RunStopped)] == [True], "so that it is not sent"
    assert isinstance(shim.reserve(1), Admit)
    assert outcome(shim.void(1)) == ("voided", 0, False)
    assert shim.refused(2) == "kill_switch"


def test_calls_in_flight_at_a_kill_are_settled_and_counted(desk: Desk) -> None:
    shim = known(desk)
    shim.admitted(1, 2)
    desk.kill("r", now=True)
    shim.settle(1, tokens=10)
    shim.abandon(2)

    account = desk.account()
    assert (account.totals.calls, account.unresolved.calls, account.open.calls) == (1, 1, 0)
    assert stops(desk) == ["kill_switch"]


@pytest.mark.parametrize("by", ["settle", "abandon"])
def test_a_blind_call_that_ends_after_a_kill_stops_nothing_again(desk: Desk, by: str) -> None:
    shim = known(desk, max_cost_nanodollars=BUDGET)
    shim.admitted(1, input_bound_tokens=None, output_bound_tokens=None, server_tools=True)
    desk.kill("r")
    if by == "settle":
        shim.settle(1, metered=False)
    else:
        shim.abandon(1)

    assert stops(desk) == ["kill_switch"]
