"""DESIGN 4.1 and 4.3: how a call ends, and what that does to its run."""

from __future__ import annotations

from typing import Any

import pytest

from leash.usage import Usage
from leashd.core.events import Settled, Stopped, Warned, WouldStop
from leashd.core.limits import OnBlind
from leashd.core.reasons import Reason
from tests.unit.leashd.play import HOUR, Play, running, stops

BLIND: dict[str, dict[str, Any]] = {
    "meter_blind": {"usage": None, "priced": False},
    "unpriced_model": {"priced": False},
    "server_tool_unpriced": {"unpriced_tool": True},
}
UNKNOWN: dict[str, Any] = {"ceiling_nanodollars": None, "dearest_in_ledger_nanodollars": 0}


def settled(play: Play) -> Settled:
    event = next(entry.event for entry in reversed(play.journal) if isinstance(entry.event, Settled))
    assert isinstance(event, Settled)
    return event


def warnings(play: Play) -> list[tuple[str, int, int]]:
    found = [entry.event for entry in play.journal if isinstance(entry.event, Warned)]
    return [(warned.reason.value, warned.used, warned.limit) for warned in found]


# Settled, voided


def test_a_settle_counts_what_the_wire_reported_and_frees_the_hold() -> None:
    play = running(max_cost_nanodollars=1_000)
    usage = Usage(input_tokens=10, output_tokens=5, reasoning_tokens=3, cached_input_tokens=2)
    play.settle(play.admitted(ceiling_nanodollars=100), 7, usage=usage, tool_cost_nanodollars=2)

    totals = play.account.totals
    assert (totals.calls, totals.token_cost_nanodollars, totals.tool_cost_nanodollars) == (1, 7, 2)
    assert (totals.input_tokens, totals.output_tokens) == (10, 5)
    assert (totals.reasoning_tokens, totals.cached_input_tokens) == (3, 2)
    assert (play.account.open.calls, play.account.open.nanodollars) == (0, 0)


def test_a_settle_above_its_hold_is_recorded_in_full() -> None:
    play = running(max_cost_nanodollars=1_000)
    play.settle(play.admitted(ceiling_nanodollars=100), 5_000)

    assert play.account.totals.token_cost_nanodollars == 5_000


def test_a_void_counts_for_nothing() -> None:
    play = running(max_cost_nanodollars=1_000, max_calls=1)
    play.void(play.admitted(ceiling_nanodollars=100))

    assert play.account.totals.calls == 0
    assert (play.account.open.calls, play.account.open.nanodollars) == (0, 0)
    play.admitted()


# Unresolved


@pytest.mark.parametrize(("known_cost", "kept"), [(0, 100), (99, 100), (101, 101)])
def test_an_abandoned_call_keeps_its_hold_or_its_known_minimum_where_that_is_larger(known_cost: int, kept: int) -> None:
    play = running(max_cost_nanodollars=1_000)
    call = play.admitted(ceiling_nanodollars=100)
    play.abandon(call, Usage(input_tokens=1), known_cost)

    account = play.account
    assert (account.open.calls, account.unresolved.calls, account.unresolved.nanodollars) == (0, 1, kept)
    assert play.calls[call].known == Usage(input_tokens=1)
    assert account.totals.calls == 0


def test_a_late_settle_of_an_unresolved_call_is_taken() -> None:
    play = running(max_cost_nanodollars=1_000)
    call = play.admitted(ceiling_nanodollars=100)
    play.abandon(call)
    play.settle(call, 30)

    assert (play.account.unresolved.calls, play.account.unresolved.nanodollars) == (0, 0)
    assert (play.account.totals.calls, play.account.totals.token_cost_nanodollars) == (1, 30)


def test_an_unresolved_call_that_a_person_prices_becomes_a_settled_one() -> None:
    play = running(max_cost_nanodollars=1_000)
    call = play.admitted(ceiling_nanodollars=100)
    play.abandon(call)
    play.resolve(call, 40)

    assert play.account.unresolved.calls == 0
    assert (play.account.totals.calls, play.account.totals.token_cost_nanodollars) == (1, 40)


def test_an_unresolved_call_that_a_person_releases_counts_for_nothing() -> None:
    play = running(max_cost_nanodollars=1_000)
    call = play.admitted(ceiling_nanodollars=100)
    play.abandon(call)
    play.resolve(call, None)

    assert (play.account.unresolved.calls, play.account.totals.calls) == (0, 0)


