"""The HTTP server under the shim: hypercorn, on a socket that is bound already.

The rule: the server adds nothing to an answer but what HTTP/1.1 needs to delimit it, and logs nothing of a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import CancelScope, Event, create_task_group, current_time, move_on_after
from hypercorn.asyncio import serve as serve_hypercorn
from hypercorn.config import Config

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    Application = Callable[[Any, Any, Any], Awaitable[None]]

# A person who ends a program waits no longer than this for answers still under way; what is then open is abandoned, and
# counts with its hold.
DEFAULT_DRAIN_S = 10.0

# What is cut closes within milliseconds, but for an agent that takes no bytes: its connection is then cancelled.
_CLOSE_MARGIN_S = 2.0

# Connections that come while the shim is loading wait here: more than any agent opens at once, and what Linux allows.
_BACKLOG = 2048

# Longer than HTTP clients keep idle connections (httpx 5 s, undici 4 s, Go 90 s), so that it is the agent that closes
# one, and never a request that meets a connection just closed.
_KEEP_ALIVE_S = 600.0

# Hypercorn announces the end of a connection after so many requests with a header that the provider never sent.
_MOST_REQUESTS = 1 << 31

# Agents send cookies and tokens; providers accept heads of this size, and one that is larger is refused with 431.
_MOST_HEAD_BYTES = 1 << 16


async def serve(
    app: Application,
    sock: socket.socket,
    *,
    shutdown: Event,
    drain_s: float = DEFAULT_DRAIN_S,
    cut: Callable[[], None] | None = None,
) -> None:
    """Serves an ASGI application on a bound stream socket, which it takes over, until ``shutdown`` is set.

    Then it takes no more connections and waits up to ``drain_s`` for the answers under way. ``cut`` is called when they
    have not ended by then, or at once where the serving is cancelled, and has to end them. For speed run it on uvloop
    (``anyio.run(…, backend_options={"use_uvloop": True})``); any asyncio loop will do.
    """
    config = _config(sock, drain_s + _CLOSE_MARGIN_S)
    stop, stopped = Event(), Event()
    # Hypercorn cannot be cancelled while it stops: so it is told to, and cancelled only when that does not help.
    shield = CancelScope(shield=True)

    async def run() -> None:
        try:
            with shield:
                await serve_hypercorn(app, config, shutdown_trigger=stop.wait, mode="asgi")
        finally:
            stopped.set()

    async with create_task_group() as group:
        group.start_soon(run)
        try:
            await shutdown.wait()
            stop.set()
            with move_on_after(drain_s):
                await stopped.wait()
        finally:
            config.graceful_timeout = _CLOSE_MARGIN_S
            stop.set()
            if cut is not None and not stopped.is_set():
                cut()
            with CancelScope(shield=True, deadline=current_time() + 2 * _CLOSE_MARGIN_S):
                await stopped.wait()
            shield.cancel()


def _config(sock: socket.socket, graceful_s: float) -> Config:
    config = Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.backlog = _BACKLOG
    config.accesslog = None
    config.errorlog = None
    config.include_date_header = False
    config.include_server_header = False
    config.graceful_timeout = graceful_s
    config.keep_alive_timeout = _KEEP_ALIVE_S
    config.keep_alive_max_requests = _MOST_REQUESTS
    config.h11_max_incomplete_size = _MOST_HEAD_BYTES
    return config
