"""DESIGN 4.2: calls that wait for room, who goes first, and when they give up."""

from __future__ import annotations

from typing import Any

from leashd.core.admission import Admit
from leashd.core.waiting import LOOKAHEAD, MAX_WAITERS, Turn
from leashd.operations import Failed, FailureCode, Refused, VoidCall
from tests.unit.leashd.desk import MICRODOLLAR, Desk, Shim, call_id
from tests.unit.leashd.play import HOUR, MINUTE, SECOND

BUDGET = 1_000 * MICRODOLLAR


def at_the_edge(desk: Desk, **limits: Any) -> Shim:
    """A run with one call open that leaves no room for another one of its size, but for small ones."""
    limits = {"max_cost_nanodollars": BUDGET} | limits
    shim = desk.session()
    shim.open("earlier", prices=desk.prices())
    shim.admitted(900, run="earlier")
    shim.settle(900, "earlier", tokens=1_000)
    shim.open(prices=desk.prices(), **limits)
    shim.admitted(1, input_bound_tokens=600, output_bound_tokens=0)
    return shim


BIG: dict[str, Any] = {"input_bound_tokens": 600, "output_bound_tokens": 0}
SMALL: dict[str, Any] = {"input_bound_tokens": 100, "output_bound_tokens": 0}


def told(desk: Desk, *numbers: int) -> list[str]:
    """What each was answered: a word or a reason, and nothing while it waits."""
    said = []
    for number in numbers:
        answer = desk.answers.get(number)
        if isinstance(answer, Refused):
            said.append(answer.refuse.reason.value)
        else:
            said.append("" if answer is None else type(answer).__name__)
    return said


def test_a_waiter_goes_when_the_open_call_has_left_room(desk: Desk) -> None:
    shim = at_the_edge(desk)
    number = shim.waits(2, **BIG)
    shim.settle(1, tokens=10)

    assert told(desk, number) == ["Admit"]


def test_waiters_go_in_the_order_of_arrival(desk: Desk) -> None:
    shim = desk.session()
    shim.open(max_calls=2)
    shim.admitted(1, 2)
    numbers = [shim.waits(call) for call in (3, 4, 5)]
    shim.void(1)
    assert told(desk, *numbers) == ["Admit", "", ""]

    shim.void(2)
    assert told(desk, *numbers) == ["Admit", "Admit", ""]


def test_a_reserve_in_the_batch_that_makes_room_stands_behind_those_who_wait(desk: Desk) -> None:
    shim = desk.session()
    shim.open(max_calls=1)
    shim.admitted(1)
    waiting = shim.waits(2)
    desk.ask_later(shim.settles(1, http_status=500, metered=False))
    late = desk.ask_later(shim.asks(3))
    desk.commit()

    assert told(desk, waiting, late) == ["max_calls", "max_calls"]


def test_a_call_that_waits_takes_the_room_before_a_newcomer_of_the_batch_that_makes_it(desk: Desk) -> None:
    shim = desk.session()
    shim.open(max_calls=1)
    shim.admitted(1)
    waiting = shim.waits(2)
    desk.ask_later(VoidCall(shim.name, shim.link, "r", call_id(1)))
    late = desk.ask_later(shim.asks(3))
    desk.commit()

    assert told(desk, waiting, late) == ["Admit", ""]


def test_a_settle_is_folded_before_a_later_reserve_of_the_same_batch_is_decided(desk: Desk) -> None:
    shim = desk.session()
    shim.open(max_calls=1)
    shim.admitted(1)
    desk.ask_later(shim.settles(1))
    number = desk.ask_later(shim.asks(2))
    desk.commit()

    assert told(desk, number) == ["max_calls"]


def test_a_later_one_that_fits_passes_a_blocked_head_in_the_first_half_of_its_wait(desk: Desk) -> None:
    shim = at_the_edge(desk, hold_wait_ns=10 * SECOND)
    head = shim.waits(2, **BIG)
    desk.pass_time(5 * SECOND - 1)

    shim.admitted(3, **SMALL)
    desk.pass_time(1)
    behind = shim.waits(4, **SMALL)
    assert told(desk, head, behind) == ["", ""]


def test_a_waiter_behind_a_blocked_head_is_let_past_when_an_entry_makes_room_for_it(desk: Desk) -> None:
    shim = at_the_edge(desk)
    shim.admitted(2, input_bound_tokens=400, output_bound_tokens=0)
    head, behind = shim.waits(3, **BIG), shim.waits(4, **SMALL)
    shim.void(2)

    assert told(desk, head, behind) == ["", "Admit"]


