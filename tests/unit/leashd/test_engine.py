"""DESIGN 4.1: sessions, one outcome once, crash and grace, kill, resolve; over a real ledger."""

from __future__ import annotations

import pytest

from leash.usage import Usage
from leashd.core.admission import Admit
from leashd.core.limits import OnBlind
from leashd.engine import CLOSED_CALLS_KEPT_NS, GRACE_NS
from leashd.ledger.protocol import Batch, LedgerUnavailableError
from leashd.operations import Done, FailureCode, Kills, RunStopped, RunWarned
from tests.unit.leashd.desk import MICRODOLLAR, Desk, Shim, call_id, failure, outcome, priced
from tests.unit.leashd.play import DOLLAR, HOUR

# One outcome, once


def test_a_retry_after_a_lost_reply_is_the_same_reserve(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=1_000 * MICRODOLLAR)
    first = shim.reserve(1)

    assert shim.reserve(1) == first
    assert desk.account().open.calls == 1
    assert desk.kinds().count("Reserved") == 1


def test_a_repeated_settle_is_answered_with_the_first_outcome(desk: Desk) -> None:
    shim = priced(desk)
    shim.admitted(1)

    assert outcome(shim.settle(1, tokens=10)) == ("settled", 10 * MICRODOLLAR, False)
    assert outcome(shim.settle(1, tokens=99)) == ("settled", 10 * MICRODOLLAR, True)
    assert desk.account().totals.calls == 1


def test_a_repeated_settle_is_answered_with_the_first_outcome_after_a_restart(desk: Desk) -> None:
    shim = priced(desk)
    shim.admitted(1)
    shim.settle(1, tokens=10)
    desk.restart()
    shim.connect()

    assert outcome(shim.settle(1, tokens=99)) == ("settled", 10 * MICRODOLLAR, True)


def test_whatever_closes_a_call_first_is_its_outcome(shim: Shim) -> None:
    shim.admitted(1, 2)
    shim.void(1)
    shim.settle(2)

    assert outcome(shim.settle(1)) == ("voided", 0, True)
    assert outcome(shim.abandon(1)) == ("voided", 0, True)
    assert outcome(shim.void(2)) == ("settled", 0, True)
    assert outcome(shim.abandon(2)) == ("settled", 0, True)
    assert shim.desk.account().totals.calls == 1


def test_an_unknown_call_is_never_applied(shim: Shim) -> None:
    for answer in (shim.settle(5), shim.void(5), shim.abandon(5)):
        assert failure(answer) is FailureCode.UNKNOWN
    assert shim.desk.kinds() == ["Opened"]


def test_a_call_that_is_closed_is_not_reserved_again(shim: Shim) -> None:
    shim.admitted(1)
    shim.settle(1)

    assert failure(shim.reserve(1)) is FailureCode.UNKNOWN


def test_an_outcome_is_forgotten_when_its_session_acknowledges_it(shim: Shim) -> None:
    shim.admitted(1)
    shim.settle(1)

    assert shim.acknowledge(1) == Done()
    assert shim.desk.ledger.closed_call(shim.name, call_id(1)) is None
    assert failure(shim.settle(1)) is FailureCode.UNKNOWN


def test_an_outcome_that_nobody_comes_back_for_is_forgotten_after_thirty_days(shim: Shim) -> None:
    desk = shim.desk
    shim.admitted(1)
    shim.settle(1)
    desk.now_ns += CLOSED_CALLS_KEPT_NS
    desk.engine.sweep(desk.now_ns)
    desk.commit()
    assert desk.ledger.closed_call(shim.name, call_id(1)) is not None

    desk.now_ns += 1
    desk.engine.sweep(desk.now_ns)
    desk.commit()
    assert desk.ledger.closed_call(shim.name, call_id(1)) is None


def test_only_the_owning_session_closes_a_call(shim: Shim) -> None:
    shim.admitted(1)
    other = shim.desk.session(b"session2")
    other.open()

    for answer in (other.settle(1), other.void(1), other.abandon(1)):
        assert failure(answer) is FailureCode.UNKNOWN
    other.cancel(1)
    assert shim.desk.account().open.calls == 1
    assert outcome(shim.settle(1)) == ("settled", 0, False)


