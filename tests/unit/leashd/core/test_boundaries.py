"""DESIGN 4.2: the settled facts, judged in their fixed order."""

from __future__ import annotations

from typing import Any

import pytest

from leash.usage import Usage
from leashd.core.boundaries import compute_trips_at_ns, deadline_at_ns, first_trip, next_trip_at_ns
from leashd.core.reasons import Reason
from tests.unit.leashd.play import DOLLAR, HOUR, MINUTE, SECOND, Play, running

TRIPPING: dict[str, dict[str, Any]] = {
    "deadline": {"deadline_ns": SECOND},
    "cost_budget": {"max_cost_nanodollars": 10},
    "max_calls": {"max_calls": 1},
    "rate_limit": {"rate_tokens": 1, "rate_window_ns": HOUR},
    "stall": {"stall_replies": 1},
}


def tripped(*reasons: str) -> Play:
    """A run that has reached just these boundaries."""
    limits = {name: value for reason in reasons for name, value in TRIPPING[reason].items()}
    play = running(**limits)
    play.call(10, fingerprint=b"the same")
    play.pass_time(2 * SECOND)
    return play


@pytest.mark.parametrize("first", range(len(TRIPPING)))
def test_the_first_in_the_order_deadline_cost_calls_rate_stall_wins(first: int) -> None:
    in_order = list(TRIPPING)
    play = tripped(*in_order[first:])

    assert play.refused().reason.value == in_order[first]


def test_kill_comes_before_every_boundary() -> None:
    play = tripped(*TRIPPING)
    play.kill()

    assert play.refused().reason is Reason.KILL_SWITCH


@pytest.mark.parametrize("limit", ["max_calls", "max_cost_nanodollars", "deadline_ns", "stall_replies"])
def test_a_zero_limit_turns_a_boundary_off(limit: str) -> None:
    off: dict[str, Any] = {limit: 0}
    play = running(**off)
    for _ in range(20):
        play.call(DOLLAR, fingerprint=b"the same")
        play.pass_time(HOUR)

    play.admitted()


def test_kill_is_on_where_every_limit_is_off() -> None:
    play = running()
    play.kill()

    assert play.refused().reason is Reason.KILL_SWITCH


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_a_limit_of_n_lets_n_calls_through_and_refuses_the_next(limit: int) -> None:
    play = running(max_calls=limit)
    for _ in range(limit):
        play.call()

    refuse = play.refused()
    assert (refuse.reason, refuse.used, refuse.limit) == (Reason.MAX_CALLS, limit, limit)


def test_an_error_answer_is_a_call() -> None:
    play = running(max_calls=1)
    play.call(http_status=500, usage=None, priced=False)

    assert play.refused().reason is Reason.MAX_CALLS


@pytest.mark.parametrize(("spent", "is_reached"), [(9, False), (10, True), (11, True)])
def test_a_total_that_equals_the_budget_has_reached_it(spent: int, is_reached: bool) -> None:
    play = running(max_cost_nanodollars=10)
    play.call(spent)

    trip = first_trip(play.account, play.now_ns)
    assert (trip is not None) is is_reached
    if trip is not None:
        assert (trip.reason, trip.used, trip.limit) == (Reason.COST_BUDGET, spent, 10)


@pytest.mark.parametrize(("elapsed_ns", "is_reached"), [(MINUTE - 1, False), (MINUTE, True)])
def test_a_deadline_is_reached_when_its_time_has_passed_since_the_first_admitted_call(
    elapsed_ns: int, is_reached: bool
) -> None:
    play = running(deadline_ns=MINUTE)
    play.pass_time(HOUR)
    play.call()
    play.pass_time(elapsed_ns)

    assert (first_trip(play.account, play.now_ns) is not None) is is_reached


def test_a_deadline_does_not_run_before_the_first_admitted_call() -> None:
    play = running(deadline_ns=MINUTE)
    play.pass_time(HOUR)

    assert deadline_at_ns(play.account) is None
    play.admitted()


def test_cost_is_token_and_tool_and_compute_cost() -> None:
    play = running(max_cost_nanodollars=10, compute_rate_nanodollars_per_hour=4)
    play.call(6, tool_cost_nanodollars=5)
    play.pass_time(HOUR)

    refuse = play.refused()
    assert (refuse.reason, refuse.used) == (Reason.COST_BUDGET, 10)


@pytest.mark.parametrize(("tokens", "is_reached"), [(100, False), (101, True)])
def test_strictly_more_tokens_than_the_rate_trip_it(tokens: int, is_reached: bool) -> None:
    play = running(rate_tokens=100, rate_window_ns=MINUTE)
    play.call(usage=Usage(input_tokens=tokens - 1, output_tokens=1))

    assert (first_trip(play.account, play.now_ns) is not None) is is_reached


def test_the_rate_is_transient_and_the_run_goes_on_when_the_window_has_decayed() -> None:
    play = running(rate_tokens=100, rate_window_ns=30 * SECOND)
    play.call(usage=Usage(input_tokens=101))
    before = len(play.journal)

    refuse = play.refused()

    assert (refuse.reason, refuse.transient) == (Reason.RATE_LIMIT, True)
    assert 1 <= refuse.retry_after_seconds <= 60
    assert len(play.journal) == before, "a refusal writes no entry, and a rate never stops"
    play.pass_time(refuse.retry_after_seconds * SECOND)
    play.admitted()


@pytest.mark.parametrize("reason", ["deadline", "cost_budget", "max_calls", "stall"])
def test_a_trip_is_recorded_as_a_stop_once_and_is_terminal(reason: str) -> None:
    play = tripped(reason)

    first = play.refused()
    entries = len(play.journal)
    second = play.refused()

    assert play.stop_reason == reason
    assert (first.reason, first.used, first.limit) == (second.reason, second.used, second.limit)
    assert not first.transient
    assert first.retry_after_seconds == 0
    assert len(play.journal) == entries


def test_boundaries_judge_the_account_so_far_before_this_call() -> None:
    play = running(max_cost_nanodollars=10)
    play.call(9)

    play.admitted(ceiling_nanodollars=50)


@pytest.mark.parametrize("rate", [1, 7, DOLLAR, 3 * DOLLAR + 1])
@pytest.mark.parametrize("budget", [1, 10, DOLLAR])
def test_the_compute_meter_trips_at_the_very_instant_that_was_foretold(rate: int, budget: int) -> None:
    play = running(max_cost_nanodollars=budget, compute_rate_nanodollars_per_hour=rate)
    play.admitted()
    at_ns = compute_trips_at_ns(play.account)
    assert at_ns is not None

    assert first_trip(play.account, at_ns - 1) is None
    trip = first_trip(play.account, at_ns)
    assert trip is not None
    assert trip.reason is Reason.COST_BUDGET


def test_the_next_trip_is_the_deadline_or_the_compute_meter_whichever_is_first() -> None:
    play = running(deadline_ns=MINUTE, max_cost_nanodollars=10 * DOLLAR, compute_rate_nanodollars_per_hour=DOLLAR)
    assert next_trip_at_ns(play.account) is None
    play.admitted()

    assert next_trip_at_ns(play.account) == play.now_ns + MINUTE
    play.raise_limits(deadline_ns=0)
    assert next_trip_at_ns(play.account) == compute_trips_at_ns(play.account)
