"""DESIGN 4.2: the room that open calls leave, what a call holds, observe, and blindness before a call."""

from __future__ import annotations

from typing import Any

import pytest

from leashd.core.admission import Admit, Refuse, Wait
from leashd.core.events import Reserved, Warned, WouldStop
from leashd.core.limits import OnBlind
from leashd.core.reasons import Reason
from tests.unit.leashd.play import HOUR, MINUTE, TWO, Play, running

UNKNOWN: dict[str, Any] = {"ceiling_nanodollars": None, "dearest_in_ledger_nanodollars": 0}
FREE: dict[str, Any] = {"free": True, "ceiling_nanodollars": 0}
UNPRICED: dict[str, Any] = {"listed": False, "ceiling_nanodollars": None}
UNMETERABLE: dict[str, Any] = {"unmeterable": True, "ceiling_nanodollars": None, "named": False, "listed": False}


def held(play: Play, **asked: Any) -> int:
    reply = play.reserve(**asked)
    assert isinstance(reply, Admit), reply
    return reply.held_nanodollars


# Waiting for room


def test_calls_of_one_run_go_in_parallel_while_there_is_room() -> None:
    play = running(max_cost_nanodollars=1_000)
    for _ in range(10):
        play.admitted(ceiling_nanodollars=100)

    assert play.account.open.calls == 10
    assert play.account.open.nanodollars == 1_000
    assert play.waits(ceiling_nanodollars=1)


def test_a_call_that_fits_to_the_last_nanodollar_is_admitted() -> None:
    play = running(max_cost_nanodollars=200)
    play.admitted(ceiling_nanodollars=100)

    play.admitted(ceiling_nanodollars=100)


def test_a_call_that_does_not_fit_waits_while_another_is_open_and_goes_once_none_is() -> None:
    play = running(max_cost_nanodollars=200)
    first = play.admitted(ceiling_nanodollars=101)

    assert play.waits(ceiling_nanodollars=100)
    play.settle(first, 199)
    play.admitted(ceiling_nanodollars=100)


def test_open_calls_count_towards_max_calls_and_the_next_one_waits() -> None:
    play = running(max_calls=2)
    first = play.admitted()
    play.admitted()

    assert play.waits()
    play.void(first)
    play.admitted()


def test_waiting_writes_no_entry() -> None:
    play = running(max_calls=1)
    play.admitted()
    before = len(play.journal)

    assert play.waits()
    assert len(play.journal) == before


def test_a_waiter_of_a_run_whose_last_call_was_settled_is_refused_for_good() -> None:
    play = running(max_calls=1)
    first = play.admitted()
    assert play.waits()
    play.settle(first)

    assert play.refused().reason is Reason.MAX_CALLS


@pytest.mark.parametrize("clients", [10, 64])
@pytest.mark.parametrize("ceiling", [5, 400, None])
def test_of_many_equal_calls_under_a_budget_of_ten_exactly_ten_are_forwarded(clients: int, ceiling: int | None) -> None:
    play = running(max_cost_nanodollars=50)
    wanting, forwarded, refused = clients * 2, 0, 0
    while wanting:
        admitted = []
        for _ in range(wanting):
            reply = play.reserve(ceiling_nanodollars=ceiling, metered_before=forwarded > 0)
            if isinstance(reply, Wait):
                break
            wanting -= 1
            if isinstance(reply, Refuse):
                refused += 1
            else:
                forwarded += 1
                admitted = list(play.calls)
        for call in admitted:
            play.settle(call, 5)

    assert forwarded == 10
    assert refused == clients * 2 - 10
    assert play.account.totals.token_cost_nanodollars == 50


# The hold


def test_without_a_cost_budget_nothing_is_held() -> None:
    assert held(running(), ceiling_nanodollars=100) == 0


def test_the_hold_is_the_ceiling_where_nothing_else_is_known() -> None:
    assert held(running(max_cost_nanodollars=1_000), ceiling_nanodollars=100) == 100


@pytest.mark.parametrize(("ceiling", "hold"), [(100, 60), (60, 60), (59, 59), (None, 60)])
def test_the_hold_is_the_smaller_of_the_ceiling_and_twice_the_runs_dearest_call(ceiling: int | None, hold: int) -> None:
    play = running(max_cost_nanodollars=1_000)
    play.call(30)
    play.call(20)

    assert held(play, ceiling_nanodollars=ceiling, dearest_in_ledger_nanodollars=400) == hold


