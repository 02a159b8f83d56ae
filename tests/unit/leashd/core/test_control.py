"""DESIGN 4.2: opening and closing a run, kill, raise and resume, episodes."""

from __future__ import annotations

from typing import Any

import pytest

from leashd.core.account import Status
from leashd.core.control import MAX_OPENERS, CannotRaiseError, TooManyOpenersError
from leashd.core.events import Opened, Raised
from leashd.core.limits import LooserLimitError, OnBlind
from leashd.core.reasons import Reason
from tests.unit.leashd.play import HOUR, MINUTE, ONE, TWO, Play, running

# Opening


def test_the_first_opener_makes_the_run_with_what_is_given_and_the_defaults_for_the_rest() -> None:
    play = running({"max_cost_nanodollars": 5, "max_calls": 100}, max_cost_nanodollars=7)

    limits = play.account.limits
    assert limits.declared == limits.in_force
    assert (limits.in_force.max_cost_nanodollars, limits.in_force.max_calls) == (7, 100)
    assert (play.account.owner_uid, play.account.status) == (7, Status.RUNNING)


def test_the_defaults_say_nothing_about_a_run_that_exists() -> None:
    play = running({"max_calls": 100})
    play.defaults = {"max_calls": 3}
    play.open(TWO)

    assert play.account.limits.in_force.max_calls == 100


def test_opening_again_changes_nothing() -> None:
    play = running(max_calls=5)

    assert play.open(ONE, max_calls=5) == ()


def test_another_price_table_is_taken_and_none_keeps_the_one_there_was() -> None:
    play = Play()
    play.open(prices=b"table001")
    play.open(TWO)
    assert play.account.prices == b"table001"

    play.open(TWO, prices=b"table002")
    assert play.account.prices == b"table002"


def test_the_standing_table_is_for_runs_that_nobody_has_open() -> None:
    play = Play()
    play.open(prices=b"table001")
    play.open(TWO, standing_prices=b"standing")
    assert play.account.prices == b"table001", "the first opener's calls cost what they cost"
    play.open(standing_prices=b"standing")  # it is back after its stream was away
    assert play.account.prices == b"table001"

    play.close(TWO)
    play.close()
    play.open(standing_prices=b"standing")
    assert play.account.prices == b"standing"

    new = Play()
    new.open()
    new.open(TWO, standing_prices=b"standing")
    assert new.account.prices == b"standing", "it had none"


def test_who_opens_for_others_is_an_opener_whose_looser_limits_are_not_in_force() -> None:
    play = running(max_calls=5)
    [opened] = play.open_for_others(TWO, max_calls=9, max_cost_nanodollars=3)

    assert isinstance(opened, Opened)
    assert play.account.has_opener(TWO)
    limits = play.account.limits
    assert (limits.in_force.max_calls, limits.declared.max_calls) == (5, 9)
    assert (limits.in_force.max_cost_nanodollars, limits.declared.max_cost_nanodollars) == (3, 3)
    assert play.open_for_others(TWO, max_calls=9, max_cost_nanodollars=3) == ()
    assert play.refold() == play.account
    with pytest.raises(LooserLimitError):
        play.open(ONE, max_calls=10)


def test_what_a_client_asks_for_lowers_what_is_in_force_of_a_new_run_and_of_no_other() -> None:
    play = Play(defaults={"max_cost_nanodollars": 5})
    play.open_for_others(max_calls=9, lowered={"max_cost_nanodollars": 2, "max_calls": 100})
    limits = play.account.limits
    assert (limits.in_force.max_cost_nanodollars, limits.in_force.max_calls) == (2, 9)
    assert (limits.declared.max_cost_nanodollars, limits.declared.max_calls) == (5, 9)

    assert play.open_for_others(max_calls=9, lowered={"max_calls": 1}) == ()
    play.raise_limits(max_cost_nanodollars=8)
    play.open_for_others(TWO, max_calls=9, max_cost_nanodollars=5, lowered={"max_cost_nanodollars": 2})
    assert play.account.limits.in_force.max_cost_nanodollars == 8
    assert play.refold() == play.account


