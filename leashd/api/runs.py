"""The service that shows runs: list, inspect, watch, and the daemon itself. It changes nothing.

The rule: on the socket for shims a caller sees the runs that are hers, and is told of no other that it exists.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Any

import anyio
import grpc.aio

from leash.protocol import NEWEST_PROTOCOL, OLDEST_PROTOCOL
from leash.v1 import runs_pb2, runs_pb2_grpc
from leashd.activity import Activity
from leashd.api import convert
from leashd.api.callers import Callers
from leashd.api.entries import entry_message, stored_entry_message
from leashd.committer import Committer
from leashd.core.account import Account, Status
from leashd.core.events import Entry
from leashd.host import Host
from leashd.ledger.protocol import Ledger
from leashd.tickets import Caller

PAGE = 256  # accounts or entries in a message: about 100 kB, and some milliseconds of work between two other tasks
NAMES_PAGE = 4_096  # names read between two other tasks: some milliseconds, as well
MAX_SHOWN_UNRESOLVED = 100  # unresolved calls in one account; more than a person reads
MAX_WATCHED = 4_096  # events that a watcher has not taken; a slower one is told how many it missed

_Context = grpc.aio.ServicerContext[Any, Any]


class RunsService(runs_pb2_grpc.RunsServicer):
    """Lists, inspects and watches; ``own_only`` for the runs of the caller alone."""

    def __init__(  # noqa: PLR0913 - the parts of a daemon, and whose runs are shown
        self,
        committer: Committer,
        ledger: Ledger,
        activity: Activity,
        host: Host,
        callers: Callers,
        *,
        own_only: bool,
    ) -> None:
        self._committer = committer
        self._ledger = ledger
        self._activity = activity
        self._host = host
        self._callers = callers
        self._own_only = own_only

    async def List(  # noqa: N802
        self, request: runs_pb2.ListRequest, context: _Context
    ) -> AsyncIterator[runs_pb2.ListResponse]:
        """The accounts, by name."""
        with self._activity.busy():
            sees = self._sees(await self._callers.of(context))

            def is_shown(account: Account) -> bool:
                return sees(account) and (request.all or account.status is not Status.FINISHED)

            if request.name:
                async for account in self._named(request.name):
                    if is_shown(account):
                        yield runs_pb2.ListResponse(accounts=[self._message(account)])
                return
            after = ""
            while page := list(islice(self._ledger.accounts(after), PAGE)):
                after = page[-1].run
                yield runs_pb2.ListResponse(accounts=[self._message(account) for account in page if is_shown(account)])
                await anyio.lowlevel.checkpoint()

    async def _named(self, wanted: str) -> AsyncIterator[Account]:
        """The runs of a name, without a tenant or with any. Of the others the names are read, and not the accounts."""
        after = ""
        while page := list(islice(self._ledger.run_names(after=after), NAMES_PAGE)):
            after = page[-1]
            for name in page:
                if name == wanted or name.endswith(f"/{wanted}"):
                    account = self._ledger.account(name)
                    assert account is not None
                    yield account
            await anyio.lowlevel.checkpoint()

    async def Get(self, request: runs_pb2.GetRequest, context: _Context) -> runs_pb2.GetResponse:  # noqa: N802
        """One account."""
        with self._activity.busy():
            account = await self._account(request.run, context)
            message = self._message(account)
            calls = islice(self._ledger.unresolved_calls(account.number), MAX_SHOWN_UNRESOLVED)
            message.unresolved.extend(convert.unresolved_message(call) for _, call in calls)
            return runs_pb2.GetResponse(account=message)

    async def Journal(  # noqa: N802
        self, request: runs_pb2.JournalRequest, context: _Context
    ) -> AsyncIterator[runs_pb2.JournalResponse]:
        """The journal of one run."""
        with self._activity.busy():
            account = await self._account(request.run, context)
            after, left = max(0, request.after_seq), request.limit or 2**63
            while left > 0 and (page := list(islice(self._ledger.journal(account.number, after), min(PAGE, left)))):
                after = page[-1].entry.seq
                left -= len(page)
                yield runs_pb2.JournalResponse(entries=[stored_entry_message(stored) for stored in page])
                await anyio.lowlevel.checkpoint()

    async def Watch(  # noqa: N802
        self, request: runs_pb2.WatchRequest, context: _Context
    ) -> AsyncIterator[runs_pb2.WatchResponse]:
        """Entries as they are committed."""
        with self._activity.busy():
            watch = _Watch(request.run, self._sees(await self._callers.of(context)))
            unwatch = self._committer.watch(watch.committed)
            try:
                # Whoever waits for it and then lists the runs misses nothing in between.
                await context.send_initial_metadata(())
                while True:
                    for account, entry, missed in await watch.taken():
                        yield runs_pb2.WatchResponse(
                            run=account.run,
                            entry=entry_message(entry),
                            account=self._message(account),
                            missed=missed,
                        )
            finally:
                unwatch()

    async def Info(self, request: runs_pb2.InfoRequest, context: _Context) -> runs_pb2.InfoResponse:  # noqa: N802
        """About the daemon."""
        del request
        with self._activity.busy():
            await self._callers.of(context)
            return runs_pb2.InfoResponse(
                version=self._host.version,
                protocol=NEWEST_PROTOCOL,
                oldest_protocol=OLDEST_PROTOCOL,
                pid=self._host.pid,
                ledger=self._ledger.path,
                owner_uid=self._host.uid,
                started_at_unix_ns=self._host.started_at_ns,
                sessions=self._committer.engine.connected_sessions,
                open_calls=sum(1 for _ in self._ledger.open_call_keys()),
                entries_committed=self._committer.figures.entries,
                commits=self._committer.figures.commits,
                read_only=self._committer.read_only,
                system=self._host.system,
            )

    def _sees(self, caller: Caller) -> Callable[[Account], bool]:
        """Which runs a caller is shown."""
        return (lambda account: account.owner_uid == caller.uid) if self._own_only else (lambda _account: True)

    async def _account(self, run: str, context: _Context) -> Account:
        sees = self._sees(await self._callers.of(context))
        account = self._ledger.account(run) if run else None
        if account is None or not sees(account):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no run {run}")
        return account

    def _message(self, account: Account) -> Any:
        return convert.account_message(account, self._committer.now_ns(), pid=self._committer.engine.pid(account))


class _Watch:
    """What one watcher has not taken yet."""

    def __init__(self, run: str, sees: Callable[[Account], bool]) -> None:
        self._run = run
        self._sees = sees
        self._events: deque[tuple[Account, Entry, int]] = deque()
        self._missed = 0
        self._arrived = anyio.Event()

    def committed(self, entries: list[tuple[Account, Entry]]) -> None:
        """Takes what a commit has written."""
        for account, entry in entries:
            if (self._run and account.run != self._run) or not self._sees(account):
                continue
            if len(self._events) >= MAX_WATCHED:
                self._missed += 1
                continue
            self._events.append((account, entry, self._missed))
            self._missed = 0
        self._arrived.set()

    async def taken(self) -> list[tuple[Account, Entry, int]]:
        """Everything that has arrived, waiting for the first."""
        await self._arrived.wait()
        self._arrived = anyio.Event()
        events = list(self._events)
        self._events.clear()
        return events
