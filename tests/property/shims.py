"""Simulated shims: what each one asks, over streams that lose things, and what it must make of the answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from leash.usage import Usage
from leashd.operations import (
    AbandonCall,
    Acknowledge,
    CancelCall,
    CloseRun,
    Hello,
    OpenRun,
    ReserveCall,
    SettleCall,
    VoidCall,
)
from tests.property.audit import Asked, Bounds
from tests.property.provider import Served, Tokens
from tests.property.rules import expect


class Phase(Enum):
    """Where a call is, as its shim sees it."""

    ASKED = "asked"
    ADMITTED = "admitted"  # may be forwarded, and is not yet
    IN_FLIGHT = "in flight"
    CLOSING = "closing"
    OVER = "over"  # its closing is confirmed, or it was never admitted


@dataclass(slots=True, eq=False)
class ShimCall:
    """One call of a shim. ``said`` is the closing that it sent first, ``told`` what it was answered."""

    id: bytes
    run: str
    asked: Asked
    phase: Phase = Phase.ASKED
    served: Served | None = None
    said: str = ""
    told: str = ""
    known: Tokens | None = None
    refused: str = ""
    streams: int = 0  # on which its reserve was sent

    @property
    def reached(self) -> bool:
        """Whether the provider saw it."""
        return self.served is not None


@dataclass(slots=True, eq=False)
class Sent:
    """One operation on one stream, and its answers."""

    operation: Any
    link: Link
    take: Callable[[Any], None]
    answers: int = 0
    submitted_at_ns: int = 0
    may_wait_ns: int | None = None


@dataclass(slots=True, eq=False)
class Link:
    """One stream: what is on its way up and down. What has not arrived when it is cut is lost."""

    shim: Shim
    up: deque[Sent] = field(default_factory=deque)
    down: deque[tuple[Sent, Any]] = field(default_factory=deque)
    alive: bool = True
    greeted: bool = False  # the hello has arrived at the daemon

    def push(self, push: Any) -> None:
        self.shim.pushed.append(push)

    def replaced(self) -> None:
        expect(not self.alive, "a stream was replaced that its shim has not given up")

    def cut(self) -> None:
        self.alive = False
        self.up.clear()
        self.down.clear()


@dataclass(frozen=True, slots=True)
class Declared:
    """What a shim has declared of a run; ``lowered`` is what the run's own client asked for."""

    given: dict[str, int]
    prices: bytes
    lowered: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Shim:
    """One session. It keeps what it has said until it is confirmed, and says it again on every new stream."""

    session: bytes
    link: Link | None = None
    stands: bool = False
    dead: bool = False
    bounds: Bounds | None = None  # of a gateway
    declared: dict[str, Declared] = field(default_factory=dict)  # by run
    opened: set[str] = field(default_factory=set)
    calls: dict[bytes, ShimCall] = field(default_factory=dict)
    unacknowledged: list[bytes] = field(default_factory=list)
    pushed: list[Any] = field(default_factory=list)  # on every stream, and also what came too late for it
    twice: Callable[[], bool] = lambda: False

    def live(self, *phases: Phase) -> list[ShimCall]:
        return [call for call in self.calls.values() if call.phase in phases]

    # Its stream

    def connect(self) -> None:
        """Opens a stream, with a hello that lists what it holds."""
        self.cut()
        self.link = Link(self)
        held = frozenset(call.id for call in self.calls.values() if call.phase is not Phase.OVER)
        self.link.up.append(Sent(Hello(self.session, held, self.link), self.link, self._welcomed))

    def cut(self) -> None:
        """Loses its stream."""
        if self.link is not None:
            self.link.cut()
        self.link, self.stands = None, False

    def _welcomed(self, answer: Any) -> None:
        if type(answer).__name__ == "Failed":
            self.cut()
            return
        self.stands = True
        for run in self.opened:
            self._send_open(run)
        for call in self.calls.values():
            if call.phase is Phase.ASKED:
                self._send_reserve(call)
            elif call.phase is Phase.CLOSING:
                self._send_closing(call)

    def _send(self, build: Callable[[Link], Any], take: Callable[[Any], None]) -> None:
        if self.link is None or not self.stands:
            return  # what it is about is said again by the next welcome
        for _ in range(1 + self.twice()):
            self.link.up.append(Sent(build(self.link), self.link, take))

    # Runs

    def open_run(self, run: str, declared: Declared) -> None:
        self.declared[run] = declared
        self._send_open(run)

    def _send_open(self, run: str) -> None:
        def take(answer: Any) -> None:
            if type(answer).__name__ == "AccountShown":
                self.opened.add(run)

        declared = self.declared[run]
        given = {} if run in self.opened else declared.given
        bounds = self.bounds or Bounds(0, 0)

        def build(link: Link) -> OpenRun:
            return OpenRun(
                session=self.session,
                link=link,
                run=run,
                owner_uid=1000,
                given=given,
                defaults=declared.given,
                prices_sha256=declared.prices,
                pid=0,
                lowered=declared.lowered,
                on_behalf=self.bounds is not None,
                max_open_runs=bounds.open_runs,
                max_runs=bounds.runs,
            )

        self._send(build, take)

    def close_run(self, run: str, *, unfinished: bool) -> None:
        self.opened.discard(run)
        self._send(lambda link: CloseRun(self.session, link, run, unfinished), lambda _: None)

    # Calls

    def reserve(self, call: ShimCall) -> None:
        self.calls[call.id] = call
        self._send_reserve(call)

    def _send_reserve(self, call: ShimCall) -> None:
        asked = call.asked
        call.streams += self.stands
        self._send(
            lambda link: ReserveCall(
                session=self.session,
                link=link,
                run=call.run,
                call=call.id,
                model=asked.model,
                input_bound_tokens=asked.input_bound,
                output_bound_tokens=asked.output_bound,
                choices=asked.choices,
                server_tools=asked.server_tools,
                service_tier="",
                unmeterable=asked.unmeterable,
            ),
            lambda answer: self._reserved(call, answer),
        )

    def _reserved(self, call: ShimCall, answer: Any) -> None:
        kind = type(answer).__name__
        if kind == "Admit":
            if call.phase is Phase.ASKED:
                call.phase = Phase.ADMITTED
            elif call.phase is Phase.OVER and not call.said:
                self.close(call, "cancel")  # refused the first time, and admitted when it was asked again
            return
        if call.phase is not Phase.ASKED:
            return
        call.phase = Phase.OVER
        call.refused = answer.refuse.reason.value if kind == "Refused" else answer.code.value
        if call.refused == "not_open" and call.run in self.opened:
            self._send_open(call.run)
        if call.streams > 1 and kind == "Failed":
            self.close(call, "cancel")  # a failure says nothing of its first sending, which may have been admitted

    def drop(self, call: ShimCall) -> None:
        """Forgets a call that was not forwarded; the next hello does not list it."""
        call.phase, call.refused = Phase.OVER, "dropped"

    def close(self, call: ShimCall, said: str) -> None:
        """Says how a call ended; the first word counts."""
        call.said, call.phase = said, Phase.CLOSING
        self._send_closing(call)

    def _send_closing(self, call: ShimCall) -> None:
        self._send(lambda link: self.closing(call, link), lambda answer: self._closed(call, answer))

    def closing(self, call: ShimCall, link: Link) -> Any:
        if call.said == "settle":
            served = call.served
            assert served is not None
            return SettleCall(
                session=self.session,
                link=link,
                run=call.run,
                call=call.id,
                http_status=served.status,
                usage=usage(served.tokens),
                model=served.model,
                fingerprint=served.fingerprint,
            )
        if call.said == "abandon":
            return AbandonCall(self.session, link, call.run, call.id, usage(call.known))
        kind = {"void": VoidCall, "cancel": CancelCall}[call.said]
        return kind(self.session, link, call.run, call.id)

    def _closed(self, call: ShimCall, answer: Any) -> None:
        if call.phase is not Phase.CLOSING:
            return
        if type(answer).__name__ == "CallClosed":
            call.phase, call.told = Phase.OVER, answer.outcome
            self.unacknowledged.append(call.id)
        elif answer.code.value in ("unavailable", "busy"):
            self._send_closing(call)
        else:
            expect(call.said == "cancel", f"the {call.said} of a call was answered {answer.code}: {answer.message}")
            call.phase = Phase.OVER

    def amend(self, call: ShimCall) -> None:
        """Settles a call after all that it had abandoned."""
        self.unacknowledged.remove(call.id)
        call.phase, call.said = Phase.CLOSING, "settle"
        self._send_closing(call)

    def acknowledge(self) -> None:
        """Confirms outcomes. Where it is lost the daemon keeps them for longer, and that is all."""
        calls, self.unacknowledged = tuple(self.unacknowledged), []
        self._send(lambda link: Acknowledge(self.session, link, calls), lambda _: None)


def usage(tokens: Tokens | None) -> Usage | None:
    """The provider's tokens as a shim reports them."""
    if tokens is None:
        return None
    return Usage(
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached_input_tokens=tokens.cached,
        reasoning_tokens=tokens.reasoning,
        web_search_requests=tokens.searches,
    )