def test_after_its_wait_a_call_gets_a_transient_refusal(desk: Desk) -> None:
    shim = at_the_edge(desk, hold_wait_ns=10 * SECOND)
    number = shim.waits(2, **BIG)
    desk.pass_time(10 * SECOND - 1)
    assert told(desk, number) == [""]
    desk.pass_time(1)

    answer = desk.answers[number]
    assert isinstance(answer, Refused)
    refuse = answer.refuse
    assert (refuse.reason.value, refuse.transient, refuse.retry_after_seconds) == ("budget_held", True, 1)
    assert (refuse.used, refuse.limit) == (600 * MICRODOLLAR, BUDGET)
    assert desk.account().stop is None


def test_the_wait_is_thirty_seconds_where_nothing_is_given(desk: Desk) -> None:
    shim = at_the_edge(desk)
    number = shim.waits(2, **BIG)
    desk.pass_time(30 * SECOND - 1)
    assert told(desk, number) == [""]

    desk.pass_time(1)
    assert told(desk, number) == ["budget_held"]


def test_the_refusal_after_the_wait_has_figures_where_dollars_leave_no_room(desk: Desk) -> None:
    shim = at_the_edge(desk, hold_wait_ns=SECOND)
    number = shim.waits(2, **BIG)
    desk.pass_time(SECOND)

    answer = desk.answers[number]
    assert isinstance(answer, Refused)
    assert (answer.refuse.used, answer.refuse.limit) == (600 * MICRODOLLAR, BUDGET)


def test_the_refusal_after_the_wait_has_no_figures_where_the_number_of_calls_leaves_no_room(desk: Desk) -> None:
    shim = desk.session()
    shim.open(prices=desk.prices(), max_calls=1, max_cost_nanodollars=BUDGET, hold_wait_ns=SECOND)
    shim.admitted(1)
    number = shim.waits(2)
    desk.pass_time(SECOND)

    answer = desk.answers[number]
    assert isinstance(answer, Refused)
    assert (answer.refuse.reason.value, answer.refuse.used, answer.refuse.limit) == ("budget_held", 0, 0)


def test_without_a_wait_it_is_refused_at_once(desk: Desk) -> None:
    shim = at_the_edge(desk, hold_wait_ns=0)

    assert shim.refused(2, **BIG) == "budget_held"


def test_when_the_deadline_passes_while_they_wait_the_run_stops_and_all_are_told(desk: Desk) -> None:
    shim = at_the_edge(desk, deadline_ns=20 * SECOND)
    numbers = [shim.waits(call, **BIG) for call in (2, 3)]
    next_ns = desk.engine.next_tick_ns()
    assert next_ns == desk.now_ns + 20 * SECOND

    desk.pass_time(20 * SECOND)
    assert told(desk, *numbers) == ["deadline", "deadline"]
    assert desk.kinds().count("Stopped") == 1


def test_when_the_compute_meter_reaches_the_budget_while_they_wait_the_run_stops(desk: Desk) -> None:
    shim = at_the_edge(desk, compute_rate_nanodollars_per_hour=BUDGET * 3_600)
    number = shim.waits(2, **BIG)
    next_ns = desk.engine.next_tick_ns()
    assert next_ns is not None
    desk.pass_time(next_ns - desk.now_ns)

    assert told(desk, number) == ["cost_budget"]


def test_a_kill_refuses_those_who_wait(desk: Desk) -> None:
    shim = at_the_edge(desk)
    number = shim.waits(2, **BIG)
    desk.kill("r")

    assert told(desk, number) == ["kill_switch"]


def test_a_raise_lets_those_who_wait_try_again(desk: Desk) -> None:
    shim = at_the_edge(desk)
    number = shim.waits(2, **BIG)
    desk.raise_limits(max_cost_nanodollars=2 * BUDGET)

    assert told(desk, number) == ["Admit"]


def test_when_unresolved_calls_take_the_last_room_those_who_wait_are_refused_at_once(desk: Desk) -> None:
    shim = desk.session()
    shim.open(max_calls=1)
    shim.admitted(1)
    number = shim.waits(2)
    shim.abandon(1)

    assert told(desk, number) == ["unresolved_calls"]


def test_a_waiter_is_gone_with_its_stream(desk: Desk) -> None:
    shim = at_the_edge(desk)
    number = shim.waits(2, **BIG)
    shim.disconnect()
    shim.connect()
    desk.pass_time(HOUR)

    assert told(desk, number) == [""]
    assert desk.account().open.calls == 0


def test_the_lines_of_two_runs_do_not_meet(desk: Desk) -> None:
    shim = desk.session()
    for run, call in (("r", 1), ("s", 2)):
        shim.open(run, max_calls=1)
        shim.admitted(call, run=run)
    first, second = shim.waits(3, "r"), shim.waits(4, "s")
    shim.void(2, "s")

    assert told(desk, first, second) == ["", "Admit"]