def test_the_sessions_of_a_run_are_bounded() -> None:
    play = running()
    for number in range(1, MAX_OPENERS):
        play.open(number.to_bytes(8, "big"))

    with pytest.raises(TooManyOpenersError):
        play.open(b"too many")
    assert play.open(ONE) == ()


def test_an_opener_that_asks_for_more_gets_nothing_at_all() -> None:
    play = running(max_calls=5)
    before = play.account

    with pytest.raises(LooserLimitError):
        play.open(TWO, max_calls=6)
    assert play.account is before


def test_strict_with_a_compute_rate_needs_a_deadline() -> None:
    limits: dict[str, Any] = {"strict": True, "max_cost_nanodollars": 5, "compute_rate_nanodollars_per_hour": 1}
    with pytest.raises(ValueError, match="deadline"):
        running(**limits)

    running(**limits, deadline_ns=HOUR)


def test_what_an_opener_declares_is_in_the_entry_where_it_changed_and_left_off_where_not() -> None:
    play = running(max_calls=5)
    play.open(TWO, max_calls=4)
    play.open(b"session3")

    opened = [entry.event for entry in play.journal if isinstance(entry.event, Opened)]
    assert [event.in_force.max_calls if event.in_force else None for event in opened] == [5, 4, None]


# Finishing, and episodes


def test_a_run_is_finished_when_its_last_opener_has_gone_and_no_call_is_open() -> None:
    play = running()
    play.open(TWO)
    play.close(ONE)
    assert play.account.status is Status.RUNNING

    call = play.admitted(session=TWO)
    play.close(TWO)
    assert play.account.status is Status.RUNNING
    play.settle(call)
    assert (play.account.status, play.account.reason) == (Status.FINISHED, "child_exited")


def test_a_session_that_is_lost_is_named_as_the_reason() -> None:
    play = running()
    play.close(clean=False)

    assert (play.account.status, play.account.reason) == (Status.FINISHED, "opener_lost")


def test_a_stop_outlives_the_last_opener() -> None:
    play = running(max_calls=1)
    play.call()
    play.refused()
    play.close()

    assert (play.account.status, play.account.reason) == (Status.STOPPED, "max_calls")


def test_closing_a_run_that_the_session_has_not_open_changes_nothing() -> None:
    play = running()
    before = len(play.journal)
    play.close(TWO)

    assert len(play.journal) == before


def test_a_clean_finish_ends_the_episode_and_the_deadline_begins_anew() -> None:
    play = running(deadline_ns=MINUTE, max_calls=10, max_cost_nanodollars=100)
    play.call(5)
    play.close()
    play.pass_time(HOUR)
    play.open()
    play.call(5)
    play.pass_time(MINUTE - 1)

    play.admitted()
    totals = play.account.totals
    assert (totals.calls, totals.token_cost_nanodollars) == (2, 10), "calls and dollars go on adding up"


def test_a_crash_goes_on_with_the_episode() -> None:
    play = running(deadline_ns=MINUTE)
    play.call()
    play.close(clean=False)
    play.pass_time(MINUTE)
    play.open()

    assert play.refused().reason is Reason.DEADLINE


def test_a_second_opener_goes_on_with_the_episode() -> None:
    play = running(deadline_ns=MINUTE)
    play.call()
    play.pass_time(MINUTE)
    play.open(TWO)

    assert play.refused(session=TWO).reason is Reason.DEADLINE


def test_a_stopped_run_that_is_opened_again_stays_stopped() -> None:
    play = running(max_calls=1)
    play.call()
    play.refused()
    play.close()
    play.open()

    assert play.refused().reason is Reason.MAX_CALLS


# Kill