@pytest.mark.parametrize("said", [40, 0, None])
def test_a_late_settle_after_a_resolve_amends_the_cost_and_counts_the_call_once(said: int | None) -> None:
    play = running(max_cost_nanodollars=1_000)
    call = play.admitted(ceiling_nanodollars=100)
    play.abandon(call)
    play.resolve(call, said)
    play.amend(call, 30, tool_cost_nanodollars=5)

    totals = play.account.totals
    assert (totals.calls, totals.token_cost_nanodollars, totals.tool_cost_nanodollars) == (1, 30, 5)
    assert (play.account.unresolved.calls, play.account.unresolved.nanodollars) == (0, 0)
    assert (play.account.open.calls, play.account.open.nanodollars) == (0, 0)


@pytest.mark.parametrize(("said", "cost"), [(40, 40), (None, 0)])
def test_a_late_settle_without_readable_usage_keeps_what_the_person_said(said: int | None, cost: int) -> None:
    play = running()
    call = play.admitted()
    play.abandon(call)
    play.resolve(call, said)
    play.amend(call, usage=None, priced=False)

    assert (play.account.totals.calls, play.account.totals.token_cost_nanodollars) == (1, cost)


def test_a_late_error_answer_after_a_resolve_bills_nothing() -> None:
    play = running()
    call = play.admitted()
    play.abandon(call)
    play.resolve(call, 40)
    play.amend(call, http_status=500, usage=None, priced=False)

    assert (play.account.totals.calls, play.account.totals.token_cost_nanodollars) == (1, 0)


def test_an_unresolved_call_with_an_unknown_hold_is_a_blind_call_under_a_cost_budget() -> None:
    play = running(max_cost_nanodollars=1_000)
    events = play.abandon(play.admitted(**UNKNOWN))

    assert stops(events) == ["meter_blind"]
    assert play.account.unresolved.nanodollars == 1_000


def test_a_call_admitted_while_there_was_no_cost_budget_is_blind_when_abandoned_under_one_set_since() -> None:
    play = running()
    call = play.admitted(ceiling_nanodollars=100)
    play.open(max_cost_nanodollars=1_000)

    assert stops(play.abandon(call)) == ["meter_blind"]


def test_a_call_admitted_while_there_was_no_cost_budget_is_not_blind_without_one() -> None:
    play = running()

    assert stops(play.abandon(play.admitted(ceiling_nanodollars=100))) == []


def test_under_warn_an_unresolved_call_with_an_unknown_hold_warns_and_keeps_what_is_known_of_it() -> None:
    play = running(max_cost_nanodollars=1_000, on_blind=OnBlind.WARN)
    play.abandon(play.admitted(**UNKNOWN), Usage(input_tokens=1), 30)

    assert [reason for reason, _, _ in warnings(play)] == ["meter_blind"]
    assert not play.stop_reason
    assert play.account.unresolved.nanodollars == 30


def test_an_unresolved_call_whose_hold_is_known_is_not_blind() -> None:
    play = running(max_cost_nanodollars=1_000)

    assert stops(play.abandon(play.admitted(ceiling_nanodollars=100))) == []


# Blind answers


@pytest.mark.parametrize("reason", BLIND)
def test_under_refuse_a_blind_answer_is_delivered_once_and_stops_the_run(reason: str) -> None:
    play = running(max_cost_nanodollars=1_000)
    events = play.call(**BLIND[reason])

    assert stops(events) == [reason]
    assert settled(play).blind == reason
    assert play.account.totals.blind == 1
    assert play.refused().reason.value == reason


@pytest.mark.parametrize("reason", BLIND)
def test_under_warn_a_blind_answer_warns_once_and_the_run_goes_on(reason: str) -> None:
    play = running(max_cost_nanodollars=1_000, on_blind=OnBlind.WARN)
    play.call(**BLIND[reason])
    play.call(**BLIND[reason])

    assert warnings(play) == [(reason, 0, 0)]
    assert play.account.totals.blind == 2
    assert not play.stop_reason


@pytest.mark.parametrize("reason", BLIND)
def test_under_allow_a_blind_answer_goes_on(reason: str) -> None:
    play = running(max_cost_nanodollars=1_000, on_blind=OnBlind.ALLOW)
    play.call(**BLIND[reason])

    assert warnings(play) == []
    assert not play.stop_reason


