"""Who calls: each method of each service asks here first, so that nothing is done or shown without a name to it."""

from __future__ import annotations

import time
from typing import Any

import grpc.aio

from leash.sockets import TICKET_METADATA
from leashd import __version__
from leashd.tickets import Caller, Tickets

_NO_TICKET = (
    f"this call has no ticket, by which leashd {__version__} knows who asks: run the same version of leash, or take "
    "one from ticket.sock beside leashd's sockets"
)
_BAD_TICKET = "this ticket is too old, or not of this leashd: take a new one from its ticket.sock"


class Callers:
    """Reads tickets off calls."""

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets

    async def of(self, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
        """Who makes this call. One without a good ticket ends here, with UNAUTHENTICATED."""
        ticket = next((value for key, value in context.invocation_metadata() or () if key == TICKET_METADATA), None)
        if not isinstance(ticket, bytes):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, _NO_TICKET)
        caller = self._tickets.caller(ticket, time.monotonic_ns())
        if caller is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, _BAD_TICKET)
        return caller