def test_calls_of_two_sessions_by_the_same_id_are_two_calls(shim: Shim) -> None:
    other = shim.desk.session(b"session2")
    other.open()
    shim.admitted(1)
    other.admitted(1)
    assert shim.desk.account().open.calls == 2

    assert outcome(other.void(1)) == ("voided", 0, False)
    assert outcome(shim.settle(1)) == ("settled", 0, False)
    assert outcome(other.settle(1)) == ("voided", 0, True)
    assert shim.desk.account().totals.calls == 1


def test_a_session_reserves_only_in_a_run_that_it_has_open(desk: Desk) -> None:
    shim = desk.session()
    assert failure(shim.reserve(1)) is FailureCode.NOT_OPEN
    shim.open()
    other = desk.session(b"session2")

    assert failure(other.reserve(2)) is FailureCode.NOT_OPEN
    shim.close()
    assert failure(shim.reserve(3)) is FailureCode.NOT_OPEN


# Cancel


def test_a_cancel_voids_a_call_that_was_not_forwarded(shim: Shim) -> None:
    shim.admitted(1)

    assert outcome(shim.cancel(1)) == ("voided", 0, False)
    assert shim.desk.account().open.calls == 0


def test_a_cancel_of_a_closed_call_is_answered_with_its_outcome(shim: Shim) -> None:
    shim.admitted(1)
    shim.settle(1)

    assert outcome(shim.cancel(1)) == ("settled", 0, True)


def test_a_cancel_of_a_call_that_never_came_in_is_answered_as_voided(shim: Shim) -> None:
    assert outcome(shim.cancel(1)) == ("voided", 0, True)
    assert shim.desk.kinds() == ["Opened"]


def test_a_cancel_removes_a_waiter_and_writes_nothing(desk: Desk) -> None:
    shim = desk.session()
    shim.open(max_calls=1)
    shim.admitted(1)
    number = shim.waits(2)
    entries = desk.kinds()
    shim.cancel(2)
    shim.void(1)

    assert desk.kinds() == [*entries, "Voided"]
    assert desk.answers[number].code is FailureCode.UNKNOWN


# Unresolved calls, and a person's word


def test_an_abandoned_call_keeps_what_the_wire_had_reported_as_a_minimum(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=10_000 * MICRODOLLAR)
    shim.admitted(1)
    shim.abandon(1, known=Usage(input_tokens=700))

    assert desk.account().unresolved.nanodollars == 700 * MICRODOLLAR
    assert outcome(shim.abandon(1)) == ("unresolved", 0, True)


def test_a_call_is_resolved_by_a_prefix_that_only_it_has(shim: Shim) -> None:
    shim.admitted(0x10, 0x1F, 0xFF)
    shim.abandon(0x10)
    shim.abandon(0x1F)
    desk = shim.desk

    assert failure(desk.resolve(b"\0" * 15, None)) is FailureCode.AMBIGUOUS
    assert failure(desk.resolve(b"\1", None)) is FailureCode.UNKNOWN
    assert failure(desk.resolve(call_id(0xFF), None)) is FailureCode.UNKNOWN, "an open call is not a person's to close"
    assert failure(desk.resolve(call_id(0x10), None, run="other")) is FailureCode.UNKNOWN
    assert desk.resolve(call_id(0x10), 5).call == call_id(0x10)
    assert desk.resolve(b"\0" * 15, 5).call == call_id(0x1F)
    assert desk.account().totals.token_cost_nanodollars == 10


@pytest.mark.parametrize("said", [3, None])
def test_a_late_settle_after_a_resolve_amends_that_cost_once(desk: Desk, said: int | None) -> None:
    shim = priced(desk, max_cost_nanodollars=10_000 * MICRODOLLAR)
    shim.admitted(1)
    shim.abandon(1)
    desk.resolve(call_id(1), said)

    assert outcome(shim.settle(1, tokens=10)) == ("settled", 10 * MICRODOLLAR, False)
    assert outcome(shim.settle(1, tokens=99)) == ("settled", 10 * MICRODOLLAR, True)
    totals = desk.account().totals
    assert (totals.calls, totals.token_cost_nanodollars) == (1, 10 * MICRODOLLAR)