def test_without_a_call_of_its_own_it_is_twice_the_ledgers_dearest() -> None:
    assert held(running(max_cost_nanodollars=1_000), dearest_in_ledger_nanodollars=40) == 80


def test_a_call_that_cost_nothing_is_not_the_runs_dearest() -> None:
    play = running(max_cost_nanodollars=1_000)
    play.call(0, http_status=500)

    assert held(play, dearest_in_ledger_nanodollars=40) == 80


def test_the_dearest_call_of_another_model_says_nothing() -> None:
    play = running(max_cost_nanodollars=1_000)
    play.call(30, asked={"model": "other"})

    assert held(play, model="m", ceiling_nanodollars=100) == 100


def test_with_neither_known_it_holds_all_that_is_left() -> None:
    play = running(max_cost_nanodollars=1_000)
    play.call(300, asked={"model": "other"})

    assert held(play, **UNKNOWN) == 700


def test_with_neither_known_it_goes_only_when_no_other_is_open() -> None:
    play = running(max_cost_nanodollars=1_000)
    other = play.admitted(model="other", ceiling_nanodollars=1)

    assert play.waits(**UNKNOWN)
    play.settle(other, 1)
    play.admitted(**UNKNOWN)
    assert play.waits(ceiling_nanodollars=1)


def test_a_model_priced_at_zero_holds_nothing() -> None:
    play = running(max_cost_nanodollars=1_000)
    play.admitted(ceiling_nanodollars=1_000)

    assert held(play, **FREE) == 0


@pytest.mark.parametrize("on_blind", [OnBlind.WARN, OnBlind.ALLOW])
@pytest.mark.parametrize("blind", [UNPRICED, UNMETERABLE])
def test_a_call_that_is_blind_under_warn_or_allow_holds_nothing(on_blind: OnBlind, blind: dict[str, Any]) -> None:
    play = running(max_cost_nanodollars=1_000, on_blind=on_blind)
    play.admitted(ceiling_nanodollars=1_000)

    assert held(play, **blind) == 0


def test_the_reserve_names_the_hold_and_the_call_keeps_the_price_table_in_force() -> None:
    play = Play()
    play.open(prices=b"table001", max_cost_nanodollars=1_000)
    call = play.admitted(ceiling_nanodollars=100)

    event = play.journal[-1].event
    assert isinstance(event, Reserved)
    assert (event.call, event.held_nanodollars) == (call, 100)
    play.open(prices=b"table002")
    assert play.calls[call].prices == b"table001"


# Unresolved calls


def test_an_unresolved_call_counts_like_spending() -> None:
    play = running(max_cost_nanodollars=200)
    play.abandon(play.admitted(ceiling_nanodollars=150))
    other = play.admitted(ceiling_nanodollars=50)

    assert play.waits(ceiling_nanodollars=1)
    play.void(other)
    play.admitted(ceiling_nanodollars=60)


def test_where_unresolved_calls_alone_leave_no_room_the_next_is_refused_at_once() -> None:
    play = running(max_cost_nanodollars=200)
    play.abandon(play.admitted(ceiling_nanodollars=200))

    refuse = play.refused()

    assert refuse.reason is Reason.UNRESOLVED_CALLS
    assert not refuse.transient
    assert "leashctl resolve" in refuse.detail
    assert not play.stop_reason


def test_an_unresolved_call_counts_as_a_call() -> None:
    play = running(max_calls=2)
    play.call()
    lost = play.admitted()
    play.abandon(lost)

    assert play.refused().reason is Reason.UNRESOLVED_CALLS
    play.resolve(lost, None)
    play.admitted()


def test_unresolved_and_open_calls_together_let_the_next_one_wait() -> None:
    play = running(max_calls=2)
    play.abandon(play.admitted())
    play.admitted()

    assert play.waits()


# Blind before the call


def test_an_endpoint_that_cannot_be_metered_is_answered_with_402_and_the_run_goes_on() -> None:
    play = running(max_cost_nanodollars=200)

    refuse = play.refused(**UNMETERABLE)

    assert (refuse.reason, refuse.payment_required) == (Reason.METER_BLIND, True)
    assert not play.stop_reason
    play.admitted()


