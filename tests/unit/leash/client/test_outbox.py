"""What goes out, in which order, and what an answer makes of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from leash.client.errors import DaemonUnavailable, SessionFailure
from leash.client.outbox import BATCH_BYTES, OPERATION_BYTES, Outbox
from leash.v1 import shim_pb2, types_pb2

ADMITTED = {"admitted": shim_pb2.Admitted(held_nanodollars=1)}
CLOSED = {"closed": shim_pb2.Closed(outcome="settled")}
ACCOUNT = {"account": types_pb2.Account(run="r")}


def failure(code: shim_pb2.FailureCode.ValueType) -> dict[str, shim_pb2.Failure]:
    return {"failure": shim_pb2.Failure(code=code, message="declined")}


class Wire:
    """The other end: answers what the outbox sends."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.outcomes: list[Any] = []

    def reserve(self, number: int, run: str = "r") -> bytes:
        call_id = number.to_bytes(16, "big")
        self.outbox.reserve(shim_pb2.Reserve(call_id=call_id, run=run), self.outcomes.append, float(number))
        return call_id

    def open_call(self, number: int) -> bytes:
        call_id = self.reserve(number)
        self.answer(ADMITTED)
        return call_id

    def open_run(self, run: str = "r", **fields: Any) -> None:
        self.outbox.open_run(shim_pb2.OpenRun(run=run, **fields), self.outcomes.append, 0)
        self.answer(ACCOUNT)

    def sent(self) -> list[shim_pb2.Operation]:
        batch = self.outbox.next_batch(0)
        return list(batch.operations) if batch is not None else []

    def kinds(self) -> list[str]:
        return [str(operation.WhichOneof("kind")) for operation in self.sent()]

    def answer(self, *answers: dict[str, Any]) -> list[str]:
        operations = self.sent()
        for operation, answer in zip(operations, answers, strict=True):
            self.outbox.take(shim_pb2.Answer(op_id=operation.op_id, **answer), 0)
        return [str(operation.WhichOneof("kind")) for operation in operations]


@pytest.fixture
def wire() -> Wire:
    return Wire(Outbox())


def held(wire: Wire) -> list[bytes]:
    return list(wire.outbox.hello(b"s" * 16, "1").hello.held_calls)


def settle(call_id: bytes) -> shim_pb2.Settle:
    return shim_pb2.Settle(call_id=call_id, run="r")


def test_a_call_is_held_from_its_reserve_to_the_answer_of_its_closing(wire: Wire) -> None:
    call_id = wire.reserve(1)
    assert held(wire) == [call_id]
    wire.answer(ADMITTED)
    wire.outbox.settle(settle(call_id), 0)
    assert held(wire) == [call_id]
    wire.answer(CLOSED)
    assert held(wire) == []
    assert wire.outbox.closing == 0