@pytest.mark.parametrize("reason", BLIND)
def test_without_a_cost_budget_a_blind_answer_stops_nothing(reason: str) -> None:
    play = running(max_calls=10)
    play.call(**BLIND[reason])

    assert not play.stop_reason


@pytest.mark.parametrize("http_status", [400, 401, 404, 429, 500, 503, 529])
def test_an_error_answer_is_one_call_zero_tokens_and_never_a_blind_stop(http_status: int) -> None:
    play = running(max_cost_nanodollars=1_000)
    play.call(0, http_status=http_status, usage=None, priced=False)

    totals = play.account.totals
    assert (totals.calls, totals.errors, totals.blind, totals.token_cost_nanodollars) == (1, 1, 0, 0)
    assert not play.stop_reason


# A call that is too dear


@pytest.mark.parametrize(("cost", "is_stopped"), [(10, False), (11, True)])
def test_a_settled_call_above_the_limit_for_one_call_stops_the_run(cost: int, is_stopped: bool) -> None:
    play = running(max_cost_per_call_nanodollars=10)
    events = play.call(cost)

    assert stops(events) == (["max_cost_per_call"] if is_stopped else [])


def test_a_blind_and_too_dear_answer_stops_the_run_once() -> None:
    play = running(max_cost_nanodollars=1_000, max_cost_per_call_nanodollars=10)

    assert stops(play.call(20, unpriced_tool=True)) == ["server_tool_unpriced"]


def test_a_call_that_ends_after_the_stop_is_recorded_and_stops_nothing_again() -> None:
    play = running(max_cost_nanodollars=1_000, max_cost_per_call_nanodollars=10, warn_at_ppm=1)
    call = play.admitted()
    play.kill()
    play.settle(call, 20, usage=None)

    assert play.account.totals.token_cost_nanodollars == 20
    assert [type(entry.event) for entry in play.journal].count(Stopped) == 1
    assert play.stop_reason == "kill_switch"


# Warnings


def test_a_budget_that_is_nearly_used_warns_once() -> None:
    play = running(max_cost_nanodollars=100, warn_at_ppm=800_000)
    play.call(79)
    assert warnings(play) == []

    play.call(1)
    play.call(1)
    assert warnings(play) == [("cost_budget", 80, 100)]


def test_each_budget_warns_for_itself() -> None:
    play = running(max_cost_nanodollars=100, max_calls=5, warn_at_ppm=800_000)
    play.call(90)
    for _ in range(4):
        play.call(1)

    assert warnings(play) == [("cost_budget", 90, 100), ("max_calls", 4, 5)]


def test_a_budget_warns_again_after_a_raise() -> None:
    play = running(max_cost_nanodollars=100, warn_at_ppm=800_000)
    play.call(90)
    play.raise_limits(max_cost_nanodollars=200)
    play.call(60)
    assert len(warnings(play)) == 1

    play.call(10)
    assert warnings(play)[1:] == [("cost_budget", 160, 200)]


def test_a_budget_that_compute_alone_has_nearly_used_warns_at_the_next_settle() -> None:
    play = running(max_cost_nanodollars=100, warn_at_ppm=800_000, compute_rate_nanodollars_per_hour=90)
    play.call(0)
    play.pass_time(HOUR)
    call = play.admitted(ceiling_nanodollars=1)
    assert warnings(play) == []

    play.settle(call, 1)
    assert warnings(play) == [("cost_budget", 91, 100)]


def test_without_a_warning_line_nothing_warns() -> None:
    play = running(max_cost_nanodollars=100, warn_at_ppm=0)
    play.call(99)

    assert warnings(play) == []


# Observe


@pytest.mark.parametrize("reason", [*BLIND, "max_cost_per_call"])
def test_under_observe_what_would_stop_is_recorded_once(reason: str) -> None:
    play = running(observe=True, max_cost_nanodollars=1_000, max_cost_per_call_nanodollars=10)
    for _ in range(2):
        play.call(**BLIND.get(reason, {"cost": 11}))

    recorded = [entry.event.reason for entry in play.journal if isinstance(entry.event, WouldStop)]
    assert recorded == [Reason(reason)]
    assert not play.stop_reason
