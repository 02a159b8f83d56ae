"""What people ask of the daemon where it is about many runs: in pages, and in parts that hold nobody up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest

from leash.sockets import TICKET_METADATA
from leash.v1 import control_pb2, runs_pb2
from leashd.activity import Activity
from leashd.api import control, runs
from leashd.api.callers import Callers
from leashd.api.control import ControlService
from leashd.api.runs import RunsService
from leashd.clock import LedgerClock
from leashd.committer import Committer
from leashd.host import Host
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.operations import CloseRun, Hello, OpenRun, Operation, ReserveCall
from leashd.tickets import LIFE_NS, Caller, Tickets
from tests.unit.leashd.desk import Stream, call_id

pytestmark = pytest.mark.anyio

NAME = b"session1"
TICKETS = Tickets(bytes(32))


class AbortedError(Exception):
    """The call has ended with a status."""


class Call:
    """The context of a call with a ticket; ``ticket`` is another one, or none."""

    def __init__(self, uid: int = 7, *, ticket: bytes | None = b"") -> None:
        self._ticket = TICKETS.issue(Caller(uid), time.monotonic_ns()) if ticket == b"" else ticket

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        return () if self._ticket is None else (("user-agent", "test"), (TICKET_METADATA, self._ticket))

    async def send_initial_metadata(self, metadata: tuple[()]) -> None:
        assert metadata == ()

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise AbortedError(code, details)


class Office:
    """A daemon without its sockets."""

    def __init__(self, path: Path) -> None:
        self.ledger = LmdbLedger(path)
        self.committer = Committer(self.ledger, LedgerClock(None))
        self.link = Stream()
        host = Host(version="1", pid=1, uid=7, started_at_ns=0)
        activity, callers = Activity(), Callers(TICKETS)
        self._service: Any = ControlService(self.committer, self.ledger, activity, callers)
        about = (self.committer, self.ledger, activity, host, callers)
        self._runs: Any = RunsService(*about, own_only=False)
        self.own_runs: Any = RunsService(*about, own_only=True)

    async def ask(self, *operations: Operation) -> list[Any]:
        """The answers, in order."""
        futures = [asyncio.get_running_loop().create_future() for _ in operations]
        for operation, future in zip(operations, futures, strict=True):
            self.committer.submit(operation, future.set_result)
        return await asyncio.gather(*futures)

    async def open(self, *runs: str, by: int = 7) -> None:
        opening: dict[str, Any] = {"owner_uid": by, "given": {}, "defaults": {}, "prices_sha256": b"", "pid": 0}
        await self.ask(*(OpenRun(session=NAME, link=self.link, run=run, **opening) for run in runs))

    async def close(self, *runs: str) -> None:
        await self.ask(*(CloseRun(NAME, self.link, run) for run in runs))

    async def named(self, name: str, *, every: bool) -> list[str]:
        request = runs_pb2.ListRequest(name=name, all=every)
        return [account.run async for page in self._runs.List(request, Call()) for account in page.accounts]

    async def kill(self, *runs: str, every: bool = False) -> tuple[list[str], list[str], list[str]]:
        answer = await self._service.Kill(control_pb2.KillRequest(runs=runs, all=every), Call(uid=5))
        return list(answer.killed), list(answer.unknown), list(answer.already_stopped)


@pytest.fixture
async def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    # So few that every answer has more than one part.
    monkeypatch.setattr(control, "NAMES_PAGE", 2)
    monkeypatch.setattr(runs, "NAMES_PAGE", 2)
    monkeypatch.setattr(control, "KILLED_TOGETHER", 2)
    office = Office(tmp_path / "leash.db")
    running = asyncio.create_task(office.committer.run())
    await office.ask(Hello(NAME, frozenset(), office.link))
    yield office
    office.committer.stop()
    await running
    office.ledger.close()


async def test_runs_are_found_by_their_bare_name(office: Office) -> None:
    await office.open("a/r", "a/s", "b/r", "b/r2", "c/x-r", "r", "s", "z/r")
    await office.close("b/r")

    assert await office.named("r", every=True) == ["a/r", "b/r", "r", "z/r"]
    assert await office.named("r", every=False) == ["a/r", "r", "z/r"]
    assert await office.named("a/r", every=True) == ["a/r"]
    assert await office.named("nobody", every=True) == []


async def test_kill_all_stops_the_runs_that_are_not_finished(office: Office) -> None:
    await office.open("done", "two", "in-flight", "one", "stopped")
    await office.kill("stopped")
    bounds: dict[str, Any] = {"input_bound_tokens": 1, "output_bound_tokens": 1, "choices": 1}
    others: dict[str, Any] = {"server_tools": False, "service_tier": "", "unmeterable": False}
    reserve = ReserveCall(
        session=NAME, link=office.link, run="in-flight", call=call_id(1), model="m", **bounds, **others
    )
    await office.ask(reserve)
    await office.close("done", "in-flight")

    assert await office.kill(every=True) == (["two", "in-flight", "one"], [], ["stopped"])
    assert await office.kill(every=True) == ([], [], ["two", "in-flight", "one", "stopped"])


async def test_a_kill_of_many_names_tells_what_became_of_each_once(office: Office) -> None:
    await office.open("a", "b", "c")
    await office.kill("b")

    assert await office.kill("a", "x", "b", "a", "y", "c") == (["a", "c"], ["x", "y"], ["b"])


async def test_a_caller_is_shown_her_own_runs_and_no_sign_of_others(office: Office) -> None:
    await office.open("a/mine", by=7)
    await office.open("b/theirs", by=8)
    service = office.own_runs

    async def listed(**request: Any) -> list[str]:
        pages = service.List(runs_pb2.ListRequest(**request), Call(7))
        return [account.run async for page in pages for account in page.accounts]

    assert await listed() == await listed(all=True) == ["a/mine"]
    assert await listed(name="theirs") == []
    assert (await service.Get(runs_pb2.GetRequest(run="a/mine"), Call(7))).account.owner_uid == 7
    pages = [page async for page in service.Journal(runs_pb2.JournalRequest(run="a/mine"), Call(7))]
    assert [(entry.kind, entry.actor_uid) for page in pages for entry in page.entries] == [("opened", 7)]
    told = []
    for run in ("b/theirs", "b/nobodys"):
        with pytest.raises(AbortedError) as refused:
            await service.Get(runs_pb2.GetRequest(run=run), Call(7))
        with pytest.raises(AbortedError):
            await anext(service.Journal(runs_pb2.JournalRequest(run=run), Call(7)))
        told.append((refused.value.args[0], refused.value.args[1].replace(run, "RUN")))
    assert told == [(grpc.StatusCode.NOT_FOUND, "no run RUN")] * 2


async def test_a_caller_watches_her_own_runs(office: Office) -> None:
    watched = office.own_runs.Watch(runs_pb2.WatchRequest(), Call(7))
    first = asyncio.create_task(anext(watched))
    await asyncio.sleep(0)
    await office.open("b/theirs", by=8)
    await office.open("a/mine", by=7)
    with anyio.fail_after(20):
        assert (await first).run == "a/mine"
    await watched.aclose()


async def test_a_kill_names_who_did_it(office: Office) -> None:
    await office.open("r")
    await office.kill("r")
    account = office.ledger.account("r")
    assert account is not None
    stopped = list(office.ledger.journal(account.number))[-1].entry.event
    assert getattr(stopped, "actor_uid", None) == 5


@pytest.mark.parametrize("ticket", [None, b"", b"x", bytes(29), bytes(1000)], ids=["none", "old", "x", "zeros", "long"])
async def test_without_a_good_ticket_nothing_is_done_and_nothing_is_shown(office: Office, ticket: bytes | None) -> None:
    await office.open("r")
    old = TICKETS.issue(Caller(7), time.monotonic_ns() - LIFE_NS)
    call = Call(ticket=old if ticket == b"" else ticket)
    with pytest.raises(AbortedError, match=r"ticket\.sock") as refused:
        await office._service.Kill(control_pb2.KillRequest(runs=["r"]), call)
    assert refused.value.args[0] is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(AbortedError):
        await anext(office._runs.List(runs_pb2.ListRequest(), call))
    account = office.ledger.account("r")
    assert account is not None
    assert account.stop is None