def test_an_unpriced_model_is_refused_beforehand_and_stops_the_run() -> None:
    play = running(max_cost_nanodollars=200)

    assert play.refused(model="unheard-of", **UNPRICED).reason is Reason.UNPRICED_MODEL
    assert play.stop_reason == "unpriced_model"
    assert play.refused().reason is Reason.UNPRICED_MODEL


def test_a_request_that_names_no_model_is_priced_by_its_answer() -> None:
    play = running(max_cost_nanodollars=200)

    play.admitted(model="", named=False, listed=False, ceiling_nanodollars=None)


@pytest.mark.parametrize("blind", [UNPRICED, UNMETERABLE])
def test_without_a_cost_budget_no_call_is_blind(blind: dict[str, Any]) -> None:
    play = running(max_calls=5)

    play.admitted(**blind)
    assert len(play.journal) == 2


@pytest.mark.parametrize(("blind", "reason"), [(UNPRICED, "unpriced_model"), (UNMETERABLE, "meter_blind")])
def test_under_warn_a_blind_call_goes_on_with_one_warning_for_each_reason(blind: dict[str, Any], reason: str) -> None:
    play = running(max_cost_nanodollars=200, on_blind=OnBlind.WARN)
    play.admitted(**blind)
    play.admitted(**blind)

    warnings = [entry.event for entry in play.journal if isinstance(entry.event, Warned)]
    assert [warned.reason.value for warned in warnings] == [reason]


@pytest.mark.parametrize("blind", [UNPRICED, UNMETERABLE])
def test_under_allow_a_blind_call_goes_on_without_a_word(blind: dict[str, Any]) -> None:
    play = running(max_cost_nanodollars=200, on_blind=OnBlind.ALLOW)
    play.admitted(**blind)

    assert [type(entry.event).__name__ for entry in play.journal] == ["Opened", "Reserved"]


def test_under_refuse_a_model_that_was_never_metered_goes_alone() -> None:
    play = running(max_cost_nanodollars=1_000)
    first = play.admitted(metered_before=False)

    assert play.waits(metered_before=False)
    play.settle(first, 1)
    play.admitted(metered_before=True)
    play.admitted(metered_before=True)


@pytest.mark.parametrize("on_blind", [OnBlind.WARN, OnBlind.ALLOW])
def test_under_warn_or_allow_a_model_that_was_never_metered_goes_in_parallel(on_blind: OnBlind) -> None:
    play = running(max_cost_nanodollars=1_000, on_blind=on_blind)
    play.admitted(metered_before=False)

    play.admitted(metered_before=False)


def test_without_a_cost_budget_a_model_that_was_never_metered_goes_in_parallel() -> None:
    play = running(max_calls=10)
    play.admitted(metered_before=False)

    play.admitted(metered_before=False)


# Observe


def test_observe_never_waits_or_refuses_and_records_each_boundary_once() -> None:
    play = running(observe=True, max_calls=1, max_cost_nanodollars=5, deadline_ns=MINUTE, stall_replies=1)
    for _ in range(3):
        play.call(10, fingerprint=b"the same")
        play.pass_time(HOUR)
    play.admitted(**UNPRICED)

    recorded = [entry.event.reason.value for entry in play.journal if isinstance(entry.event, WouldStop)]
    assert recorded == ["deadline", "cost_budget", "max_calls", "stall", "unpriced_model"]
    assert [reason.value for reason in play.account.would_stop] == recorded
    assert not play.stop_reason


def test_observe_lets_calls_in_that_leave_no_room() -> None:
    play = running(observe=True, max_calls=1, max_cost_nanodollars=5)
    for _ in range(5):
        play.admitted(ceiling_nanodollars=100)

    assert play.account.open.calls == 5


def test_kill_is_on_under_observe() -> None:
    play = running(observe=True)
    play.kill()

    assert play.refused().reason is Reason.KILL_SWITCH


def test_a_second_session_of_the_run_shares_its_room() -> None:
    play = running(max_calls=1)
    play.open(TWO)
    play.admitted()

    assert play.waits(session=TWO)
