"""DESIGN 4.1 and 4.4: a shim session, its streams, its grace, and the daemon's restart; over a real ledger."""

from __future__ import annotations

import pytest

from leash.usage import Usage
from leashd import engine
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


def test_what_a_session_leaves_is_abandoned_and_closed_once(shim: Shim) -> None:
    shim.admitted(1)
    shim.disconnect()
    shim.desk.pass_time(GRACE_NS)
    shim.desk.pass_time(GRACE_NS)

    assert shim.desk.kinds() == ["Opened", "Reserved", "Abandoned", "Closed"]


def test_a_hello_that_is_decided_together_with_a_reserve_before_it_leaves_the_call_that_it_lists(shim: Shim) -> None:
    shim.desk.ask_later(shim.asks(1))
    shim.desk.ask_later(shim.asks(2))
    shim.connect(call_id(2))

    assert [key.call for key, _ in shim.desk.ledger.open_calls()] == [call_id(2)]
    assert outcome(shim.settle(1)) == ("voided", 0, True)


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


# A session that has much to leave


@pytest.fixture
def few_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ENDED_IN_A_BATCH", 3)


def much_open(desk: Desk, *names: bytes) -> list[Shim]:
    """Sessions that have four runs and two calls open each."""
    shims = [desk.session(name) for name in names]
    for shim in shims:
        for run in "abcd":
            shim.open(run)
        shim.admitted(1, run="a")
        shim.admitted(2, run="d")
    return shims


def left(desk: Desk) -> tuple[int, int]:
    """How many openers and open calls there are."""
    return len(list(desk.ledger.openers())), len(list(desk.ledger.open_calls()))


def test_sessions_that_leave_much_end_over_several_batches(desk: Desk, few_in_a_batch: None) -> None:
    for shim in much_open(desk, b"session1", b"session2"):
        shim.disconnect()
    desk.pass_time(GRACE_NS)
    steps = [left(desk)]
    while (next_ns := desk.engine.next_tick_ns()) is not None:
        assert next_ns <= desk.now_ns, "it goes on at once"
        desk.commit()
        steps.append(left(desk))

    assert steps == [(7, 2), (4, 2), (3, 0), (0, 0), (0, 0)]
    accounts = [desk.account(run) for run in "abcd"]
    assert [account.unresolved.calls for account in accounts] == [2, 0, 0, 2]
    assert {account.reason for account in accounts} == {"opener_lost"}


def test_a_session_that_comes_back_while_it_is_ended_keeps_what_is_left(desk: Desk, few_in_a_batch: None) -> None:
    [shim] = much_open(desk, b"session1")
    shim.disconnect()
    desk.pass_time(GRACE_NS)
    assert left(desk) == (3, 0)
    shim.connect(call_id(1), call_id(2))
    desk.pass_time(HOUR)

    assert left(desk) == (3, 0)
    assert outcome(shim.settle(1, "a")) == ("settled", 0, False)
    assert failure(shim.reserve(3, "a")) is FailureCode.NOT_OPEN
    shim.admitted(4, run="b")


def test_a_restart_in_the_middle_of_an_end_goes_on_with_it_after_another_grace(
    desk: Desk, few_in_a_batch: None
) -> None:
    [shim] = much_open(desk, b"session1")
    shim.disconnect()
    desk.pass_time(GRACE_NS)
    desk.restart()
    desk.pass_time(GRACE_NS - 1)
    assert left(desk) == (3, 0)
    desk.pass_time(1)

    assert left(desk) == (0, 0)


def test_an_end_that_cannot_be_written_is_tried_again_after_another_grace_and_costs_no_compute(desk: Desk) -> None:
    shim = desk.session()
    shim.open(compute_rate_nanodollars_per_hour=3_600)
    shim.admitted(1)
    desk.pass_time(5 * SECOND)
    shim.disconnect()
    desk.now_ns += GRACE_NS
    for _ in range(3):
        desk.engine.tick(desk.now_ns)
        batch, _ = desk.engine.take()
        assert batch.accounts
        desk.engine.discard(batch, desk.now_ns)
        assert desk.engine.next_tick_ns() == desk.now_ns + GRACE_NS
        desk.now_ns += GRACE_NS
    desk.commit()

    assert left(desk) == (0, 0)
    assert desk.account().compute_cost_nanodollars(desk.now_ns) == 5


def test_the_processes_of_closed_runs_and_of_runs_without_one_are_forgotten(desk: Desk) -> None:
    shim = desk.session()
    for run, pid in (("a", 4711), ("b", 0), ("c", 4712)):
        shim.open(run, pid=pid)
    shim.close("a")
    shim.open("c", pid=0)

    session = desk.engine._sessions._sessions[shim.name]
    assert session.pids == {}