def test_a_kill_is_recorded_with_its_actor_and_only_once() -> None:
    play = running()
    (stopped,) = play.kill(now=True)

    assert (stopped.reason, stopped.now, stopped.actor_uid) == (Reason.KILL_SWITCH, True, 7)  # type: ignore[union-attr]
    assert play.account.status is Status.KILLED
    assert play.kill() == ()


@pytest.mark.parametrize("now", [False, True])
def test_a_stop_says_whether_calls_in_flight_are_to_be_aborted(now: bool) -> None:
    play = running()
    play.kill(now=now)

    assert play.account.stop.now is now


def test_a_kill_takes_the_place_of_another_stop() -> None:
    play = running(max_calls=1)
    play.call()
    play.refused()
    play.kill()

    assert play.refused().reason is Reason.KILL_SWITCH


# Raise and resume


def test_a_raise_lifts_the_stop_and_the_run_goes_on() -> None:
    play = running(max_cost_nanodollars=10)
    play.call(10)
    play.refused()
    play.raise_limits(max_cost_nanodollars=20)

    play.admitted()
    raised = next(entry.event for entry in play.journal if isinstance(entry.event, Raised))
    assert (raised.lifted, raised.actor_uid, raised.in_force.max_cost_nanodollars) == (True, 7, 20)


@pytest.mark.parametrize("given", [{}, {"max_calls": 50}, {"max_cost_nanodollars": 10}, {"max_cost_nanodollars": 9}])
def test_a_raise_must_change_the_limit_that_tripped(given: dict[str, Any]) -> None:
    play = running(max_cost_nanodollars=10)
    play.call(10)
    play.refused()

    with pytest.raises(CannotRaiseError, match="--max-cost"):
        play.raise_limits(**given)
    assert play.stop_reason == "cost_budget"


def test_a_raise_must_clear_every_boundary_that_is_reached() -> None:
    play = running(max_cost_nanodollars=10, max_calls=1)
    play.call(10)
    play.refused()

    with pytest.raises(CannotRaiseError, match="--max-calls"):
        play.raise_limits(max_cost_nanodollars=20)
    play.raise_limits(max_cost_nanodollars=20, max_calls=2)
    play.admitted()


def test_a_limit_that_is_raised_to_zero_is_off() -> None:
    play = running(max_calls=1)
    play.call()
    play.refused()
    play.raise_limits(max_calls=0)

    play.admitted()


def test_a_deadline_is_raised_above_what_has_passed() -> None:
    play = running(deadline_ns=MINUTE)
    play.call()
    play.pass_time(2 * MINUTE)
    play.refused()

    with pytest.raises(CannotRaiseError, match="--deadline"):
        play.raise_limits(deadline_ns=2 * MINUTE)
    play.raise_limits(deadline_ns=2 * MINUTE + 1)
    play.admitted()


def test_a_deadline_of_a_finished_run_is_judged_as_its_next_opener_will_find_it() -> None:
    play = running(deadline_ns=MINUTE)
    play.call()
    play.pass_time(MINUTE)
    play.refused()
    play.close()
    play.pass_time(24 * HOUR)

    with pytest.raises(CannotRaiseError, match="--deadline"):
        play.raise_limits(deadline_ns=MINUTE)
    play.raise_limits(deadline_ns=2 * MINUTE)
    play.open()
    play.admitted()


def test_a_deadline_of_a_run_that_crashed_goes_on_for_its_next_opener() -> None:
    play = running(deadline_ns=MINUTE)
    play.call()
    play.pass_time(MINUTE)
    play.refused()
    play.close(clean=False)
    play.pass_time(HOUR)

    with pytest.raises(CannotRaiseError, match="--deadline"):
        play.raise_limits(deadline_ns=2 * MINUTE)


def test_another_limit_does_not_lift_a_deadline_whose_episode_is_over() -> None:
    play = running(deadline_ns=MINUTE, max_calls=100)
    play.call()
    play.pass_time(MINUTE)
    play.refused()
    play.close()
    play.open()

    with pytest.raises(CannotRaiseError, match="--deadline"):
        play.raise_limits(max_calls=200)
    assert play.stop_reason == "deadline"


