"""The HTTP server under a shim: takes connections from a socket that is bound already, and lets them go in order.

The rule: the server adds nothing to an answer but what HTTP needs to delimit it, and logs nothing of a request.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from anyio import CancelScope, current_time, move_on_after

from leash_shim.connection import Connection
from leash_shim.conversation import Manners
from leash_shim.hall import Hall, Patience
from leash_shim.trouble import where

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from anyio import Event

    from leash_shim.conversation import Application

log = logging.getLogger(__name__)

# A person who ends a program waits no longer than this for answers still under way; what is then open is abandoned, and
# counts with its hold.
DEFAULT_DRAIN_S = 10.0

# What is cut closes within milliseconds, but for an agent that takes no bytes: its connection is then aborted.
_CLOSE_MARGIN_S = 2.0

# Connections that come while the shim is loading wait here: more than any agent opens at once, and what Linux allows.
_BACKLOG = 2048

# So many are taken before others get their turn: a burst is worked off in a few rounds, and holds nobody up for long.
_ACCEPTS_AT_ONCE = 32

# Without a descriptor for it a connection cannot even be refused. It waits until others have ended.
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_EXHAUSTED_PAUSE_S = 0.5

# Who is turned away is told so when its request has come; who asks for nothing is closed after this time, and more than
# so many at once without a word.
_TURN_AWAY_S = 1.0
_MOST_TURNED_AWAY = 64

# What happens with every connection is said no oftener.
_COMPLAINT_INTERVAL_S = 10.0

# What an agent has not taken yet is kept by leash or by the kernel; there it is bounded by this, beside what is on its
# way. Two bursts of a fast stream.
_MOST_UNSENT_BYTES = 1 << 17

# A TLS connection is opened in two round trips, where the time for a head has no bound or a larger one, and closed by
# both sides in one.
_MAX_TLS_HANDSHAKE_S = 60.0
_TLS_SHUTDOWN_S = 3.0

# Time-outs are looked at in so many parts of the shortest, within these bounds.
_SWEEPS = 8
_MIN_SWEEP_S = 0.02
_MAX_SWEEP_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How connections are taken and kept.

    ``max_connections`` is how many there may be at once; zero is no bound. ``linger_s`` is how long an idle one gets
    to become busy once the server is leaving. ``tls`` gives the context for each new connection.
    """

    patience: Patience = field(default_factory=Patience)
    max_connections: int = 0
    linger_s: float = 0.0
    tls: Callable[[], ssl.SSLContext] | None = None


async def serve(  # noqa: PLR0913 (what happens when)
    app: Application,
    sock: socket.socket,
    *,
    shutdown: Event,
    drain_s: float = DEFAULT_DRAIN_S,
    options: ServerOptions | None = None,
    leave: Callable[[], None] | None = None,
    cut: Callable[[], None] | None = None,
) -> None:
    """Serves an ASGI application on a bound stream socket, which it takes over, until ``shutdown`` is set.

    Then it takes no more connections, calls ``leave``, and waits up to ``drain_s`` for the answers under way. ``cut``
    is called when they have not ended by then, or at once where the serving is cancelled, and has to end them. For
    speed run it on uvloop (``anyio.run(…, backend_options={"use_uvloop": True})``); any asyncio loop will do.
    """
    async with asyncio.TaskGroup() as group:
        server = _Server(app, sock, options or ServerOptions(), group)
        hall = server.hall
        server.open()
        try:
            await shutdown.wait()
            server.stop_accepting()
            if leave is not None:
                leave()
            server.leave(drain_s)
            with move_on_after(drain_s):
                await hall.until_empty()
        finally:
            server.stop_accepting()
            if cut is not None and not hall.is_empty:
                cut()
            hall.leave(linger_s=0, announce_in_s=0)
            with CancelScope(shield=True, deadline=current_time() + _CLOSE_MARGIN_S):
                await hall.until_empty()
            server.close()