def test_a_late_settle_without_usage_keeps_the_persons_cost_and_says_so_each_time(desk: Desk) -> None:
    shim = priced(desk)
    shim.admitted(1)
    shim.abandon(1)
    desk.resolve(call_id(1), 3)
    assert outcome(shim.settle(1, metered=False)) == ("settled", 3, False)
    assert outcome(shim.settle(1, metered=False)) == ("settled", 3, True)


def test_a_late_settle_for_another_run_amends_nothing(desk: Desk) -> None:
    shim = priced(desk)
    shim.open("s", prices=desk.prices())
    shim.admitted(5, run="s")
    shim.settle(5, "s", tokens=100)
    shim.admitted(1)
    shim.abandon(1)
    desk.resolve(call_id(1), 3)

    assert outcome(shim.settle(1, "s", tokens=1)) == ("settled", 3, True)
    assert desk.account("s").totals.token_cost_nanodollars == 100 * MICRODOLLAR
    assert desk.account("r").totals.token_cost_nanodollars == 3


def test_a_late_settle_without_readable_usage_keeps_what_the_person_said(desk: Desk) -> None:
    shim = priced(desk)
    shim.admitted(1)
    shim.abandon(1)
    desk.resolve(call_id(1), 3)
    shim.settle(1, metered=False)

    totals = desk.account().totals
    assert (totals.calls, totals.token_cost_nanodollars) == (1, 3)


def test_a_late_settle_without_readable_usage_costs_at_least_what_the_wire_had_reported(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=DOLLAR, on_blind=OnBlind.ALLOW)
    shim.admitted(1)
    shim.abandon(1, known=Usage(input_tokens=700))

    assert outcome(shim.settle(1, metered=False)) == ("settled", 700 * MICRODOLLAR, False)
    assert desk.account().totals.token_cost_nanodollars == 700 * MICRODOLLAR


def test_a_late_error_answer_bills_nothing_whatever_the_wire_had_reported(desk: Desk) -> None:
    shim = priced(desk)
    shim.admitted(1)
    shim.abandon(1, known=Usage(input_tokens=700))

    assert outcome(shim.settle(1, http_status=500, metered=False)) == ("settled", 0, False)


def test_a_call_that_a_person_resolved_is_not_abandoned_or_voided_again(shim: Shim) -> None:
    shim.admitted(1)
    shim.abandon(1)
    shim.desk.resolve(call_id(1), 3)

    assert outcome(shim.void(1)) == ("settled", 3, True)
    assert outcome(shim.abandon(1)) == ("settled", 3, True)
    assert shim.desk.account().totals.token_cost_nanodollars == 3


# Kill and raise


def test_a_kill_refuses_the_next_call_and_tells_the_shims_that_have_the_run_open(shim: Shim) -> None:
    other = shim.desk.session(b"session2")
    other.open("other")

    assert shim.desk.kill("r", "nobody", "r") == Kills(("r",), ("nobody",), ())
    assert shim.desk.kill("r") == Kills((), (), ("r",))
    assert shim.refused(1) == "kill_switch"
    assert [type(push) for push in shim.link.pushes] == [RunStopped]
    assert other.link.pushes == []


def test_a_kill_with_now_reaches_calls_that_an_earlier_kill_left_in_flight(shim: Shim) -> None:
    shim.desk.kill("r")
    shim.desk.kill("r", now=True)

    assert [push.now for push in shim.link.pushes if isinstance(push, RunStopped)] == [False, True]


@pytest.mark.parametrize("run", ["", "x" * 600])
def test_a_name_that_no_run_can_have_is_an_unknown_run(desk: Desk, run: str) -> None:
    assert desk.kill(run) == Kills((), (run,), ())
    assert failure(desk.session().reserve(1, run)) is FailureCode.NOT_OPEN
    assert failure(desk.raise_limits(run, max_calls=1)) is FailureCode.UNKNOWN
    assert failure(desk.resolve(b"", None, run)) is FailureCode.UNKNOWN