def test_another_limit_does_not_lift_a_budget_that_an_amend_has_brought_back_under_its_line() -> None:
    play = running(max_cost_nanodollars=100)
    call = play.admitted(ceiling_nanodollars=50)
    play.abandon(call)
    play.resolve(call, 100)
    play.refused()
    play.amend(call, 10)

    with pytest.raises(CannotRaiseError, match="--max-cost"):
        play.raise_limits(max_calls=5)
    play.raise_limits(max_cost_nanodollars=101)
    play.admitted()


@pytest.mark.parametrize("limits", [{"max_cost_nanodollars": 10}, {"max_calls": 1}, {"deadline_ns": HOUR}])
def test_observe_alone_does_not_lift_a_stop(limits: dict[str, Any]) -> None:
    play = running(**limits)
    play.call(10)
    play.pass_time(HOUR)
    play.refused()

    with pytest.raises(CannotRaiseError, match="give a higher"):
        play.raise_limits(observe=True)


def test_the_limit_for_one_call_is_raised_above_the_call_that_was_too_dear() -> None:
    play = running(max_cost_per_call_nanodollars=10)
    play.call(20)

    with pytest.raises(CannotRaiseError, match="--max-cost-per-call"):
        play.raise_limits(max_cost_per_call_nanodollars=19)
    play.raise_limits(max_cost_per_call_nanodollars=20)
    play.admitted()


def resumable(reason: str) -> Play:
    """A run that was stopped for this reason."""
    play = running(max_cost_nanodollars=1_000, stall_replies=1)
    if reason == "kill_switch":
        play.kill()
    elif reason == "stall":
        play.call(fingerprint=b"the same")
        play.refused()
    else:
        blind: dict[str, dict[str, Any]] = {"meter_blind": {"usage": None}, "unpriced_model": {"priced": False}}
        play.call(**blind.get(reason, {"unpriced_tool": True}))
    assert play.stop_reason == reason
    return play


@pytest.mark.parametrize("reason", ["kill_switch", "stall", "meter_blind", "unpriced_model", "server_tool_unpriced"])
def test_a_kill_a_stall_or_a_blind_stop_needs_resume(reason: str) -> None:
    play = resumable(reason)
    with pytest.raises(CannotRaiseError, match="--resume"):
        play.raise_limits(max_cost_nanodollars=2_000, stall_replies=5, on_blind=OnBlind.ALLOW)

    play.raise_limits(resume=True)
    play.admitted()


def test_a_resume_does_not_lift_a_budget_that_is_used() -> None:
    play = running(max_calls=1)
    play.call()
    play.kill()

    with pytest.raises(CannotRaiseError, match="--max-calls"):
        play.raise_limits(resume=True)


def test_a_resumed_stall_begins_its_streak_anew_and_only_with_calls_reserved_since() -> None:
    play = running(stall_replies=2)
    play.call(fingerprint=b"the same")
    earlier = play.admitted()
    play.call(fingerprint=b"the same")
    play.refused()
    play.raise_limits(resume=True)

    play.settle(earlier, fingerprint=b"the same")
    play.call(fingerprint=b"the same")
    assert play.account.stall.replies == 1
    play.admitted()


def test_a_raise_of_a_run_that_is_not_stopped_sets_its_limits() -> None:
    play = running(max_calls=5)
    play.raise_limits(max_calls=6)

    assert (play.account.limits.declared.max_calls, play.account.limits.in_force.max_calls) == (5, 6)
    with pytest.raises(CannotRaiseError):
        play.raise_limits(max_calls=6)


def test_a_job_that_is_run_again_after_a_raise_keeps_the_raise() -> None:
    play = running(max_calls=5)
    play.raise_limits(max_calls=10)
    play.close()
    play.open(max_calls=5)

    assert play.account.limits.in_force.max_calls == 10
