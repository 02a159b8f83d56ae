"""What the daemons of a host tell about their runs, as it happens. It follows their streams, and never polls a run.

The rule: a daemon that goes away, hangs or comes back costs the others nothing, and is told of in a sentence.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import anyio

from leash.client.control import ControlClient
from leash.client.errors import ClientError, NotFound
from leash.client.probe import Reach, probe
from leash.live.spending import WINDOW_NS
from leash.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from leash.client.paths import Endpoint
    from leash.v1 import runs_pb2

# A daemon that has just been started is seen after this. A look at the directories of sockets costs next to nothing.
_LOOK_EVERY_S = 3.0

# A daemon that has gone may be back within a moment; one that does not come back is asked for ever more seldom.
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0

# An older daemon does not tell that it has begun to watch; its list is asked for after this long all the same.
_SUBSCRIBE_S = 1.0

# A run's pace is known from the first moment where its last entries are read: so many runs, the latest, and so many
# entries of each, which are two for each call.
_MOST_READ_BACK = 200
_ENTRIES_READ_BACK = 128


class Sink(Protocol):
    """Who takes what a feed tells, in the feed's own event loop. ``source`` names a daemon's ledger."""

    def listed(self, source: str, accounts: list[types_pb2.Account], *, asked_at_ns: int) -> None:
        """Every run of a source, as of now."""

    def changed(self, source: str, change: runs_pb2.WatchResponse) -> None:
        """One entry, with the account after it."""

    def earlier(self, source: str, run: str, entries: list[types_pb2.Entry]) -> None:
        """The last entries of a run from before it was watched."""

    def reached(self, source: str, endpoint: Endpoint) -> None:
        """A source can be asked, at this endpoint."""

    def lost(self, source: str, why: str) -> None:
        """A source cannot be asked now; another attempt is made by and by."""


class Feed:
    """Follows every daemon that ``find`` names, now and later.

    ``lists`` is whether the runs of now are told of as well; ``show_finished`` has the finished ones among them.
    """

    def __init__(
        self, find: Callable[[], list[Endpoint]], sink: Sink, *, lists: bool = True, show_finished: bool = False
    ) -> None:
        self._find = find
        self._sink = sink
        self._lists = lists
        self._show_finished = show_finished
        self._followed: set[str] = set()

    async def follow(self) -> None:
        """Follows until it is cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                for endpoint in await anyio.to_thread.run_sync(self._find, abandon_on_cancel=True):
                    name = str(endpoint.control_socket)
                    if name not in self._followed:
                        self._followed.add(name)
                        group.start_soon(self._follow_one, endpoint, name)
                await anyio.sleep(_LOOK_EVERY_S)

    async def _follow_one(self, endpoint: Endpoint, name: str) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            following = _Following(self._sink, lists=self._lists, show_finished=self._show_finished)
            why = await following.until_lost(endpoint)
            self._sink.lost(following.source or name, why)
            if following.source:
                pause_s = _FIRST_PAUSE_S
            # It is not for whoever looks on to start a daemon that was ended.
            await anyio.sleep(pause_s)
            while _is_dead(endpoint):  # noqa: ASYNC110 (no event tells of a socket)
                await anyio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


class _Following:
    """One connection to one daemon. ``source`` is its ledger's path, once that is known."""

    def __init__(self, sink: Sink, *, lists: bool, show_finished: bool) -> None:
        self.source = ""
        self._sink = sink
        self._lists = lists
        self._show_finished = show_finished
        self._subscribed = anyio.Event()
        self._stale = anyio.Event()

    async def until_lost(self, endpoint: Endpoint) -> str:
        """Follows a daemon until it cannot be asked any more; returns why."""
        try:
            # A client whose request fails hangs up, so what watches has one of its own.
            async with ControlClient(endpoint) as watching, ControlClient(endpoint) as client:
                self.source = (await client.info()).ledger
                self._sink.reached(self.source, endpoint)
                async with anyio.create_task_group() as group:
                    if self._lists:
                        group.start_soon(self._keep_listed, client)
                    await self._watch(watching)
                    group.cancel_scope.cancel()
        except ClientError as error:
            return str(error)
        except BaseExceptionGroup as group:
            failures = group.split(ClientError)
            if failures[0] is None or failures[1] is not None:
                raise
            return str(first_of(failures[0]))
        return f"leashd at {endpoint.socket} has ended"

    async def _watch(self, client: ControlClient) -> None:
        async for change in client.watch(subscribed=self._subscribed.set):
            if change.missed:
                self._stale.set()
            self._sink.changed(self.source, change)

    async def _keep_listed(self, client: ControlClient) -> None:
        """Lists the runs once they are watched, and again wherever changes were missed."""
        with anyio.move_on_after(_SUBSCRIBE_S):
            await self._subscribed.wait()
        while True:
            asked_at_ns = time.time_ns()
            accounts = await client.list(all=self._show_finished)
            self._sink.listed(self.source, accounts, asked_at_ns=asked_at_ns)
            await self._read_back(client, accounts)
            await self._stale.wait()
            self._stale = anyio.Event()

    async def _read_back(self, client: ControlClient, accounts: list[types_pb2.Account]) -> None:
        """Reads the last entries of the runs that have been at work just now."""
        now_ns = time.time_ns()
        recent = [
            account
            for account in accounts
            if account.status == types_pb2.STATUS_RUNNING and now_ns - account.last_call_at_unix_ns < WINDOW_NS
        ]
        recent.sort(key=lambda account: account.last_call_at_unix_ns, reverse=True)
        for account in recent[:_MOST_READ_BACK]:
            after_seq = max(account.entries - _ENTRIES_READ_BACK, 0)
            with suppress(NotFound):  # it was pruned just now
                entries = await client.journal(account.run, after_seq=after_seq, limit=_ENTRIES_READ_BACK)
                self._sink.earlier(self.source, account.run, entries)


def _is_dead(endpoint: Endpoint) -> bool:
    return probe(endpoint.control_socket) is Reach.DEAD and probe(endpoint.socket) is Reach.DEAD


def first_of(group: BaseException) -> BaseException:
    """The first error in a group of them, which may hold groups itself."""
    return first_of(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group
