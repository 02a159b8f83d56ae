"""DESIGN 4.1 and 4.4: a shim session, its streams, its grace, and the daemon's restart; over a real ledger."""

from __future__ import annotations

from leash.usage import Usage
from leashd.core.account import Status
from leashd.core.reasons import Reason
from leashd.engine import GRACE_NS
from leashd.operations import FailureCode, RunStopped
from tests.unit.leashd.desk import MICRODOLLAR, Desk, Shim, call_id, failure, outcome, priced
from tests.unit.leashd.play import HOUR, SECOND


def test_open_calls_that_a_hello_does_not_list_were_never_forwarded_and_are_voided(shim: Shim) -> None:
    shim.admitted(1, 2, 3)
    shim.connect(call_id(2))

    account = shim.desk.account()
    assert (account.open.calls, account.unresolved.calls, account.totals.calls) == (1, 0, 0)
    assert outcome(shim.settle(1)) == ("voided", 0, True)
    assert outcome(shim.settle(2)) == ("settled", 0, False)


def test_an_unresolved_call_is_not_voided_by_a_hello(shim: Shim) -> None:
    shim.admitted(1)
    shim.abandon(1)
    shim.connect()

    assert shim.desk.account().unresolved.calls == 1


def test_a_second_stream_of_a_session_takes_it_over(shim: Shim) -> None:
    older, stale = shim.link, shim.asks(1)
    shim.connect()

    assert older.is_replaced
    assert shim.desk.ask(stale) is None
    assert shim.desk.account().open.calls == 0


def test_the_end_of_an_older_stream_does_not_end_the_session(shim: Shim) -> None:
    older = shim.link
    shim.connect()
    newer, shim.link = shim.link, older
    shim.disconnect()
    shim.link = newer
    shim.desk.pass_time(10 * GRACE_NS)

    assert shim.desk.account().openers


def test_within_the_grace_a_session_comes_back_to_its_calls(shim: Shim) -> None:
    shim.admitted(1)
    shim.disconnect()
    shim.desk.pass_time(GRACE_NS - 1)
    shim.connect(call_id(1))
    shim.desk.pass_time(HOUR)

    assert shim.desk.account().open.calls == 1
    assert shim.desk.account().openers


def test_past_the_grace_its_calls_are_unresolved_and_it_is_off_its_runs(shim: Shim) -> None:
    shim.admitted(1, 2)
    shim.disconnect()
    shim.desk.pass_time(GRACE_NS)

    account = shim.desk.account()
    assert (account.open.calls, account.unresolved.calls) == (0, 2)
    assert (account.status, account.reason) == (Status.FINISHED, "opener_lost")


def test_a_session_that_comes_back_too_late_settles_its_calls_all_the_same(desk: Desk) -> None:
    shim = priced(desk)
    shim.admitted(1)
    shim.disconnect()
    desk.pass_time(GRACE_NS)
    shim.connect(call_id(1))

    assert outcome(shim.settle(1, tokens=10)) == ("settled", 10 * MICRODOLLAR, False)
    assert desk.account().unresolved.calls == 0


def test_after_a_restart_calls_that_no_session_claims_within_the_grace_become_unresolved(shim: Shim) -> None:
    shim.admitted(1)
    shim.desk.restart(down_ns=HOUR)
    shim.desk.pass_time(GRACE_NS - 1)
    assert shim.desk.account().open.calls == 1

    shim.desk.pass_time(1)
    assert (shim.desk.account().open.calls, shim.desk.account().unresolved.calls) == (0, 1)


def test_after_a_restart_a_session_that_comes_back_within_the_grace_keeps_its_calls(shim: Shim) -> None:
    shim.admitted(1)
    shim.desk.restart()
    shim.connect(call_id(1))
    shim.desk.pass_time(HOUR)

    assert outcome(shim.settle(1)) == ("settled", 0, False)


def test_compute_of_a_session_that_died_with_the_daemon_ends_at_what_was_last_committed(desk: Desk) -> None:
    shim = desk.session()
    shim.open(compute_rate_nanodollars_per_hour=3_600)
    shim.admitted(1)
    desk.pass_time(5 * SECOND)
    desk.restart(down_ns=HOUR)
    desk.pass_time(GRACE_NS)

    assert desk.account().compute_cost_nanodollars(desk.now_ns) == 5


def test_a_reserve_that_is_repeated_after_its_call_was_abandoned_was_never_forwarded(shim: Shim) -> None:
    shim.admitted(1)
    shim.disconnect()
    shim.desk.pass_time(GRACE_NS)
    shim.connect(call_id(1))
    shim.open()

    assert failure(shim.reserve(1)) is FailureCode.UNAVAILABLE
    assert shim.desk.account().unresolved.calls == 0


def test_the_wrapped_process_is_known_while_its_shim_is_connected(desk: Desk) -> None:
    shim = desk.session()
    shim.open(pid=4711)
    assert desk.engine.pid(desk.account()) == 4711

    shim.disconnect()
    assert desk.engine.pid(desk.account()) == 0


def test_a_shim_that_comes_back_with_more_that_the_wire_had_reported_is_heard(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=10_000 * MICRODOLLAR)
    shim.admitted(1)
    shim.disconnect()
    desk.pass_time(GRACE_NS)
    shim.connect(call_id(1))
    shim.abandon(1, known=Usage(input_tokens=700))

    account = desk.account()
    assert (account.unresolved.calls, account.unresolved.nanodollars) == (1, 700 * MICRODOLLAR)


def test_calls_of_a_run_that_is_closed_stay_open_until_they_are_closed(shim: Shim) -> None:
    shim.admitted(1)
    shim.close()
    shim.desk.pass_time(HOUR)
    account = shim.desk.account()
    assert (account.open.calls, account.unresolved.calls, account.status) == (1, 0, Status.RUNNING)

    assert outcome(shim.settle(1)) == ("settled", 0, False)
    assert shim.desk.account().status is Status.FINISHED


def test_calls_of_a_run_that_is_closed_are_unresolved_past_the_grace_of_their_session(shim: Shim) -> None:
    shim.admitted(1)
    shim.close()
    shim.disconnect()
    shim.desk.pass_time(GRACE_NS)

    account = shim.desk.account()
    assert (account.open.calls, account.unresolved.calls) == (0, 1)


def test_a_kill_with_now_reaches_a_session_that_was_away_when_it_opens_the_run_again(shim: Shim) -> None:
    shim.admitted(1)
    shim.disconnect()
    shim.desk.kill("r", now=True)
    shim.connect(call_id(1))
    shim.open()

    assert shim.link.pushes == [RunStopped("r", Reason.KILL_SWITCH, now=True)]


def test_a_kill_without_now_aborts_nothing_of_a_session_that_comes_back(shim: Shim) -> None:
    shim.admitted(1)
    shim.disconnect()
    shim.desk.kill("r")
    shim.connect(call_id(1))
    shim.open()

    assert shim.link.pushes == []
