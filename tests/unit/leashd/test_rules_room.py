"""DESIGN 4.1 and 4.2: the room that unresolved calls leave, over a real ledger.

=========================================================================  ============================================
rule                                                                       where its test is
=========================================================================  ============================================
unresolved calls that alone leave no room refuse at once, for good, and    here (calls, dollars, strict); on the wire in
name what closes them; they write nothing and stop nothing                 e2e/rules/test_resolving
... those who wait too, and the next ones                                  test_line, here
with open calls beside them a call waits                                   core/test_admission, here
a resolve frees the room: those who wait go on, and the next ones          property/test_waiting, here (every kind)
an unresolved call counts as a call                                        core/test_admission, here
a raise makes room beside unresolved calls                                 here
an abandon and a late settle of one batch refuse nobody who waits          here
=========================================================================  ============================================
"""

from __future__ import annotations

import pytest

from leashd.core.admission import Refuse
from leashd.operations import AbandonCall, Refused, Resolve
from tests.unit.leashd.desk import MICRODOLLAR, Desk, call_id
from tests.unit.leashd.room import BUDGET, known, said, sized, told

# Unresolved calls and the room


@pytest.mark.parametrize("limits", [{"max_calls": 1}, {"max_cost_nanodollars": 600 * MICRODOLLAR}])
def test_where_unresolved_calls_alone_leave_no_room_the_next_is_refused_for_good_and_told_what_to_do(
    desk: Desk, limits: dict[str, int]
) -> None:
    shim = known(desk, **limits)
    shim.admitted(1, **sized(600))
    shim.abandon(1)
    entries = desk.kinds()
    answer = shim.reserve(2, **sized(1))

    assert isinstance(answer, Refused)
    refuse: Refuse = answer.refuse
    assert (refuse.reason.value, refuse.transient, refuse.retry_after_seconds) == ("unresolved_calls", False, 0)
    assert (refuse.used, refuse.limit) == ((1, 1) if "max_calls" in limits else (600 * MICRODOLLAR,) * 2)
    assert "leashctl resolve" in refuse.detail
    assert (desk.kinds(), desk.account().stop) == (entries, None), "it stops nothing"


def test_under_strict_what_unresolved_calls_leave_is_there_for_smaller_calls(desk: Desk) -> None:
    shim = known(desk, max_cost_nanodollars=BUDGET, strict=True)
    shim.admitted(1, 2, **sized(100))
    shim.settle(1, tokens=100)
    shim.abandon(2)

    assert shim.refused(3, **sized(1_000)) == "ceiling_exceeds_budget", "whatever a person says of the other one"
    assert shim.refused(4, **sized(801)) == "unresolved_calls"
    shim.admitted(5, **sized(800))


def test_with_open_calls_beside_the_unresolved_one_a_call_waits(desk: Desk) -> None:
    shim = known(desk, max_calls=3)
    shim.admitted(1, 2)
    shim.abandon(1)
    shim.admitted(3)
    waiting = shim.waits(4)
    shim.void(2)

    assert told(desk, waiting) == ["Admit"]


def test_a_settle_beside_unresolved_calls_leaves_those_who_wait_no_room_and_they_are_told_at_once(desk: Desk) -> None:
    shim = known(desk, max_calls=3)
    shim.admitted(1, 2, 3)
    shim.abandon(1)
    numbers = [shim.waits(call) for call in (4, 5)]
    shim.settle(2)
    assert told(desk, *numbers) == ["", ""]
    shim.settle(3)

    assert told(desk, *numbers) == ["unresolved_calls", "unresolved_calls"]
    assert desk.account().stop is None


