"""Where a server's connections are: all of them, those that are idle, and the tasks of all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from leash_shim.connection import Connection
    from leash_shim.conversation import Manners

# A request's head comes in one packet, or in a few; this is for a slow network and a machine that swaps. Agents connect
# when they have something to ask.
DEFAULT_HEADER_TIMEOUT_S = 30.0

# Longer than HTTP clients keep idle connections (httpx 5 s, undici 4 s, Go 90 s), so that it is the agent that closes
# one, and never a request that meets a connection just closed. Longer, too, than a person looks at a debugger.
DEFAULT_IDLE_TIMEOUT_S = 600.0

# Whoever has just connected, or was just answered, goes on within moments, and does not have to give way to others.
_SETTLED_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The time-outs of connections, in seconds.

    ``header_s`` is for a request's head, from its first byte or from connecting. ``idle_s`` is for a kept-alive
    connection, for an agent that takes nothing of its answer, and for one that sends nothing of its body.
    """

    header_s: float = DEFAULT_HEADER_TIMEOUT_S
    idle_s: float = DEFAULT_IDLE_TIMEOUT_S

    def __post_init__(self) -> None:
        """Refuses what would close every connection. ValueError."""
        if self.header_s <= 0 or self.idle_s <= 0:
            raise ValueError("header_s and idle_s must be above zero")


class Hall:
    """The connections of one server, and their tasks.

    ``idle`` has the one that has been idle for longest first; ``idle_s`` is how long each may be. Once
    ``announce_at_s`` has come, busy h2 connections are asked to end.
    """

    def __init__(self, manners: Manners, patience: Patience, group: asyncio.TaskGroup) -> None:
        self.manners = manners
        self.clock = manners.clock
        self.patience = patience
        self.connections: set[Connection] = set()
        self.idle: dict[Connection, None] = {}
        self.idle_s = patience.idle_s
        self.announce_at_s = inf
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty: asyncio.Future[None] | None = None
        self._shut = False

    @property
    def is_empty(self) -> bool:
        """Whether no connection and no task is left."""
        return not self._tasks and not self.connections

    async def until_empty(self) -> None:
        """Returns when no connection and no task is left."""
        while not self.is_empty:
            self._empty = asyncio.get_running_loop().create_future()
            await self._empty

    def spawn(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> asyncio.Task[None] | None:
        """Runs a task, which must not raise; None where the server has ended."""
        if self._shut:
            return None
        task = self._group.create_task(work(*arguments))
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def make_room(self) -> bool:
        """Ends the connection that has been idle for longest; False where none has been for long enough."""
        for connection in self.idle:
            if self.clock() - connection.idle_since_s < _SETTLED_S:
                return False
            connection.end()
            return True
        return False

    def leave(self, *, linger_s: float, announce_in_s: float) -> None:
        """From now on idle connections end after ``linger_s``; busy h2 ones are asked to end after the other time."""
        self.idle_s = linger_s
        self.announce_at_s = self.clock() + announce_in_s
        for connection in list(self.idle):
            connection.await_request()

    def sweep(self) -> None:
        """Ends what has taken too long."""
        now_s = self.clock()
        for connection in list(self.connections):
            connection.check(now_s)

    def left(self, connection: Connection) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        self.idle.pop(connection, None)
        self._tell_empty()

    def shut(self) -> None:
        """Cuts whatever is left."""
        self._shut = True
        for connection in self.connections:
            connection.abort()
        for task in self._tasks:
            task.cancel()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._tell_empty()

    def _tell_empty(self) -> None:
        if self._empty is not None and not self._empty.done() and self.is_empty:
            self._empty.set_result(None)
