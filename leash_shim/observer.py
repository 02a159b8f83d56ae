"""What a shim tells of its work to whoever counts or logs it. Nothing of a header's value, a query or a body.

The methods are called in the event loop, on the path of calls: they must neither wait nor raise.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from leash.units import NANOSECONDS_PER_SECOND

if TYPE_CHECKING:
    from leash.usage import Usage
    from leash.v1 import shim_pb2


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and its answer, filled in as it goes.

    ``path`` has neither a token nor a query. ``provider`` is the wire format's vendor, such as ``anthropic``; empty
    where the request came to no provider. ``decision`` is one of ``DECISIONS``; ``reason`` is the stable reason or
    code of an answer of leash's own. ``client_request_id`` is the X-Request-Id that came with the request.
    """

    request_id: bytes
    method: str
    path: str
    started_ns: int = field(default_factory=time.monotonic_ns)
    ended_ns: int = 0
    client: str = ""
    client_request_id: str = ""
    run: str = ""
    provider: str = ""
    decision: str = ""
    reason: str = ""
    status: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0

    def decide(self, decision: str, reason: str = "") -> None:
        """Says what leash does with it, and why where that is not plain."""
        self.decision, self.reason = decision, reason

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return (self.ended_ns - self.started_ns) / NANOSECONDS_PER_SECOND


# What leash did with a request: admitted a call, refused one by a boundary, passed a free one through, denied one that
# may not come in or cannot be taken, or failed itself.
DECISIONS = ("admitted", "refused", "passed", "denied", "failed")


class Observer:
    """Takes no notice. What counts or logs derives from this one."""

    def began(self, exchange: Exchange) -> None:
        """A request's head has come."""

    def ended(self, exchange: Exchange) -> None:
        """An exchange is over, with its last byte sent or its agent gone."""

    def reserved(
        self, exchange: Exchange, verdict: shim_pb2.Admitted | shim_pb2.Refused | None, seconds: float
    ) -> None:
        """The daemon has decided a call, whose id is that of its request, or could not be asked (None)."""

    def settled(self, exchange: Exchange, usage: Usage | None) -> None:
        """A call's answer came whole, with the usage that could be read of it."""

    def upstream_failed(self, exchange: Exchange, status: int) -> None:
        """A provider answered an error (its status, 400 or more), or gave no whole answer (0)."""


class Observers(Observer):
    """Tells several, in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def began(self, exchange: Exchange) -> None:
        """As each takes it."""
        for observer in self._observers:
            observer.began(exchange)

    def ended(self, exchange: Exchange) -> None:
        """As each takes it."""
        for observer in self._observers:
            observer.ended(exchange)

    def reserved(
        self, exchange: Exchange, verdict: shim_pb2.Admitted | shim_pb2.Refused | None, seconds: float
    ) -> None:
        """As each takes it."""
        for observer in self._observers:
            observer.reserved(exchange, verdict, seconds)

    def settled(self, exchange: Exchange, usage: Usage | None) -> None:
        """As each takes it."""
        for observer in self._observers:
            observer.settled(exchange, usage)

    def upstream_failed(self, exchange: Exchange, status: int) -> None:
        """As each takes it."""
        for observer in self._observers:
            observer.upstream_failed(exchange, status)
