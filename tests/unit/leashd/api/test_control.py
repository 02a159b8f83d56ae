"""What people ask of the daemon where it is about many runs: in pages, and in parts that hold nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from leash.v1 import control_pb2
from leashd.activity import Activity
from leashd.api import control
from leashd.api.control import ControlService
from leashd.clock import LedgerClock
from leashd.committer import Committer
from leashd.host import Host
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.operations import CloseRun, Hello, OpenRun, Operation, ReserveCall
from tests.unit.leashd.desk import Stream, call_id

pytestmark = pytest.mark.anyio

NAME = b"session1"


class Office:
    """A daemon without its sockets."""

    def __init__(self, path: Path) -> None:
        self.ledger = LmdbLedger(path)
        self.committer = Committer(self.ledger, LedgerClock(None))
        self.link = Stream()
        host = Host(version="1", pid=1, uid=7, started_at_ns=0)
        self._service: Any = ControlService(self.committer, self.ledger, Activity(), host)

    async def ask(self, *operations: Operation) -> list[Any]:
        """The answers, in order."""
        futures = [asyncio.get_running_loop().create_future() for _ in operations]
        for operation, future in zip(operations, futures, strict=True):
            self.committer.submit(operation, future.set_result)
        return await asyncio.gather(*futures)

    async def open(self, *runs: str) -> None:
        opening: dict[str, Any] = {"owner_uid": 7, "given": {}, "defaults": {}, "prices_sha256": b"", "pid": 0}
        await self.ask(*(OpenRun(session=NAME, link=self.link, run=run, **opening) for run in runs))

    async def close(self, *runs: str) -> None:
        await self.ask(*(CloseRun(NAME, self.link, run) for run in runs))

    async def named(self, name: str, *, every: bool) -> list[str]:
        request = control_pb2.ListRequest(name=name, all=every)
        return [account.run async for page in self._service.List(request, None) for account in page.accounts]

    async def kill(self, *runs: str, every: bool = False) -> tuple[list[str], list[str], list[str]]:
        answer = await self._service.Kill(control_pb2.KillRequest(runs=runs, all=every), None)
        return list(answer.killed), list(answer.unknown), list(answer.already_stopped)


@pytest.fixture
async def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    # So few that every answer has more than one part.
    monkeypatch.setattr(control, "NAMES_PAGE", 2)
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
