"""One governed call, from its reserve to its one outcome.

The rule: a call that was admitted is closed exactly once, whatever happens, and only by ``_settle`` or by
``_close_unsettled``, which every way out of ``Call.live`` passes.

=====================================================================  =======================================
what happened                                                          outcome
=====================================================================  =======================================
refused; no daemon; the agent hung up while it waited                   none: nothing was admitted
no byte of the request was written, for whatever reason                 void
an answer came whole, error or not                                      settle
a whole answer says itself that it failed or broke off on the way       abandon, with what it had reported
a byte may have been written, and anything else ended the call          abandon, with what the wire had reported
=====================================================================  =======================================
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING

from anyio import CancelScope, current_time

from leash.client.errors import DaemonUnavailable, SessionFailure
from leash.names import short_call
from leash.units import NANOSECONDS_PER_SECOND
from leash.v1 import shim_pb2
from leash_shim import headers, messages, refusal
from leash_shim.door import unavailable
from leash_shim.tap import Tap, takes_events, tap_for
from leash_shim.upstream import UpstreamCut, UpstreamFailure

if TYPE_CHECKING:
    from leash.v1 import types_pb2
    from leash_shim.downstream import Downstream
    from leash_shim.meter import Metered, RequestFacts, WireFormat
    from leash_shim.observer import Exchange, Observer
    from leash_shim.refusal import Answer, Reader
    from leash_shim.settings import ShimSettings
    from leash_shim.upstream import Upstream, UpstreamAnswer, UpstreamRequest

log = logging.getLogger(__name__)

# After its agent has gone, an answer is read on for its usage. Two minutes see almost every answer to its end that a
# model is still writing; one that goes on longer is abandoned, so that a shim without agents can be left.
DRAIN_SECONDS = 120.0

# Above any text answer, and little enough that an endless one does not run for two minutes at full speed.
DRAIN_BYTES = 64 << 20

# RFC 9110 section 15.5: from it on, an answer tells of an error.
_FIRST_ERROR = 400


class _Phase(Enum):
    RESERVING = auto()  # the daemon has not answered: to leave takes the reserve back
    OPEN = auto()  # admitted: it must be closed
    CLOSED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a call asks for: its run, its request, and how its answer is metered.

    Without ``facts`` it bills but cannot be metered, and ``why`` says what stands in the way and what to do. Answers of
    leash's own are for ``reader``.
    """

    run: str
    request: UpstreamRequest
    wire_format: WireFormat | None
    facts: RequestFacts | None
    hides_usage_chunk: bool
    reader: Reader
    why: str = ""


