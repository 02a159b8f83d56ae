"""What a shim session has asked and has had no answer to, and which calls it holds; pure, without a clock or a stream.

Rules that it keeps: a call has one outcome, and the first one said wins. An operation stays until it is answered, and
goes out again, in its order, on every new stream. A call is listed in the hello from its reserve until its closing is
answered, since the daemon voids what a hello does not list.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from leash.client.errors import ClientError, DaemonUnavailable, SessionFailure
from leash.protocol import NEWEST_PROTOCOL, OLDEST_PROTOCOL
from leash.v1 import shim_pb2, types_pb2

# What an operation came to, for whoever waits for it.
Outcome: TypeAlias = shim_pb2.Admitted | shim_pb2.Refused | shim_pb2.Probed | types_pb2.Account | ClientError
Reply: TypeAlias = Callable[[Outcome], None]
Kind: TypeAlias = Literal[
    "open_run", "reopen", "close_run", "reserve", "settle", "void", "abandon", "cancel", "acknowledge", "probe"
]

# Far more calls than one shim can have open (each holds two sockets), and about 20 MB of memory.
CALL_LIMIT = 65_536
# A message has to stay under gRPC's default of 4 MiB, whatever the other side has configured.
BATCH_BYTES = 1024 * 1024
# One poisoned operation would break the stream again on every resend. The largest honest one is a reserve with a long
# model name, or a run with all its limits: below 1 KiB.
OPERATION_BYTES = 16 * 1024

_RETRIED = frozenset((shim_pb2.FAILURE_CODE_UNAVAILABLE, shim_pb2.FAILURE_CODE_BUSY))

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Pending:
    """One operation without an answer."""

    kind: Kind
    operation: shim_pb2.Operation
    size_bytes: int
    queued_at_s: float
    reply: Reply | None = None
    attempts: int = 0
    # On any stream, this one or an earlier one: the daemon may know of it.
    was_sent: bool = False


@dataclass(slots=True)
class _Call:
    """A call from its reserve to the answer of its closing."""

    run: str
    reserve: Pending | None
    closing: bool = False


class Outbox:
    """The operations and calls of one session.

    ``on_closed`` is called once for each call that the daemon has confirmed the end of: with its id, its answer (an
    empty one where it knows of no such call), the kind of operation, and the seconds since that was first queued.
    """

    def __init__(self, *, call_limit: int = CALL_LIMIT) -> None:
        self.on_closed: Callable[[bytes, shim_pb2.Closed, str, float], None] = _ignore_closed
        self._call_limit = call_limit
        self._op_ids = itertools.count(1)
        self._calls: dict[bytes, _Call] = {}
        self._runs: dict[str, shim_pb2.OpenRun] = {}
        self._reopening: set[str] = set()  # runs whose opening again is queued, or not answered
        self._unanswered: dict[int, Pending] = {}
        self._unsent: dict[int, Pending] = {}
        self._deferred: list[Pending] = []
        self._closed: list[bytes] = []
        self._closing = 0

    @property
    def closing(self) -> int:
        """How many calls have an outcome that the daemon has not confirmed."""
        return self._closing

    @property
    def unsent(self) -> int:
        """How many operations wait to be written."""
        return len(self._unsent)

    @property
    def awaited(self) -> int:
        """How many operations were sent and not answered."""
        return len(self._unanswered) - len(self._unsent)

    @property
    def deferred(self) -> int:
        """How many operations the daemon could not take and wait for :meth:`resume`."""
        return len(self._deferred)

    @property
    def deferred_attempts(self) -> int:
        """How often the daemon has declined the most patient of them."""
        return max((pending.attempts for pending in self._deferred), default=0)

    def hello(self, session_id: bytes, client_version: str) -> shim_pb2.Operation:
        """Make the first operation of a stream, which lists the calls that this session holds."""
        hello = shim_pb2.Hello(
            session_id=session_id,
            held_calls=self._calls,
            client_version=client_version,
            protocol=NEWEST_PROTOCOL,
            oldest_protocol=OLDEST_PROTOCOL,
        )
        return shim_pb2.Operation(op_id=next(self._op_ids), hello=hello)

    def relink(self, now_s: float) -> None:
        """Queue for a new stream: the runs again, then everything unanswered in its order."""
        unanswered = [*self._unanswered.values(), *self._deferred]
        self._unanswered.clear()
        self._unsent.clear()
        self._deferred.clear()
        self._reopening.clear()
        for run in self._runs.values():
            self._reopen(run, now_s)
        for pending in unanswered:
            if pending.kind == "acknowledge":
                self._closed += pending.operation.acknowledge.call_ids
            elif pending.kind == "probe" and pending.was_sent:
                # Whoever waits wants to know how it is now, and that it was not answered says it.
                assert pending.reply is not None, "a probe has somebody waiting"
                pending.reply(DaemonUnavailable("the link to leashd was lost"))
            elif pending.kind != "reopen":
                self._queue_again(pending)

    def open_run(self, message: shim_pb2.OpenRun, reply: Reply, now_s: float) -> Pending:
        """Queue the opening of a run; what it returns is for :meth:`forget`."""
        return self._ask("open_run", shim_pb2.Operation(open_run=message), reply, now_s)

    def close_run(self, message: shim_pb2.CloseRun, reply: Reply, now_s: float) -> Pending:
        """Queue the closing of a run; what it returns is for :meth:`forget`."""
        return self._ask("close_run", shim_pb2.Operation(close_run=message), reply, now_s)

    def probe(self, reply: Reply, now_s: float) -> Pending:
        """Queue a probe; what it returns is for :meth:`forget`."""
        return self._ask("probe", shim_pb2.Operation(probe=shim_pb2.Probe()), reply, now_s)

    def forget(self, pending: Pending, now_s: float) -> None:
        """Drop a probe, or the opening or closing of a run, for which nobody waits any more."""
        if not self._drop(pending) or pending.kind != "open_run" or not pending.was_sent:
            return
        run = pending.operation.open_run.run
        if run not in self._runs:
            # The daemon may have it open for this session, where it would cost compute time. It was not used here, so
            # whatever it was in the middle of goes on.
            message = shim_pb2.CloseRun(run=run, unfinished=True)
            self._queue("close_run", shim_pb2.Operation(close_run=message), None, now_s)

    def reserve(self, message: shim_pb2.Reserve, reply: Reply, now_s: float) -> None:
        """Queue the reserve of a call that this session does not hold yet."""
        if message.call_id in self._calls:
            raise ValueError(f"call {message.call_id.hex()} is reserved already")
        if len(self._calls) >= self._call_limit:
            raise DaemonUnavailable(f"this shim has {self._call_limit} calls open, which is its bound")
        pending = self._ask("reserve", shim_pb2.Operation(reserve=message), reply, now_s)
        self._calls[message.call_id] = _Call(message.run, pending)

    def cancel(self, call_id: bytes, now_s: float) -> None:
        """Take back a reserve, answered or not, whose call is not going to be forwarded."""
        call = self._calls.get(call_id)
        if call is None or call.closing:
            return
        if call.reserve is not None and not call.reserve.was_sent:
            self._drop(call.reserve)
            del self._calls[call_id]
            return
        self._close(call, shim_pb2.Operation(cancel=shim_pb2.Cancel(call_id=call_id, run=call.run)), "cancel", now_s)

    def settle(self, message: shim_pb2.Settle, now_s: float) -> None:
        """Queue the outcome of an answered call."""
        if message.ByteSize() > OPERATION_BYTES:
            # No model and no tier has such a name; the call is priced by those of its request.
            message.ClearField("model")
            message.usage.ClearField("service_tier")
        self._conclude(message.call_id, shim_pb2.Operation(settle=message), "settle", now_s)

    def void(self, message: shim_pb2.Void, now_s: float) -> None:
        """Queue the outcome of a call that never reached the provider."""
        self._conclude(message.call_id, shim_pb2.Operation(void=message), "void", now_s)

    def abandon(self, message: shim_pb2.Abandon, now_s: float) -> None:
        """Queue the outcome of a call of which the provider's side is unknown."""
        if message.ByteSize() > OPERATION_BYTES:
            message.known.ClearField("service_tier")
        self._conclude(message.call_id, shim_pb2.Operation(abandon=message), "abandon", now_s)

    def ask_for_a_sign(self, now_s: float) -> None:
        """Queue an empty acknowledgement, which any daemon that works answers at once."""
        self._queue("acknowledge", shim_pb2.Operation(acknowledge=shim_pb2.Acknowledge()), None, now_s)

    def resume(self) -> None:
        """Queue the operations again that the daemon could not take."""
        deferred, self._deferred = self._deferred, []
        for pending in deferred:
            self._queue_again(pending)

    def expire(self, now_s: float, *, down_since_s: float, bound_s: float, message: str) -> None:
        """Fail whoever has waited for a connection as long as the bound; none of it takes effect."""
        for pending in list(self._unanswered.values()):
            if now_s - max(pending.queued_at_s, down_since_s) >= bound_s:
                self._give_up(pending, message, now_s)

    def fail_waiting(self, message: str, now_s: float) -> None:
        """Fail everybody who waits; none of it takes effect."""
        for pending in list(self._unanswered.values()):
            self._give_up(pending, message, now_s)

    def next_batch(self, now_s: float, *, flush: bool = False) -> shim_pb2.SessionRequest | None:
        """Take what is to be written next, or None; ``flush`` sends acknowledgements that have nothing to ride with."""
        operations = self._take_unsent()
        if self._closed and (operations or flush):
            acknowledge = shim_pb2.Acknowledge(call_ids=self._closed)
            self._closed = []
            self._queue("acknowledge", shim_pb2.Operation(acknowledge=acknowledge), None, now_s)
            operations += self._take_unsent()
        return shim_pb2.SessionRequest(operations=operations) if operations else None

    def take(self, answer: shim_pb2.Answer, now_s: float) -> None:
        """Act on the daemon's answer to one operation."""
        pending = self._unanswered.pop(answer.op_id, None)
        if pending is None:
            return  # it was taken back while its answer was on the way
        match pending.kind:
            case "reserve":
                self._take_reserve(pending, answer, now_s)
            case "settle" | "void" | "abandon" | "cancel":
                self._take_closing(pending, answer, now_s)
            case "acknowledge":
                if answer.failure.code in _RETRIED:
                    self._closed += pending.operation.acknowledge.call_ids
            case "open_run" | "reopen" | "close_run":
                self._take_run(pending, answer)
            case "probe":
                assert pending.reply is not None, "a probe has somebody waiting"
                failure = DaemonUnavailable(answer.failure.message or "this leashd answers no probe: update it")
                pending.reply(answer.probed if answer.HasField("probed") else failure)

    def _take_reserve(self, pending: Pending, answer: shim_pb2.Answer, now_s: float) -> None:
        call_id = pending.operation.reserve.call_id
        run = self._calls[call_id].run
        code = answer.failure.code
        outcome: Outcome
        if answer.HasField("admitted"):
            self._calls[call_id].reserve = None
            outcome = answer.admitted
        elif answer.HasField("refused"):
            del self._calls[call_id]
            outcome = answer.refused
        elif code in _RETRIED or (code == shim_pb2.FAILURE_CODE_NOT_OPEN and run in self._runs):
            if code == shim_pb2.FAILURE_CODE_NOT_OPEN:
                self._reopen(self._runs[run], now_s)
            # An earlier sending of it may have been admitted, and its answer lost with the stream.
            self._calls[call_id].reserve = None
            self.cancel(call_id, now_s)
            outcome = DaemonUnavailable(answer.failure.message)
        else:
            del self._calls[call_id]
            outcome = SessionFailure(code, answer.failure.message)
        assert pending.reply is not None, "a reserve has somebody waiting"
        pending.reply(outcome)

    def _take_closing(self, pending: Pending, answer: shim_pb2.Answer, now_s: float) -> None:
        call_id: bytes = getattr(pending.operation, pending.kind).call_id
        code = answer.failure.code
        if answer.HasField("closed"):
            self._closed.append(call_id)
        elif code in _RETRIED or (code == shim_pb2.FAILURE_CODE_NOT_OPEN and self._calls[call_id].run in self._runs):
            if code == shim_pb2.FAILURE_CODE_NOT_OPEN:
                self._reopen(self._runs[self._calls[call_id].run], now_s)
            self._defer(pending)
            return
        elif pending.kind == "settle" and code != shim_pb2.FAILURE_CODE_UNKNOWN:
            # It was forwarded. Were it only dropped here, the next hello would void it, as if it had cost nothing.
            _log.error("the settle of call %s was declined, it is abandoned: %s", call_id.hex(), answer.failure.message)
            abandon = shim_pb2.Abandon(call_id=call_id, run=pending.operation.settle.run)
            self._queue("abandon", shim_pb2.Operation(abandon=abandon), None, now_s)
            return
        elif pending.kind != "cancel":
            _log.error("the %s of call %s was declined: %s", pending.kind, call_id.hex(), answer.failure.message)
        del self._calls[call_id]
        self._closing -= 1
        self.on_closed(call_id, answer.closed, pending.kind, now_s - pending.queued_at_s)

    def _take_run(self, pending: Pending, answer: shim_pb2.Answer) -> None:
        if pending.kind == "reopen":
            self._reopening.discard(pending.operation.open_run.run)
        if answer.HasField("account"):
            if pending.kind == "open_run":
                opened = pending.operation.open_run
                self._runs[opened.run] = _for_reopening(opened)
            elif pending.kind == "close_run":
                self._runs.pop(pending.operation.close_run.run, None)
        elif pending.kind == "reopen":
            if answer.failure.code in _RETRIED:
                self._reopening.add(pending.operation.open_run.run)
                self._defer(pending)
            else:
                _log.error(
                    "run %s could not be opened again: %s", pending.operation.open_run.run, answer.failure.message
                )
        if pending.reply is not None:
            pending.reply(
                answer.account
                if answer.HasField("account")
                else SessionFailure(answer.failure.code, answer.failure.message)
            )

    def _ask(self, kind: Kind, operation: shim_pb2.Operation, reply: Reply, now_s: float) -> Pending:
        """Queue an operation that somebody waits for, within the bounds."""
        if len(self._unanswered) + len(self._deferred) >= 2 * self._call_limit:
            raise DaemonUnavailable("too many operations wait for leashd")
        if operation.ByteSize() > OPERATION_BYTES:
            raise SessionFailure(
                shim_pb2.FAILURE_CODE_INVALID, f"the names in this request are longer than {OPERATION_BYTES} bytes"
            )
        return self._queue(kind, operation, reply, now_s)

    def _conclude(self, call_id: bytes, operation: shim_pb2.Operation, kind: Kind, now_s: float) -> None:
        call = self._calls.get(call_id)
        if call is None or call.closing:
            _log.warning("call %s is closed already, its %s is not sent", call_id.hex(), kind)
            return
        if call.reserve is not None:
            raise ValueError(f"call {call_id.hex()} was not admitted yet")
        self._close(call, operation, kind, now_s)

    def _close(self, call: _Call, operation: shim_pb2.Operation, kind: Kind, now_s: float) -> None:
        if call.reserve is not None:
            self._drop(call.reserve)
            call.reserve = None
        call.closing = True
        self._closing += 1
        self._queue(kind, operation, None, now_s)

    def _give_up(self, pending: Pending, message: str, now_s: float) -> None:
        if pending.reply is None:
            return
        if pending.kind == "reserve":
            self.cancel(pending.operation.reserve.call_id, now_s)
        else:
            self.forget(pending, now_s)
        pending.reply(DaemonUnavailable(message))

    def _reopen(self, run: shim_pb2.OpenRun, now_s: float) -> None:
        if run.run not in self._reopening:
            self._reopening.add(run.run)
            self._queue("reopen", shim_pb2.Operation(open_run=run), None, now_s)

    def _queue(self, kind: Kind, operation: shim_pb2.Operation, reply: Reply | None, now_s: float) -> Pending:
        operation.op_id = next(self._op_ids)
        pending = Pending(kind, operation, operation.ByteSize(), now_s, reply)
        self._unanswered[operation.op_id] = self._unsent[operation.op_id] = pending
        return pending

    def _queue_again(self, pending: Pending) -> None:
        # An id of its own each time: an answer to the first sending must not be taken for one to the second.
        pending.operation.op_id = next(self._op_ids)
        self._unanswered[pending.operation.op_id] = self._unsent[pending.operation.op_id] = pending

    def _defer(self, pending: Pending) -> None:
        pending.attempts += 1
        self._deferred.append(pending)

    def _drop(self, pending: Pending) -> bool:
        self._unsent.pop(pending.operation.op_id, None)
        return self._unanswered.pop(pending.operation.op_id, None) is not None

    def _take_unsent(self) -> list[shim_pb2.Operation]:
        taken: list[shim_pb2.Operation] = []
        size_bytes = 0
        for pending in self._unsent.values():
            if size_bytes >= BATCH_BYTES:
                break
            pending.was_sent = True
            size_bytes += pending.size_bytes
            taken.append(pending.operation)
        for operation in taken:
            del self._unsent[operation.op_id]
        return taken


def _ignore_closed(_call_id: bytes, _closed: shim_pb2.Closed, _kind: str, _seconds: float) -> None:
    """Stand in for whoever counts, where nobody does."""


def _for_reopening(opened: shim_pb2.OpenRun) -> shim_pb2.OpenRun:
    """Turn what was declared into defaults, for a run that this session has open already.

    Declaring limits again could only do harm: where a person or another opener has lowered one since, the daemon would
    refuse the run. What is told outside is with the run already, and another opener may have changed it since.
    """
    again = shim_pb2.OpenRun()
    again.CopyFrom(opened)
    again.ClearField("limits")
    again.ClearField("reactions")
    again.defaults.MergeFrom(opened.limits)
    return again
