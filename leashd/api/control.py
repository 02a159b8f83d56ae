"""The service for people: see every run, kill, raise, resolve, watch."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import anyio
import grpc.aio

from leash.v1 import control_pb2, control_pb2_grpc
from leashd.activity import Activity
from leashd.api import convert
from leashd.api.ask import ask
from leashd.api.convert import InvalidMessageError
from leashd.api.entries import entry_message, stored_entry_message
from leashd.committer import Committer
from leashd.core.account import Account, Status
from leashd.core.bounds import MAX_CALL_NANODOLLARS
from leashd.core.events import Entry
from leashd.host import Host
from leashd.ledger.protocol import Ledger
from leashd.operations import AccountShown, Kill, Kills, Raise, Resolve

PAGE = 256  # accounts or entries in a message: about 100 kB, and some milliseconds of work between two other tasks
NAMES_PAGE = 4_096  # names read between two other tasks: some milliseconds, as well
KILLED_TOGETHER = 256  # runs in one operation, so that a kill of thousands holds nobody up
MAX_SHOWN_UNRESOLVED = 100  # unresolved calls in one account; more than a person reads
MAX_WATCHED = 4_096  # events that a watcher has not taken; a slower one is told how many it missed

_Context = grpc.aio.ServicerContext[Any, Any]


class ControlService(control_pb2_grpc.ControlServicer):
    """Lists, inspects, kills, raises, resolves and watches, for people."""

    def __init__(self, committer: Committer, ledger: Ledger, activity: Activity, host: Host) -> None:
        self._committer = committer
        self._ledger = ledger
        self._activity = activity
        self._host = host

    async def List(  # noqa: N802
        self, request: control_pb2.ListRequest, context: _Context
    ) -> AsyncIterator[control_pb2.ListResponse]:
        """The accounts, by name."""
        del context
        with self._activity.busy():
            if request.name:
                async for account in self._named(request.name):
                    if request.all or account.status is not Status.FINISHED:
                        yield control_pb2.ListResponse(accounts=[self._message(account)])
                return
            after = ""
            while page := list(islice(self._ledger.accounts(after), PAGE)):
                after = page[-1].run
                shown = [account for account in page if request.all or account.status is not Status.FINISHED]
                yield control_pb2.ListResponse(accounts=[self._message(account) for account in shown])
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

    async def Get(self, request: control_pb2.GetRequest, context: _Context) -> control_pb2.GetResponse:  # noqa: N802
        """One account."""
        with self._activity.busy():
            account = await self._account(request.run, context)
            message = self._message(account)
            calls = islice(self._ledger.unresolved_calls(account.number), MAX_SHOWN_UNRESOLVED)
            message.unresolved.extend(convert.unresolved_message(call) for _, call in calls)
            return control_pb2.GetResponse(account=message)

    async def Journal(  # noqa: N802
        self, request: control_pb2.JournalRequest, context: _Context
    ) -> AsyncIterator[control_pb2.JournalResponse]:
        """The journal of one run."""
        with self._activity.busy():
            account = await self._account(request.run, context)
            after, left = max(0, request.after_seq), request.limit or 2**63
            while left > 0 and (page := list(islice(self._ledger.journal(account.number, after), min(PAGE, left)))):
                after = page[-1].entry.seq
                left -= len(page)
                yield control_pb2.JournalResponse(entries=[stored_entry_message(stored) for stored in page])
                await anyio.lowlevel.checkpoint()

    async def Kill(self, request: control_pb2.KillRequest, context: _Context) -> control_pb2.KillResponse:  # noqa: N802
        """Stops runs for good."""
        with self._activity.busy():
            runs = [run async for run in self._unfinished()] if request.all else list(dict.fromkeys(request.runs))
            response = control_pb2.KillResponse()
            for start in range(0, len(runs), KILLED_TOGETHER):
                together = tuple(runs[start : start + KILLED_TOGETHER])
                answer = await ask(self._committer, Kill(together, request.now, self._host.uid), context)
                assert isinstance(answer, Kills)
                response.killed.extend(answer.killed)
                response.unknown.extend(answer.unknown)
                response.already_stopped.extend(answer.already_stopped)
            return response

    async def _unfinished(self) -> AsyncIterator[str]:
        """Every run that some session has open, or that has a call open, in the order in which they were made."""
        numbers = {number for _, number in self._ledger.openers()}
        numbers |= {key.number for key in self._ledger.open_call_keys()}
        for count, number in enumerate(sorted(numbers), start=1):
            name = self._ledger.run_name(number)
            assert name is not None
            yield name
            if count % NAMES_PAGE == 0:
                await anyio.lowlevel.checkpoint()

    async def Raise(self, request: control_pb2.RaiseRequest, context: _Context) -> control_pb2.RaiseResponse:  # noqa: N802
        """Sets limits of a run and lifts its stop."""
        with self._activity.busy():
            try:
                given = convert.given_limits(request.limits)
            except InvalidMessageError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            operation = Raise(run=request.run, given=given, resume=request.resume, actor_uid=self._host.uid)
            answer = await ask(self._committer, operation, context)
            assert isinstance(answer, AccountShown)
            return control_pb2.RaiseResponse(account=self._message(answer.account))

    async def Resolve(  # noqa: N802
        self, request: control_pb2.ResolveRequest, context: _Context
    ) -> control_pb2.ResolveResponse:
        """Closes an unresolved call by a person's word."""
        with self._activity.busy():
            cost = request.cost_nanodollars if request.HasField("cost_nanodollars") else None
            if not request.call_id or (cost is not None and not 0 <= cost <= MAX_CALL_NANODOLLARS):
                message = "name a call, and a cost between zero and what one call may cost"
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
            operation = Resolve(request.run, request.call_id, cost, self._host.uid)
            answer = await ask(self._committer, operation, context)
            assert isinstance(answer, AccountShown)
            return control_pb2.ResolveResponse(account=self._message(answer.account), call_id=answer.call)

    async def Watch(  # noqa: N802
        self, request: control_pb2.WatchRequest, context: _Context
    ) -> AsyncIterator[control_pb2.WatchResponse]:
        """Entries as they are committed."""
        del context
        with self._activity.busy():
            watch = _Watch(request.run)
            unwatch = self._committer.watch(watch.committed)
            try:
                while True:
                    for account, entry, missed in await watch.taken():
                        yield control_pb2.WatchResponse(
                            run=account.run,
                            entry=entry_message(entry),
                            account=self._message(account),
                            missed=missed,
                        )
            finally:
                unwatch()

    async def Info(self, request: control_pb2.InfoRequest, context: _Context) -> control_pb2.InfoResponse:  # noqa: N802
        """About the daemon."""
        del request, context
        with self._activity.busy():
            return control_pb2.InfoResponse(
                version=self._host.version,
                protocol=convert.PROTOCOL,
                pid=self._host.pid,
                ledger=self._ledger.path,
                owner_uid=self._host.uid,
                started_at_unix_ns=self._host.started_at_ns,
                sessions=self._committer.engine.connected_sessions,
                open_calls=sum(1 for _ in self._ledger.open_call_keys()),
                entries_committed=self._committer.figures.entries,
                commits=self._committer.figures.commits,
                read_only=self._committer.read_only,
            )

    async def _account(self, run: str, context: _Context) -> Account:
        account = self._ledger.account(run) if run else None
        if account is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no run {run}")
        return account

    def _message(self, account: Account) -> Any:
        return convert.account_message(account, self._committer.now_ns(), pid=self._committer.engine.pid(account))


class _Watch:
    """What one watcher has not taken yet."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._events: deque[tuple[Account, Entry, int]] = deque()
        self._missed = 0
        self._arrived = anyio.Event()

    def committed(self, entries: list[tuple[Account, Entry]]) -> None:
        """Takes what a commit has written."""
        for account, entry in entries:
            if self._run and account.run != self._run:
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
