"""DESIGN 4.1 and 4.2: calls that wait for room, those whose client hangs up, and the end of every wait.

=========================================================================  ============================================
rule                                                                       where its test is
=========================================================================  ============================================
a client that hangs up while it waits: its place goes to the next, and     test_line, here (in the batch that makes
nothing is reserved                                                        room, in both orders, and in a long line)
a smaller one may pass a blocked head in the first half of its wait        test_line
... and never keeps it from its turn                                       here
budget_held comes once, after the wait, with Retry-After 1                 test_line, here
no livelock: many who try again finish in bounded time, as many as the     test_rules_crowd
budget is for are forwarded, and no more
=========================================================================  ============================================
"""

from __future__ import annotations

import pytest

from leashd.operations import CancelCall, Failed, Refused, VoidCall
from tests.unit.leashd.desk import Desk, call_id, outcome
from tests.unit.leashd.play import HOUR, SECOND
from tests.unit.leashd.room import BUDGET, known, sized, told

# Clients that hang up while they wait


@pytest.mark.parametrize("order", ["hangs up first", "room first", "room, and a newcomer, first"])
def test_the_place_of_one_that_hangs_up_goes_to_the_next_and_nothing_is_reserved(desk: Desk, order: str) -> None:
    shim = known(desk, max_calls=1)
    shim.admitted(1)
    leaving, next_one = shim.waits(2), shim.waits(3)
    cancel = CancelCall(shim.name, shim.link, "r", call_id(2))
    room = VoidCall(shim.name, shim.link, "r", call_id(1))
    if order == "hangs up first":
        cancelled = desk.ask_later(cancel)
        desk.ask_later(room)
    else:
        desk.ask_later(room)
        newcomer = desk.ask_later(shim.asks(4)) if "newcomer" in order else 0
        cancelled = desk.ask_later(cancel)
    desk.commit()

    assert outcome(desk.answers[cancelled])[0] == "voided"
    assert told(desk, next_one) == ["Admit"]
    assert desk.account().open.calls == 1
    if "newcomer" in order:
        assert told(desk, leaving, newcomer) == ["Admit", ""], "it was let in when the newcomer came, and taken back"
        assert desk.kinds()[-3:] == ["Reserved", "Voided", "Reserved"]
    else:
        assert isinstance(desk.answers[leaving], Failed)
        assert desk.kinds()[-2:] == ["Voided", "Reserved"]


def test_in_a_line_where_every_other_one_hangs_up_the_rest_go_in_their_order(desk: Desk) -> None:
    shim = known(desk, max_calls=1, hold_wait_ns=HOUR)
    shim.admitted(1)
    numbers = {call: shim.waits(call) for call in range(2, 22)}
    for call in range(2, 22, 2):
        shim.cancel(call)
    admitted = []
    last = 1
    while True:
        shim.void(last)
        now = [call for call, number in numbers.items() if told(desk, number) == ["Admit"] and call not in admitted]
        if not now:
            break
        [last] = now
        admitted.append(last)

    assert admitted == list(range(3, 22, 2))
    assert desk.account().open.calls == 0


# Who waits, for how long


def test_smaller_ones_pass_for_half_of_its_wait_and_then_the_head_has_its_turn(desk: Desk) -> None:
    shim = known(desk, max_cost_nanodollars=BUDGET, strict=True, hold_wait_ns=10 * SECOND)
    shim.admitted(1, 2, 3, **sized(200))
    began_ns, head = desk.now_ns, shim.waits(4, **sized(900))
    ends_at_ns = dict.fromkeys((1, 2, 3), desk.now_ns + 2 * SECOND)
    asked: dict[int, int] = {}
    passed, call = 0, 10
    while told(desk, head) == [""]:
        # Calls of a fifth of the budget come all the time, and each takes two seconds.
        asked[call] = desk.ask_later(shim.asks(call, **sized(200)))
        desk.commit()
        for admitted in [one for one, number in asked.items() if told(desk, number) == ["Admit"]]:
            del asked[admitted]
            ends_at_ns[admitted] = desk.now_ns + 2 * SECOND
            passed += 1
        call += 1
        desk.pass_time(SECOND // 4)
        for ended in [one for one, at_ns in ends_at_ns.items() if at_ns <= desk.now_ns]:
            shim.void(ended)
            del ends_at_ns[ended]

    assert told(desk, head) == ["Admit"]
    assert desk.now_ns - began_ns <= 7 * SECOND + SECOND // 4, "half of its wait, and one of the others"
    assert passed > 5


def test_a_call_that_has_waited_in_vain_is_told_so_once_and_not_before_its_time(desk: Desk) -> None:
    shim = known(desk, max_calls=1, hold_wait_ns=3 * SECOND)
    shim.admitted(1)
    numbers = []
    for call in range(2, 6):
        numbers.append(shim.waits(call))
        desk.pass_time(SECOND // 2)
    entries = desk.kinds()
    for expected in range(1, 5):
        next_ns = desk.engine.next_tick_ns()
        assert next_ns is not None
        desk.pass_time(next_ns - desk.now_ns - 1)
        assert told(desk, *numbers).count("budget_held") == expected - 1
        desk.pass_time(1)
        assert told(desk, *numbers).count("budget_held") == expected

    for number in numbers:
        answer = desk.answers[number]
        assert isinstance(answer, Refused)
        assert (answer.refuse.transient, answer.refuse.retry_after_seconds) == (True, 1)
    assert desk.kinds() == entries, "it writes nothing"
    assert desk.engine.next_tick_ns() is None, "nobody waits, so nothing is to be done"