def test_a_stop_and_a_warning_are_pushed_once_they_are_durable(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=1_000 * MICRODOLLAR, warn_at_ppm=500_000, max_calls=3)
    shim.admitted(1)
    shim.settle(1, tokens=600)
    shim.admitted(2)
    shim.settle(2, tokens=400)
    shim.refused(3)

    assert [type(push) for push in shim.link.pushes] == [RunWarned, RunWarned, RunStopped]


def test_a_raise_of_an_unknown_run_and_one_that_lifts_nothing_are_told_so(desk: Desk) -> None:
    assert failure(desk.raise_limits("nobody", max_calls=1)) is FailureCode.UNKNOWN
    shim = desk.session()
    shim.open(max_calls=1)
    shim.admitted(1)
    shim.settle(1)
    shim.refused(2)

    assert failure(desk.raise_limits(max_calls=1)) is FailureCode.CANNOT_RAISE
    assert failure(desk.raise_limits(warn_at_ppm=2_000_000)) is FailureCode.INVALID
    assert desk.raise_limits(max_calls=2).account.stop is None


def test_a_stop_stays_over_a_restart(desk: Desk) -> None:
    shim = desk.session()
    shim.open(max_calls=1)
    shim.admitted(1)
    shim.settle(1)
    shim.refused(2)
    desk.restart()
    shim.connect()

    assert shim.refused(3) == "max_calls"


# Opening


def test_a_looser_limit_is_refused_with_its_flag_and_what_loosens_it(shim: Shim) -> None:
    shim.open(max_calls=5)
    answer = shim.open(max_calls=6)

    assert failure(answer) is FailureCode.LIMIT_HIGHER
    assert "--max-calls" in answer.message
    assert "leashctl raise r" in answer.message


def test_a_price_table_that_the_ledger_does_not_have_is_asked_for(desk: Desk) -> None:
    shim = desk.session()

    assert failure(shim.open(prices=bytes(32))) is FailureCode.PRICES_UNKNOWN
    assert desk.ledger.account("r") is None


def test_the_table_of_the_reserve_prices_the_settle(desk: Desk) -> None:
    shim = priced(desk)
    shim.admitted(1)
    shim.open(prices=desk.prices(b'{"m": {"input": 1000, "output": 1000}}'))

    assert outcome(shim.settle(1, tokens=10)) == ("settled", 10 * MICRODOLLAR, False)
    shim.admitted(2)
    assert outcome(shim.settle(2, tokens=10)) == ("settled", 10_000 * MICRODOLLAR, False)


# A commit that fails


def test_a_failed_commit_is_as_if_it_had_never_been_asked(shim: Shim, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = shim.desk

    def full(_batch: Batch) -> None:
        raise LedgerUnavailableError("no room")

    before = desk.account()
    with monkeypatch.context() as patch:
        patch.setattr(desk.ledger, "commit", full)
        desk.ask_later(shim.asks(1))
        batch, _ = desk.engine.take()
        with pytest.raises(LedgerUnavailableError):
            desk.ledger.commit(batch)
        desk.engine.discard(batch, desk.now_ns)

    assert desk.engine.working.account("r") == before
    assert isinstance(shim.reserve(1), Admit)
    assert desk.account().open.calls == 1


def test_a_session_whose_end_could_not_be_committed_ends_later(shim: Shim) -> None:
    desk = shim.desk
    shim.admitted(1)
    shim.disconnect()
    desk.now_ns += GRACE_NS
    desk.engine.tick(desk.now_ns)
    batch, _ = desk.engine.take()
    desk.engine.discard(batch, desk.now_ns)
    assert desk.account().open.calls == 1

    desk.pass_time(GRACE_NS)
    assert (desk.account().open.calls, desk.account().unresolved.calls) == (0, 1)


def test_a_long_and_dear_run_is_written_down(desk: Desk) -> None:
    shim = desk.session()
    shim.open(compute_rate_nanodollars_per_hour=1_000 * DOLLAR)
    shim.admitted(1)
    desk.pass_time(1_000 * HOUR)
    shim.close()

    assert desk.account().compute_cost_nanodollars(desk.now_ns) == 1_000_000 * DOLLAR
