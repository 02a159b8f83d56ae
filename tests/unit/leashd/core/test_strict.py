"""DESIGN 4.2: under strict no call is forwarded that could cross the budget."""

from __future__ import annotations

from typing import Any

from leashd.core.admission import Admit
from leashd.core.limits import OnBlind
from leashd.core.reasons import Reason
from tests.unit.leashd.play import HOUR, running

UNBOUNDED: dict[str, Any] = {"ceiling_nanodollars": None}
UNPRICED: dict[str, Any] = {"listed": False, "ceiling_nanodollars": None}


def test_strict_holds_the_full_ceiling() -> None:
    play = running(max_cost_nanodollars=1_000, strict=True)
    play.call(10)

    assert play.reserve(ceiling_nanodollars=100) == Admit(100)


def test_strict_answers_a_call_without_a_ceiling_with_402() -> None:
    play = running(max_cost_nanodollars=1_000, strict=True)
    refuse = play.refused(**UNBOUNDED)

    assert (refuse.reason, refuse.payment_required) == (Reason.UNBOUNDED_CALL, True)
    assert not play.stop_reason


def test_strict_refuses_a_call_whose_ceiling_alone_exceeds_what_is_left_and_goes_on_for_smaller_ones() -> None:
    play = running(max_cost_nanodollars=1_000, strict=True)
    play.call(950, asked={"ceiling_nanodollars": 1_000})

    refuse = play.refused(ceiling_nanodollars=51)

    assert (refuse.reason, refuse.used, refuse.limit) == (Reason.CEILING_EXCEEDS_BUDGET, 51, 50)
    assert not refuse.transient
    assert not play.stop_reason
    play.admitted(ceiling_nanodollars=50)


def test_strict_lets_a_call_wait_for_the_holds_of_others() -> None:
    play = running(max_cost_nanodollars=1_000, strict=True)
    first = play.admitted(ceiling_nanodollars=600)

    assert play.waits(ceiling_nanodollars=500)
    play.settle(first, 1)
    play.admitted(ceiling_nanodollars=500)


def test_strict_never_admits_past_the_budget_even_when_no_other_call_is_open() -> None:
    play = running(max_cost_nanodollars=1_000, strict=True)
    play.abandon(play.admitted(ceiling_nanodollars=600))

    assert play.refused(ceiling_nanodollars=500).reason is Reason.UNRESOLVED_CALLS
    play.admitted(ceiling_nanodollars=400)


def test_strict_refuses_a_call_that_may_cost_more_than_one_call_may_and_never_stops_for_it() -> None:
    play = running(max_cost_nanodollars=1_000, max_cost_per_call_nanodollars=99, strict=True)

    refuse = play.refused(ceiling_nanodollars=100)

    assert (refuse.reason, refuse.used, refuse.limit) == (Reason.MAX_COST_PER_CALL, 100, 99)
    assert refuse.payment_required
    assert not play.stop_reason
    play.admitted(ceiling_nanodollars=99)


def test_without_strict_the_limit_for_one_call_refuses_nothing_beforehand() -> None:
    play = running(max_cost_nanodollars=1_000, max_cost_per_call_nanodollars=99)

    play.admitted(ceiling_nanodollars=100)


def test_strict_refuses_a_call_dearer_than_one_call_may_be_without_a_cost_budget_too() -> None:
    play = running(max_cost_per_call_nanodollars=99, strict=True)

    refuse = play.refused(ceiling_nanodollars=100)

    assert (refuse.reason, refuse.payment_required) == (Reason.MAX_COST_PER_CALL, True)
    assert not play.stop_reason
    play.admitted(ceiling_nanodollars=99)


def test_a_refusal_that_no_wait_would_change_comes_at_once_whatever_the_call_would_have_waited_for() -> None:
    play = running(max_cost_nanodollars=1_000, max_calls=2, strict=True)
    play.admitted(ceiling_nanodollars=10)
    # A model that was never metered waits until it is alone.
    assert play.waits(metered_before=False, model="new", ceiling_nanodollars=10)
    refuse = play.refused(metered_before=False, model="new", ceiling_nanodollars=5_000)
    assert refuse.reason is Reason.CEILING_EXCEEDS_BUDGET

    play.admitted(ceiling_nanodollars=10)
    assert play.waits(ceiling_nanodollars=10), "the number of calls leaves no room"
    assert play.refused(ceiling_nanodollars=5_000).reason is Reason.CEILING_EXCEEDS_BUDGET


def test_strict_holds_the_compute_until_the_deadline() -> None:
    play = running(max_cost_nanodollars=1_000, strict=True, compute_rate_nanodollars_per_hour=600, deadline_ns=HOUR)

    refuse = play.refused(ceiling_nanodollars=401)
    assert (refuse.reason, refuse.limit) == (Reason.CEILING_EXCEEDS_BUDGET, 400)
    first = play.admitted(ceiling_nanodollars=400)
    play.pass_time(HOUR // 2)
    play.settle(first, 400)
    # What has run and what is to come are the same sum all along.
    assert play.refused(ceiling_nanodollars=1).reason is Reason.CEILING_EXCEEDS_BUDGET


def test_strict_lets_a_blind_call_pass_where_the_person_allowed_it() -> None:
    play = running(max_cost_nanodollars=1_000, strict=True, on_blind=OnBlind.ALLOW)

    play.admitted(**UNPRICED)