class Call:
    """One call under way. ``live`` is its whole life; ``hung_up`` and ``abort`` tell it what happens meanwhile."""

    __slots__ = (
        "_abort_reason",
        "_between_events",
        "_downstream",
        "_drained_bytes",
        "_exchange",
        "_observer",
        "_order",
        "_phase",
        "_scope",
        "_settings",
        "_tap",
        "_upstream",
        "call_id",
    )

    def __init__(  # noqa: PLR0913 - the two ends of a call, and whoever looks on
        self,
        exchange: Exchange,
        order: Order,
        *,
        settings: ShimSettings,
        upstream: Upstream,
        downstream: Downstream,
        observer: Observer,
    ) -> None:
        self.call_id = exchange.request_id
        self._exchange = exchange
        self._observer = observer
        self._order = order
        self._settings = settings
        self._upstream = upstream
        self._downstream = downstream
        self._scope = CancelScope()
        self._phase = _Phase.RESERVING
        self._tap = Tap()
        self._between_events = False
        self._drained_bytes = 0
        self._abort_reason: types_pb2.Reason.ValueType | None = None

    @property
    def run(self) -> str:
        """The run that the call belongs to."""
        return self._order.run

    async def live(self) -> None:
        """Reserves, forwards, relays and closes the call, and answers the agent."""
        answer: Answer | None = None
        try:
            with self._scope:
                answer = await self._perform()
        finally:
            self._close_unsettled()
        if self._scope.cancelled_caught:
            answer = self._cut_answer()
        if answer is not None:
            self._exchange.reason = answer.code
        if answer is not None and not self._downstream.started:
            await self._downstream.answer(answer, self._request_id())
        elif self._between_events and self._abort_reason is not None:
            event = refusal.aborted_stream(self.run, self._abort_reason, self._order.reader)
            await self._downstream.finish(event)

    def hung_up(self) -> None:
        """The agent has gone: a call not yet sent is taken back, an answer that is coming is read on within bounds."""
        if self._phase is _Phase.CLOSED:
            return
        if self._phase is _Phase.OPEN and self._order.request.sent:
            self._scope.deadline = min(self._scope.deadline, current_time() + DRAIN_SECONDS)
        else:
            # A task is cancelled a moment later, by when the request could be on its way and be cut there.
            self._order.request.withhold()
            self._scope.cancel()

    def abort(self, reason: types_pb2.Reason.ValueType) -> None:
        """The run was killed at once. A call that still waits for its reserve gets the daemon's own refusal."""
        self._abort_reason = reason
        if self._phase is _Phase.OPEN:
            self._scope.cancel()

    async def _perform(self) -> Answer | None:
        """Everything that may be cancelled. Returns what to answer where no answer came from the provider."""
        order = self._order
        provider, started_ns = order.reader.provider, time.monotonic_ns()
        try:
            verdict = await self._settings.session.reserve(self._reserve_message())
        except (DaemonUnavailable, SessionFailure) as failure:
            self._exchange.decide("failed")
            self._observer.reserved(self._exchange, None, _seconds_since(started_ns))
            return refusal.denied(unavailable(str(failure)), provider)
        self._observer.reserved(self._exchange, verdict, _seconds_since(started_ns))
        if isinstance(verdict, shim_pb2.Refused):
            self._exchange.decide("refused")
            messages.explain(verdict, order.why)
            return refusal.refused(order.run, verdict, order.reader)
        self._phase = _Phase.OPEN
        self._exchange.decide("admitted")
        if self._abort_reason is not None:
            return self._cut_answer()
        self._scope.deadline = current_time() + self._settings.header_timeout_s
        try:
            answer = await self._upstream.send(order.request)
        except UpstreamFailure as failure:
            self._observer.upstream_failed(self._exchange, 0)
            return self._unanswered(str(failure), timed_out=failure.timed_out)
        if answer.status >= _FIRST_ERROR:
            self._observer.upstream_failed(self._exchange, answer.status)
        try:
            await self._relay(answer)
        except UpstreamCut:
            self._exchange.reason = "upstream_cut"
            self._observer.upstream_failed(self._exchange, 0)
            return None
        finally:
            answer.close()
        return None

    async def _relay(self, answer: UpstreamAnswer) -> None:
        """Passes the answer on as it comes, and settles before its last byte. UpstreamCut where it is not whole."""
        order, downstream = self._order, self._downstream
        if not downstream.gone:
            self._scope.deadline = inf
        self._tap = tap = tap_for(
            order.wire_format,
            order.facts,
            status=answer.status,
            answer_headers=answer.headers,
            hides_usage_chunk=order.hides_usage_chunk,
        )
        kept = headers.for_agent(answer.headers, request_id=self._request_id(), reframed=tap.reframes)
        await downstream.start(answer.status, kept)
        tells_failure = order.wire_format is not None and order.wire_format.tells_failure
        tells_failure = tells_failure and takes_events(answer.headers)
        last = b""
        while data := await answer.read():
            visible = tap.feed(data)
            self._between_events = False
            if answer.ended:
                last = visible
                break
            if downstream.gone:
                self._count_drained(len(data))
            elif visible:
                await downstream.write(visible)
                self._between_events = tells_failure and visible.endswith((b"\n\n", b"\r\n\r\n"))
        tail, metered = tap.finish()
        if metered is not None and metered.broken_off:
            self._exchange.reason = "upstream_cut"
            self._observer.upstream_failed(self._exchange, 0)
            self._close_unsettled()
        else:
            self._settle(answer.status, metered)
        await downstream.finish(last + tail)

    def _count_drained(self, size: int) -> None:
        self._drained_bytes += size
        if self._drained_bytes > DRAIN_BYTES:
            # The agent has gone, and the answer does not end.
            self._scope.cancel()

    def _settle(self, status: int, metered: Metered | None) -> None:
        operation = messages.settle(call_id=self.call_id, run=self.run, status=status, metered=metered)
        self._settings.session.settle(operation)
        self._phase = _Phase.CLOSED
        self._observer.settled(self._exchange, None if metered is None else metered.usage)
        self._log("settled", status)

    def _close_unsettled(self) -> None:
        """Voids or abandons a call that was admitted and not settled."""
        if self._phase is not _Phase.OPEN:
            return
        self._phase = _Phase.CLOSED
        if self._order.request.sent:
            known = self._tap.peek()
            self._settings.session.abandon(messages.abandon(call_id=self.call_id, run=self.run, known=known))
            self._log("abandoned", 0)
        else:
            self._settings.session.void(messages.void(call_id=self.call_id, run=self.run))
            self._log("voided", 0)

    def _reserve_message(self) -> shim_pb2.Reserve:
        order = self._order
        name = order.wire_format.name if order.wire_format is not None else ""
        return messages.reserve(call_id=self.call_id, run=order.run, wire_format=name, facts=order.facts)

    def _cut_answer(self) -> Answer | None:
        """What to answer where the call was cancelled from within the shim; None to an agent that has gone."""
        if self._abort_reason is not None:
            return refusal.aborted(self.run, self._abort_reason, self._order.reader)
        if self._downstream.gone:
            self._exchange.decide(self._exchange.decision or "denied", "hung_up")
            return None
        self._observer.upstream_failed(self._exchange, 0)
        return self._unanswered(f"no answer within {self._settings.header_timeout_s:g} s", timed_out=True)

    def _unanswered(self, why: str, *, timed_out: bool) -> Answer:
        """The answer where the provider gave none."""
        host = self._order.request.url.host
        if self._order.request.sent:
            outcome = (
                f"It may have been billed: the call stays unresolved and counts until "
                f"`leashctl resolve {self.run} {short_call(self.call_id)}`."
            )
        else:
            outcome = "Nothing was sent, and nothing counts."
        code = "upstream_timeout" if timed_out else "upstream_failed"
        provider = self._order.reader.provider
        return refusal.failed(504 if timed_out else 502, code, f"{host}: {why}. {outcome}", provider=provider)

    def _request_id(self) -> bytes:
        return self.call_id.hex().encode("ascii")

    def _log(self, outcome: str, status: int) -> None:
        if log.isEnabledFor(logging.DEBUG):
            milliseconds = (time.monotonic_ns() - self._exchange.started_ns) // 1_000_000
            call = short_call(self.call_id)
            log.debug("run %s call %s %s, status %d, %d ms", self.run, call, outcome, status, milliseconds)


def _seconds_since(started_ns: int) -> float:
    return (time.monotonic_ns() - started_ns) / NANOSECONDS_PER_SECOND