class _Server:
    """The accepting side, and the clock of the connections."""

    def __init__(self, app: Application, sock: socket.socket, options: ServerOptions, group: asyncio.TaskGroup) -> None:
        self._loop = asyncio.get_running_loop()
        self.hall = Hall(Manners(app, self._loop.time), options.patience, group)
        self._sock: socket.socket | None = sock
        self._options = options
        self._arriving = 0
        self._turned_away = 0
        self._silent_until_s = 0.0
        self._resume: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        patience = options.patience
        shortest_s = min(patience.header_s, patience.idle_s, options.linger_s or patience.idle_s)
        self._sweep_s = min(max(shortest_s / _SWEEPS, _MIN_SWEEP_S), _MAX_SWEEP_S)

    def open(self) -> None:
        """Begins to take connections."""
        assert self._sock is not None
        self._sock.setblocking(False)
        self._sock.listen(_BACKLOG)
        self._loop.add_reader(self._sock, self._accept)
        self._sweep()

    def stop_accepting(self) -> None:
        """Closes the socket in this process, having taken what has been waiting at it."""
        if self._sock is None:
            return
        for _ in range(_BACKLOG // _ACCEPTS_AT_ONCE):
            if self._accept():
                break
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        self._sock = None

    def leave(self, drain_s: float) -> None:
        """Lets connections go as they become idle."""
        linger_s = self._options.linger_s
        # Until then agents that cannot bear to hear of the end (Python's h2 is one) have ended most of their streams,
        # and those that can have as long again to end theirs.
        self.hall.leave(linger_s=linger_s, announce_in_s=max(linger_s, drain_s / 2))

    def close(self) -> None:
        """Cuts what is left."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.hall.shut()

    def _accept(self) -> bool:
        """Takes some of the connections that are waiting; whether those were all."""
        assert self._sock is not None
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                client, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return True
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # whatever accept(2) tells of a connection that has gone already
                self._pause(error)
                return True
            self._take(client)
        return False

    def _pause(self, error: OSError) -> None:
        self._complain("connections have to wait: %s", error.strerror)
        assert self._sock is not None
        self._loop.remove_reader(self._sock)
        self._resume = self._loop.call_later(_EXHAUSTED_PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        if self._sock is not None:
            self._loop.add_reader(self._sock, self._accept)

    def _take(self, client: socket.socket) -> None:
        client.setblocking(False)
        if hasattr(socket, "TCP_NOTSENT_LOWAT") and client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT_BYTES)
        most = self._options.max_connections
        if not most or len(self.hall.connections) + self._arriving < most or self.hall.make_room():
            self._arriving += 1
            self.hall.spawn(self._welcome, client)
            return
        self._complain("all %s connections are in use (--max-conns): others are turned away", most)
        if self._turned_away >= _MOST_TURNED_AWAY:
            client.close()
            return
        self._turned_away += 1
        self.hall.spawn(self._turn_away, client)

    def _complain(self, message: str, detail: object) -> None:
        now_s = self._loop.time()
        if now_s >= self._silent_until_s:
            self._silent_until_s = now_s + _COMPLAINT_INTERVAL_S
            log.warning(message, detail)

    async def _welcome(self, client: socket.socket) -> None:
        try:
            await self._connect(client, Connection(self.hall))
        finally:
            self._arriving -= 1

    async def _turn_away(self, client: socket.socket) -> None:
        stranger = _Stranger()
        try:
            await self._connect(client, stranger)
            with move_on_after(_TURN_AWAY_S):
                await stranger.has_left.wait()
        finally:
            self._turned_away -= 1
            stranger.abort()

    async def _connect(self, client: socket.socket, protocol: asyncio.Protocol) -> None:
        arguments: dict[str, Any] = {}
        if self._options.tls is not None:
            arguments = {
                "ssl": self._options.tls(),
                "ssl_handshake_timeout": min(self._options.patience.header_s, _MAX_TLS_HANDSHAKE_S),
                "ssl_shutdown_timeout": _TLS_SHUTDOWN_S,
            }
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, client, **arguments)
        except Exception as error:  # noqa: BLE001 - TLS failed, or the agent has gone: it costs nobody else
            log.debug("no connection: %s", where(error))

    def _sweep(self) -> None:
        self.hall.sweep()
        self._sweeper = self._loop.call_later(self._sweep_s, self._sweep)


class _Stranger(asyncio.Protocol):
    """A connection for which there is no room. It is told so when it asks for something, and then read to its end."""

    def __init__(self) -> None:
        self.has_left = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._told = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass of it

    def data_received(self, data: bytes) -> None:
        """Asyncio's."""
        del data
        if self._transport is not None and not self._told:
            self._told = True
            self._transport.write(_full())
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's."""
        del exc
        self.has_left.set()

    def abort(self) -> None:
        """Lets it wait no longer."""
        if self._transport is not None:
            self._transport.abort()


@cache
def _full() -> bytes:
    """The answer to whoever is turned away, as it goes over the wire."""
    from leash_shim import refusal  # noqa: PLC0415 (most servers never need it)

    answer = refusal.failed(503, "too_many_connections", "leash has no connection left", retry_after_seconds=1)
    fields = b"".join(b"%s: %s\r\n" % field for field in (*answer.headers, (b"connection", b"close")))
    return b"HTTP/1.1 503 Service Unavailable\r\n" + fields + b"\r\n" + answer.body
