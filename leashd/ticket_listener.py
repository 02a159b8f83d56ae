"""The socket where tickets are had: whoever connects is given one for whom the kernel says it is, and hung up on.

Nothing is read, and nobody is waited for: a ticket fits into the buffer of a connection that is new.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import anyio
import structlog

from leashd.peers import Peer, peer_of

BACKLOG = 1024  # as many shims as come back at once after a restart; a client that finds it full tries again
PAUSE_S = 0.1  # where no connection can be taken: a descriptor may be free by then

_log = structlog.get_logger("leashd.tickets")


class TicketListener:
    """Listens from when it is made. ``issue`` makes the ticket of a peer."""

    def __init__(self, path: Path, issue: Callable[[Peer], bytes]) -> None:
        self._path = path
        self._issue = issue
        self._scope = anyio.CancelScope()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(str(path))
        self._listener.listen(BACKLOG)
        self._inode = path.stat().st_ino

    async def run(self) -> None:
        """Gives tickets until ``close``."""
        with self._scope:
            while True:
                await self._serve_one()
                await asyncio.sleep(0)  # a connection that is there already is taken without a pause

    def close(self) -> None:
        """Lets ``run`` return, and takes the socket away, unless somebody else's is in its place."""
        if self._listener.fileno() < 0:
            return  # done before, and the number of the file may have gone to another
        self._scope.cancel()
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except FileNotFoundError:
            pass
        self._listener.close()

    async def _serve_one(self) -> None:
        try:
            connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        except OSError as error:
            _log.warning("no_connection_taken", error=str(error))
            await anyio.sleep(PAUSE_S)
            return
        with connection:
            try:
                connection.send(self._issue(peer_of(connection)))
            except (BrokenPipeError, ConnectionResetError):
                pass  # it only wanted to see whether somebody listens
            except OSError as error:
                _log.warning("no_ticket_given", error=str(error))
