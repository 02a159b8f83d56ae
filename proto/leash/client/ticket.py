"""Tickets: what tells the daemon who asks. They are had from a plain socket, whose other end the kernel names to it.

The rule: each call takes a new one, which costs a tenth of a millisecond, so that none is ever too old.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, TypeAlias

from leash.client.errors import DaemonUnreachable
from leash.client.paths import denied
from leash.client.probe import Reach, probe
from leash.sockets import TICKET_METADATA

if TYPE_CHECKING:
    from leash.client.paths import Endpoint

# The metadata of one gRPC call.
Ticket: TypeAlias = "tuple[tuple[str, bytes], ...]"

# A daemon answers within its longest batch, some 30 ms; one that takes longer than this is stopped, or swaps.
_TIMEOUT_S = 5.0
# Between attempts where as many clients are waiting as the kernel lets wait.
_PAUSE_S = 0.01
# Far more than any ticket has.
_MAX_BYTES = 1024


class TicketLost(DaemonUnreachable):
    """Nobody gives tickets there, or no longer: the daemon is leaving, has left, or is an older one."""


async def fetch_ticket(endpoint: Endpoint) -> Ticket:
    """Get a ticket for one call.

    Raises ``AccessDenied``, :class:`TicketLost`, and ``DaemonUnreachable`` for a daemon that does not answer.
    """
    path = endpoint.ticket_socket
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            ticket = await _fetch(str(path))
    except TimeoutError:
        raise DaemonUnreachable(f"leashd has not answered on {path} for {_TIMEOUT_S:.0f} s") from None
    except PermissionError as error:
        raise denied(endpoint, path) from error
    except OSError as error:
        raise TicketLost(_why_nobody_answers(endpoint)) from error
    if not ticket:
        raise TicketLost(f"leashd has given no ticket on {path}: its log says why")
    return ((TICKET_METADATA, ticket),)


def _why_nobody_answers(endpoint: Endpoint) -> str:
    if probe(endpoint.socket) is Reach.ANSWERS:
        return (
            f"leashd answers on {endpoint.socket}, and not on {endpoint.ticket_socket}: where that lasts it is of "
            "another version than this client, and has to be restarted"
        )
    return f"leashd at {endpoint.ticket_socket} does not answer"


async def _fetch(path: str) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        # Not by the loop: it takes a full backlog for a connection that is being made, of which a Unix socket has none.
        while not _connected(connection, path):  # noqa: ASYNC110 (no event tells)
            await asyncio.sleep(_PAUSE_S)
        ticket = b""
        while len(ticket) < _MAX_BYTES and (part := await loop.sock_recv(connection, _MAX_BYTES)):
            ticket += part
        return ticket


def _connected(connection: socket.socket, path: str) -> bool:
    try:
        connection.connect(path)
    except BlockingIOError:
        return False
    return True