@pytest.mark.parametrize(("cost", "reason"), [(None, "Admit"), (5, "max_calls")])
def test_a_released_call_is_no_call_and_a_resolved_one_is(desk: Desk, cost: int | None, reason: str) -> None:
    shim = known(desk, max_calls=1)
    shim.admitted(1)
    shim.abandon(1)
    assert shim.refused(2) == "unresolved_calls"
    desk.resolve(call_id(1), cost)

    assert said(shim.reserve(3)) == reason


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        (None, "Admit"),
        (10 * MICRODOLLAR, "Admit"),
        (300 * MICRODOLLAR, ""),
        (900 * MICRODOLLAR, "ceiling_exceeds_budget"),
    ],
)
def test_those_who_wait_are_decided_by_what_a_person_says_of_an_unresolved_call(
    desk: Desk, cost: int | None, reason: str
) -> None:
    shim = known(desk, max_cost_nanodollars=BUDGET, strict=True)
    shim.admitted(1, 2, **sized(400))
    shim.abandon(1)
    waiting = shim.waits(3, **sized(400))
    desk.resolve(call_id(1), cost)

    assert told(desk, waiting) == [reason]


def test_resolving_one_of_two_makes_room_for_one(desk: Desk) -> None:
    shim = known(desk, max_calls=2)
    shim.admitted(1, 2)
    shim.abandon(1)
    shim.abandon(2)
    assert shim.refused(3) == "unresolved_calls"
    desk.resolve(call_id(1), None)
    shim.admitted(4)
    waiting = shim.waits(5)
    desk.resolve(call_id(2), None)

    assert told(desk, waiting) == ["Admit"]


@pytest.mark.parametrize("first", ["resolve", "reserve"])
def test_a_resolve_and_a_reserve_of_one_batch_go_in_their_order(desk: Desk, first: str) -> None:
    shim = known(desk, max_calls=1)
    shim.admitted(1)
    shim.abandon(1)
    operations = [Resolve("r", call_id(1), None, 7), shim.asks(2)]
    answers = [desk.ask_later(operation) for operation in (operations if first == "resolve" else operations[::-1])]
    desk.commit()

    reserved = answers[1] if first == "resolve" else answers[0]
    assert told(desk, reserved) == (["Admit"] if first == "resolve" else ["unresolved_calls"])


def test_a_late_settle_that_makes_room_lets_those_in_who_wait(desk: Desk) -> None:
    shim = known(desk, max_cost_nanodollars=BUDGET, strict=True)
    shim.admitted(1, 2, **sized(400))
    shim.abandon(1)
    waiting = shim.waits(3, **sized(400))
    shim.settle(1, tokens=10)

    assert told(desk, waiting) == ["Admit"]


def test_an_abandon_and_a_late_settle_of_one_batch_refuse_nobody_who_waits(desk: Desk) -> None:
    shim = known(desk, max_cost_nanodollars=BUDGET, strict=True)
    shim.admitted(1, **sized(600))
    waiting = shim.waits(2, **sized(600))
    desk.ask_later(AbandonCall(shim.name, shim.link, "r", call_id(1), None))
    desk.ask_later(shim.settles(1, tokens=10))
    desk.commit()

    assert told(desk, waiting) == ["Admit"]


def test_a_raise_makes_room_beside_unresolved_calls(desk: Desk) -> None:
    shim = known(desk, max_calls=1)
    shim.admitted(1)
    shim.abandon(1)
    assert shim.refused(2) == "unresolved_calls"
    desk.raise_limits(max_calls=2)

    shim.admitted(3)


def test_a_lost_session_leaves_those_of_another_one_no_room_until_a_person_resolves_its_call(desk: Desk) -> None:
    lost, other = known(desk, max_calls=1), desk.session(b"session2")
    other.open()
    lost.admitted(1)
    waiting = other.waits(2)
    lost.disconnect()
    assert told(desk, waiting) == [""], "it may come back"
    next_ns = desk.engine.next_tick_ns()
    assert next_ns is not None
    desk.pass_time(next_ns - desk.now_ns)
    assert told(desk, waiting) == ["unresolved_calls"]

    desk.resolve(call_id(1), None)
    other.admitted(3)