def test_the_first_outcome_wins(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    call_id = wire.open_call(1)
    wire.outbox.settle(settle(call_id), 0)
    wire.outbox.abandon(shim_pb2.Abandon(call_id=call_id, run="r"), 0)
    assert wire.answer(CLOSED) == ["settle"]
    wire.outbox.void(shim_pb2.Void(call_id=call_id, run="r"), 0)
    wire.outbox.cancel(call_id, 0)
    assert wire.kinds() == []
    assert "its abandon is not sent" in caplog.text
    assert "its void is not sent" in caplog.text


def test_a_call_is_reserved_once_and_closed_only_when_admitted(wire: Wire) -> None:
    call_id = wire.reserve(1)
    with pytest.raises(ValueError, match="reserved already"):
        wire.reserve(1)
    with pytest.raises(ValueError, match="not admitted yet"):
        wire.outbox.settle(settle(call_id), 0)


def test_acknowledgements_ride_with_what_goes_out_anyway(wire: Wire) -> None:
    calls = [wire.open_call(number) for number in (1, 2)]
    for call_id in calls:
        wire.outbox.settle(settle(call_id), 0)
    assert wire.answer(CLOSED, CLOSED) == ["settle", "settle"]
    assert wire.sent() == []
    wire.reserve(3)
    reserve, acknowledge = wire.sent()
    assert reserve.HasField("reserve")
    assert list(acknowledge.acknowledge.call_ids) == calls


def test_acknowledgements_are_flushed_on_request_and_kept_until_they_are_answered(wire: Wire) -> None:
    call_id = wire.open_call(1)
    wire.outbox.settle(settle(call_id), 0)
    wire.answer(CLOSED)
    for again in (True, True, False):
        batch = wire.outbox.next_batch(0, flush=True)
        assert batch is not None
        [operation] = batch.operations
        assert list(operation.acknowledge.call_ids) == [call_id]
        if again:
            wire.outbox.relink(0)
        else:
            wire.outbox.take(shim_pb2.Answer(op_id=operation.op_id, **failure(shim_pb2.FAILURE_CODE_BUSY)), 0)
    wire.reserve(2)
    assert wire.kinds() == ["reserve", "acknowledge"]


def test_a_new_stream_gets_runs_first_and_then_what_is_unanswered_in_order(wire: Wire) -> None:
    wire.open_run()
    call_id = wire.open_call(1)
    wire.outbox.settle(settle(call_id), 0)
    wire.reserve(2)
    before = [operation.op_id for operation in wire.sent()]
    wire.reserve(3)
    wire.outbox.relink(0)
    wire.outbox.relink(0)
    again = wire.sent()
    assert [operation.WhichOneof("kind") for operation in again] == ["open_run", "settle", "reserve", "reserve"]
    # An answer of the stream before is no answer to these.
    assert not set(before) & {operation.op_id for operation in again}


def test_a_run_is_opened_again_with_what_it_declared_as_defaults(wire: Wire) -> None:
    wire.open_run(limits=types_pb2.Limits(max_calls=3), defaults=types_pb2.Limits(max_calls=9, deadline_ns=1))
    wire.outbox.relink(0)
    [operation] = wire.sent()
    assert not operation.open_run.HasField("limits")
    assert operation.open_run.defaults == types_pb2.Limits(max_calls=3, deadline_ns=1)


def test_a_closed_run_is_not_opened_again(wire: Wire) -> None:
    wire.open_run()
    wire.outbox.close_run(shim_pb2.CloseRun(run="r"), wire.outcomes.append, 0)
    wire.outbox.relink(0)
    assert wire.answer(ACCOUNT, ACCOUNT) == ["open_run", "close_run"]
    wire.outbox.relink(0)
    assert wire.sent() == []


def test_a_run_that_the_daemon_has_lost_is_opened_again_once(wire: Wire) -> None:
    wire.open_run()
    wire.reserve(1)
    wire.reserve(2)
    not_open = failure(shim_pb2.FAILURE_CODE_NOT_OPEN)
    wire.answer(not_open, not_open)
    assert [type(outcome) for outcome in wire.outcomes[1:]] == [DaemonUnavailable, DaemonUnavailable]
    # Each reserve is taken back, too: an earlier sending of it may have been admitted.
    assert sorted(wire.kinds()) == ["cancel", "cancel", "open_run"]


def test_a_settle_of_a_run_that_the_daemon_has_lost_waits_for_its_opening(wire: Wire) -> None:
    wire.open_run()
    call_id = wire.open_call(1)
    wire.outbox.settle(settle(call_id), 0)
    wire.answer(failure(shim_pb2.FAILURE_CODE_NOT_OPEN))
    assert wire.outbox.deferred == 1
    assert wire.answer(ACCOUNT) == ["open_run"]
    wire.outbox.resume()
    assert wire.answer(CLOSED) == ["settle"]
    assert held(wire) == []


def test_a_cancel_before_the_write_leaves_nothing(wire: Wire) -> None:
    wire.outbox.cancel(wire.reserve(1), 0)
    assert wire.sent() == []
    assert held(wire) == []


def test_a_cancel_of_a_sent_reserve_ignores_its_answer_and_outlives_the_stream(wire: Wire) -> None:
    call_id = wire.reserve(1)
    [sent] = wire.sent()
    wire.outbox.cancel(call_id, 0)
    wire.outbox.take(shim_pb2.Answer(op_id=sent.op_id, **ADMITTED), 0)
    assert wire.outcomes == []
    assert held(wire) == [call_id]
    wire.outbox.relink(0)
    assert wire.answer(failure(shim_pb2.FAILURE_CODE_UNKNOWN)) == ["cancel"]
    assert held(wire) == []


def test_an_admitted_call_can_be_taken_back(wire: Wire) -> None:
    call_id = wire.open_call(1)
    wire.outbox.cancel(call_id, 0)
    assert wire.answer({"closed": shim_pb2.Closed(outcome="voided")}) == ["cancel"]
    assert held(wire) == []


def test_operations_without_a_connection_expire_and_take_no_effect(wire: Wire) -> None:
    early = wire.reserve(1)
    wire.sent()
    late = wire.reserve(7)
    wire.outbox.open_run(shim_pb2.OpenRun(run="r"), wire.outcomes.append, 3.0)
    wire.outbox.expire(7.9, down_since_s=3.0, bound_s=5.0, message="gone")
    assert wire.outcomes == []
    wire.outbox.expire(8.0, down_since_s=3.0, bound_s=5.0, message="gone")
    assert [type(outcome) for outcome in wire.outcomes] == [DaemonUnavailable] * 2
    wire.outbox.expire(12.0, down_since_s=3.0, bound_s=5.0, message="gone")
    assert len(wire.outcomes) == 3
    # The first one may be known to the daemon; the others never left.
    assert held(wire) == [early]
    assert late not in held(wire)
    assert wire.kinds() == ["cancel"]


def test_an_opening_that_nobody_waits_for_is_undone(wire: Wire) -> None:
    never_sent = wire.outbox.open_run(shim_pb2.OpenRun(run="r"), wire.outcomes.append, 0)
    wire.outbox.forget(never_sent, 0)
    assert wire.sent() == []
    pending = wire.outbox.open_run(shim_pb2.OpenRun(run="r"), wire.outcomes.append, 0)
    wire.sent()
    wire.outbox.forget(pending, 0)
    [operation] = wire.sent()
    # It may have been in the middle of an episode, which an opening that came to nothing must not end.
    assert operation.close_run == shim_pb2.CloseRun(run="r", unfinished=True)


def test_a_second_opening_that_nobody_waits_for_leaves_the_run_open(wire: Wire) -> None:
    wire.open_run()
    pending = wire.outbox.open_run(shim_pb2.OpenRun(run="r"), wire.outcomes.append, 0)
    wire.sent()
    wire.outbox.forget(pending, 0)
    assert wire.sent() == []


def test_calls_are_bounded() -> None:
    wire = Wire(Outbox(call_limit=2))
    first = wire.open_call(1)
    wire.reserve(2)
    with pytest.raises(DaemonUnavailable, match="2 calls open"):
        wire.reserve(3)
    # An outcome is always taken: it makes room.
    wire.outbox.settle(settle(first), 0)
    wire.answer(ADMITTED, CLOSED)
    wire.reserve(3)


def test_questions_are_bounded() -> None:
    wire = Wire(Outbox(call_limit=1))
    for _ in range(2):
        wire.outbox.open_run(shim_pb2.OpenRun(run="r"), wire.outcomes.append, 0)
    with pytest.raises(DaemonUnavailable, match="too many"):
        wire.outbox.close_run(shim_pb2.CloseRun(run="r"), wire.outcomes.append, 0)


def test_a_large_backlog_goes_out_in_messages_of_bounded_size(wire: Wire) -> None:
    for number in range(300):
        reserve = shim_pb2.Reserve(call_id=number.to_bytes(16, "big"), run="r", model="m" * 8_000)
        wire.outbox.reserve(reserve, wire.outcomes.append, 0)
    sizes = []
    while (batch := wire.outbox.next_batch(0)) is not None:
        sizes.append(batch.ByteSize())
    assert len(sizes) == 3
    assert max(sizes) < BATCH_BYTES + OPERATION_BYTES


def test_an_operation_that_would_break_the_stream_never_gets_there(wire: Wire) -> None:
    long = "m" * (OPERATION_BYTES + 1)
    with pytest.raises(SessionFailure, match="longer than"):
        wire.outbox.reserve(shim_pb2.Reserve(call_id=b"c" * 16, model=long), wire.outcomes.append, 0)
    assert held(wire) == []
    call_id = wire.open_call(1)
    usage = types_pb2.Usage(input_tokens=5, service_tier=long)
    wire.outbox.settle(shim_pb2.Settle(call_id=call_id, run="r", model=long, usage=usage), 0)
    [operation] = wire.sent()
    assert operation.settle.model == ""
    assert operation.settle.usage == types_pb2.Usage(input_tokens=5)


def test_declined_outcomes_wait_and_count_how_often(wire: Wire) -> None:
    call_id = wire.open_call(1)
    wire.outbox.settle(settle(call_id), 0)
    for attempts in (1, 2, 3):
        wire.answer(failure(shim_pb2.FAILURE_CODE_UNAVAILABLE))
        assert (wire.outbox.deferred, wire.outbox.deferred_attempts) == (1, attempts)
        assert wire.sent() == []
        wire.outbox.resume()
    # A new stream takes what waits along.
    wire.answer(failure(shim_pb2.FAILURE_CODE_BUSY))
    wire.outbox.relink(0)
    assert wire.answer(CLOSED) == ["settle"]
    assert (wire.outbox.closing, wire.outbox.deferred) == (0, 0)


def test_everybody_who_waits_is_told_when_no_answer_will_come(wire: Wire) -> None:
    admitted = wire.open_call(1)
    waiting = wire.reserve(2)
    wire.sent()
    wire.outbox.fail_waiting("the end", 0)
    assert str(wire.outcomes[-1]) == "the end"
    assert held(wire) == [admitted, waiting]
    assert wire.kinds() == ["cancel"]


def test_the_end_of_a_call_is_told_once_with_its_kind_and_time(wire: Wire) -> None:
    told: list[tuple[bytes, str, str, float]] = []
    wire.outbox.on_closed = lambda call_id, closed, kind, seconds: told.append((call_id, closed.outcome, kind, seconds))
    call_id = wire.open_call(1)
    wire.outbox.settle(settle(call_id), 3.0)
    [operation] = wire.sent()
    wire.outbox.take(shim_pb2.Answer(op_id=operation.op_id, **CLOSED), 3.5)
    wire.outbox.take(shim_pb2.Answer(op_id=operation.op_id, **CLOSED), 4.0)

    assert told == [(call_id, "settled", "settle", 0.5)]


def test_the_end_of_a_call_that_the_daemon_could_not_take_at_first_is_told_with_the_whole_time(wire: Wire) -> None:
    told: list[float] = []
    wire.outbox.on_closed = lambda _call_id, _closed, _kind, seconds: told.append(seconds)
    call_id = wire.open_call(1)
    wire.outbox.settle(settle(call_id), 3.0)
    wire.answer(failure(shim_pb2.FAILURE_CODE_UNAVAILABLE))
    assert told == []
    wire.outbox.resume()
    [operation] = wire.sent()
    wire.outbox.take(shim_pb2.Answer(op_id=operation.op_id, **CLOSED), 10.0)

    assert told == [7.0]


def test_the_end_of_a_call_is_told_once_whatever_became_of_it(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[bytes, str, str]] = []

    def tell(call_id: bytes, closed: shim_pb2.Closed, kind: str, _seconds: float) -> None:
        assert call_id not in held(wire), "it is over when it is told"
        told.append((call_id, closed.outcome, kind))

    wire.outbox.on_closed = tell
    unknown, declined, cancelled, not_known = (wire.open_call(number) for number in (1, 2, 3, 4))
    wire.outbox.settle(settle(unknown), 0)
    wire.outbox.settle(settle(declined), 0)
    wire.outbox.void(shim_pb2.Void(call_id=not_known, run="r"), 0)
    wire.reserve(5)
    unknown_to_it, invalid = failure(shim_pb2.FAILURE_CODE_UNKNOWN), failure(shim_pb2.FAILURE_CODE_INVALID)
    wire.answer(unknown_to_it, invalid, unknown_to_it, invalid)
    wire.outbox.cancel(cancelled, 0)
    closed = [{"closed": shim_pb2.Closed(outcome=outcome)} for outcome in ("unresolved", "voided")]
    assert wire.answer(*closed) == ["abandon", "cancel"]

    assert told == [
        (unknown, "", "settle"),
        (not_known, "", "void"),
        (declined, "unresolved", "abandon"),
        (cancelled, "voided", "cancel"),
    ]
    assert caplog.text.count("was declined") == 3


def test_the_end_of_a_call_whose_answer_was_lost_is_told_with_the_repeat(wire: Wire) -> None:
    told: list[str] = []
    wire.outbox.on_closed = lambda _call_id, _closed, kind, _seconds: told.append(kind)
    call_id = wire.open_call(1)
    wire.outbox.settle(settle(call_id), 0)
    wire.sent()
    wire.outbox.relink(0)
    wire.answer({"closed": shim_pb2.Closed(outcome="settled", repeated=True)})

    assert told == ["settle"]


def test_a_probe_is_answered_and_not_sent_again(wire: Wire) -> None:
    probed = shim_pb2.Probed(open_runs=3)
    wire.outbox.probe(wire.outcomes.append, 0)
    assert wire.answer({"probed": probed}) == ["probe"]
    assert wire.outcomes == [probed]

    wire.outbox.probe(wire.outcomes.append, 0)
    assert wire.kinds() == ["probe"]
    wire.outbox.relink(0)
    assert wire.sent() == []
    assert isinstance(wire.outcomes[1], DaemonUnavailable)


def test_a_probe_that_was_not_sent_yet_goes_out_over_the_next_stream(wire: Wire) -> None:
    wire.outbox.probe(wire.outcomes.append, 0)
    wire.outbox.relink(0)
    assert wire.outcomes == []

    probed = shim_pb2.Probed(open_runs=3)
    assert wire.answer({"probed": probed}) == ["probe"]
    assert wire.outcomes == [probed]


def test_a_probe_that_a_daemon_does_not_know_fails(wire: Wire) -> None:
    wire.outbox.probe(wire.outcomes.append, 0)
    wire.answer({"done": shim_pb2.Done()})

    assert "update it" in str(wire.outcomes[0])


def test_a_run_whose_opening_again_was_put_off_is_opened_again_once(wire: Wire) -> None:
    wire.open_run()
    wire.outbox.relink(0)
    wire.answer(failure(shim_pb2.FAILURE_CODE_BUSY))
    wire.reserve(1)
    wire.answer(failure(shim_pb2.FAILURE_CODE_NOT_OPEN))
    assert wire.kinds() == ["cancel"]
    wire.outbox.resume()
    assert wire.answer(ACCOUNT) == ["open_run"]
    wire.reserve(2)
    wire.answer(failure(shim_pb2.FAILURE_CODE_NOT_OPEN))
    assert sorted(wire.kinds()) == ["cancel", "open_run"]


def test_thousands_of_runs_are_opened_again_in_no_time(wire: Wire) -> None:
    runs = [f"run-{number}" for number in range(5_000)]
    for run in runs:
        wire.outbox.open_run(shim_pb2.OpenRun(run=run), wire.outcomes.append, 0)
    wire.answer(*(ACCOUNT for _ in runs))
    began_s = time.perf_counter()
    wire.outbox.relink(0)
    wire.outbox.relink(0)

    assert [operation.open_run.run for operation in wire.sent()] == runs
    assert time.perf_counter() - began_s < 1.0, "it would be tens of seconds if each were looked for among all"


def test_a_probe_that_the_daemon_cannot_carry_out_fails(wire: Wire) -> None:
    wire.outbox.probe(wire.outcomes.append, 0)
    wire.answer(failure(shim_pb2.FAILURE_CODE_UNAVAILABLE))

    assert [str(outcome) for outcome in wire.outcomes] == ["declined"]


def test_a_probe_that_nobody_waits_for_is_dropped(wire: Wire) -> None:
    wire.outbox.forget(wire.outbox.probe(wire.outcomes.append, 0), 0)

    assert wire.sent() == []