def test_a_line_is_bounded(desk: Desk) -> None:
    shim = desk.session()
    shim.open(max_calls=1, hold_wait_ns=HOUR)
    shim.admitted(1)
    for call in range(2, MAX_WAITERS + 2):
        desk.ask_later(shim.asks(call))
    answer = shim.reserve(MAX_WAITERS + 2)

    assert isinstance(answer, Failed)
    assert answer.code is FailureCode.BUSY


def test_a_long_line_is_looked_through_only_so_far(desk: Desk) -> None:
    shim = at_the_edge(desk)
    shim.admitted(2, input_bound_tokens=400, output_bound_tokens=0)
    blocked = [shim.waits(call, **BIG) for call in range(3, 3 + LOOKAHEAD)]
    last = shim.waits(1_000, **SMALL)
    shim.void(2)

    assert told(desk, last, blocked[0]) == ["", ""]


def test_a_turn_may_be_passed_in_its_first_half() -> None:
    turn = Turn(arrived_at_ns=MINUTE)

    assert turn.may_be_passed(MINUTE + 5 * SECOND - 1, 10 * SECOND)
    assert not turn.may_be_passed(MINUTE + 5 * SECOND, 10 * SECOND)
    assert turn.gives_up_at_ns(10 * SECOND) == MINUTE + 10 * SECOND


def test_a_waiter_that_is_admitted_is_durable_before_it_is_told(desk: Desk) -> None:
    shim = at_the_edge(desk)
    number = shim.waits(2, **BIG)
    desk.ask_later(shim.settles(1, tokens=10))
    desk.engine.tick(desk.now_ns)
    assert told(desk, number) == [""]

    desk.commit()
    assert isinstance(desk.answers[number], Admit)
    assert desk.account().open.calls == 1


def test_a_reserve_that_is_sent_again_while_it_waits_keeps_its_place_and_is_admitted_once(desk: Desk) -> None:
    shim = desk.session()
    shim.open(max_calls=1)
    shim.admitted(1)
    first, behind, again = shim.waits(2), shim.waits(3), shim.waits(2)
    shim.void(1)

    assert told(desk, first, again, behind) == ["Admit", "Admit", ""]
    assert desk.account().open.calls == 1


def test_a_reserve_that_is_sent_again_in_the_batch_that_admits_it_is_admitted_once(desk: Desk) -> None:
    shim = desk.session()
    shim.open(max_calls=2)
    shim.admitted(1, 2)
    first = shim.waits(3)
    for call in (1, 2):
        desk.ask_later(VoidCall(shim.name, shim.link, "r", call_id(call)))
    again = desk.ask_later(shim.asks(3))
    desk.commit()

    assert told(desk, first, again) == ["Admit", "Admit"]
    assert desk.kinds().count("Reserved") == 3
    assert desk.account().open.calls == 1


def test_a_refusal_that_no_wait_would_change_comes_at_once_behind_a_blocked_head(desk: Desk) -> None:
    shim = at_the_edge(desk, hold_wait_ns=10 * SECOND)
    head = shim.waits(2, **BIG)
    desk.pass_time(6 * SECOND)

    assert shim.refused(3, model="unheard-of") == "unpriced_model"
    assert told(desk, head) == ["unpriced_model"], "the run is stopped, for the head too"


def test_a_waiter_whose_session_has_closed_the_run_is_not_admitted(desk: Desk) -> None:
    shim, other = desk.session(), desk.session(b"session2")
    shim.open(max_calls=1)
    other.open()
    other.admitted(1)
    number = shim.waits(2)
    shim.close()
    other.void(1)

    assert told(desk, number) == ["Failed"]
    assert desk.account().open.calls == 0


def test_a_shorter_wait_holds_for_those_who_wait_already(desk: Desk) -> None:
    shim = desk.session()
    shim.open(max_calls=1, hold_wait_ns=HOUR)
    shim.admitted(1)
    numbers = [shim.waits(2)]
    desk.raise_limits(hold_wait_ns=SECOND)
    numbers.append(shim.waits(3))
    next_ns = desk.engine.next_tick_ns()
    assert next_ns == desk.now_ns + SECOND
    desk.pass_time(SECOND)

    assert told(desk, *numbers) == ["budget_held", "budget_held"]


def test_a_call_goes_when_the_one_that_blocked_it_was_cancelled(desk: Desk) -> None:
    shim = at_the_edge(desk, hold_wait_ns=10 * SECOND)
    shim.waits(2, **BIG)
    desk.pass_time(6 * SECOND)
    behind = shim.waits(3, **SMALL)
    shim.cancel(2)

    assert told(desk, behind) == ["Admit"]
