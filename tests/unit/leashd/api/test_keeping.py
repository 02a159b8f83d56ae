"""Verify, backup and prune as the daemon serves them: nobody who hangs up or stops reading leaves anything behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio
import pytest

from leash.sockets import TICKET_METADATA
from leash.v1 import control_pb2, control_pb2_grpc
from leashd.activity import Activity
from leashd.api import keeping
from leashd.api.callers import Callers
from leashd.api.control import ControlService
from leashd.clock import LedgerClock
from leashd.committer import Committer
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import Batch
from leashd.tickets import Caller, Tickets

pytestmark = pytest.mark.anyio

BOUND_S = 20.0
TICKETS = Tickets(bytes(32))
BLOB_BYTES = 1 << 20
BLOBS = 32  # far more than is under way between the daemon and a client

# A process that tells how far it is and never ends.
STUCK = """
import sys, time
print('{"runs":1,"entries":2,"total_entries":3}', flush=True)
open(sys.argv[1], "w").write(str(__import__("os").getpid()))
time.sleep(600)
"""


class Keeper:
    """A daemon's service for people on a socket, and a client of it."""

    def __init__(self, root: Path) -> None:
        self.ledger = LmdbLedger(root / "leash.db")
        self.committer = Committer(self.ledger, LedgerClock(None))
        self.activity = Activity()
        self.service: Any = ControlService(self.committer, self.ledger, self.activity, Callers(TICKETS))
        self._socket = root / "control.sock"
        self._server = grpc.aio.server()

    async def __aenter__(self) -> Self:
        control_pb2_grpc.add_ControlServicer_to_server(self.service, self._server)
        self._server.add_insecure_port(f"unix:{self._socket}")
        await self._server.start()
        self._channel = grpc.aio.insecure_channel(f"unix:{self._socket}")
        self._stub: Any = control_pb2_grpc.ControlStub(self._channel)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._channel.close()
        await self._server.stop(None)
        self.ledger.close()

    def ask(self, method: str, request: Any) -> Any:
        ticket = TICKETS.issue(Caller(7), time.monotonic_ns())
        return getattr(self._stub, method)(request, metadata=((TICKET_METADATA, ticket),))


@pytest.fixture
def root() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="lk-", dir="/tmp")).resolve()
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def keeper(root: Path) -> AsyncIterator[Keeper]:
    async with Keeper(root) as started:
        yield started


async def until(condition: Any) -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110 - of another process, or another task that tells nobody
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def fill(ledger: LmdbLedger) -> None:
    for number in range(BLOBS):
        ledger.commit(Batch(prices={bytes((number,)): os.urandom(BLOB_BYTES)}))


async def test_a_backup_that_is_not_read_is_cut_off(keeper: Keeper) -> None:
    fill(keeper.ledger)
    keeper.service._taken_s = 0.2
    call = keeper.ask("Backup", control_pb2.BackupRequest())
    await until(lambda: keeper.activity.idle_s() == 0)
    await until(lambda: keeper.activity.idle_s() > 0)

    with pytest.raises(grpc.aio.AioRpcError) as cut:
        async for _ in call:
            pass
    assert cut.value.code() is grpc.StatusCode.ABORTED
    assert "not read" in (cut.value.details() or "")
    # The next one is not held up by it, and is whole.
    keeper.service._taken_s = BOUND_S
    size = sum([len(piece.data) async for piece in keeper.ask("Backup", control_pb2.BackupRequest())])
    assert size > BLOBS * BLOB_BYTES


async def test_who_hangs_up_ends_the_copy(keeper: Keeper) -> None:
    fill(keeper.ledger)
    call = keeper.ask("Backup", control_pb2.BackupRequest())
    first = await call.read()
    assert len(first.data) <= keeping.CHUNK_BYTES
    assert first.total_bytes >= BLOBS * BLOB_BYTES
    call.cancel()
    await until(lambda: keeper.activity.idle_s() > 0)
    await until(lambda: not keeper.ledger._copying.locked())


async def test_the_audits_process_ends_with_who_asked_for_it(
    keeper: Keeper, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = root / "pid"
    stuck = [sys.executable, "-c", STUCK, str(pid_file)]
    monkeypatch.setattr(keeping, "command", lambda *_arguments: stuck)
    call = keeper.ask("Verify", control_pb2.VerifyRequest())
    first = await call.read()
    assert (first.runs, first.entries, first.total_entries, first.done) == (1, 2, 3, False)
    await until(lambda: pid_file.exists() and pid_file.read_text())

    with pytest.raises(grpc.aio.AioRpcError) as second:
        await keeper.ask("Verify", control_pb2.VerifyRequest()).read()
    assert second.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    call.cancel()
    await until(lambda: not is_alive(int(pid_file.read_text())))
    await until(lambda: keeper.activity.idle_s() > 0)
    monkeypatch.undo()
    responses = [response async for response in keeper.ask("Verify", control_pb2.VerifyRequest())]
    assert (responses[-1].done, responses[-1].HasField("difference")) == (True, False)


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["as the daemon runs it"])
async def test_no_handler_of_a_fork_runs_in_the_audits_process(anyio_backend: object, keeper: Keeper) -> None:
    # Those of gRPC start threads there, one of which may end it by SIGSEGV, which would read as a damaged ledger.
    is_armed = [True]
    os.register_at_fork(after_in_child=lambda: os._exit(99) if is_armed else None)
    try:
        responses = [response async for response in keeper.ask("Verify", control_pb2.VerifyRequest())]
    finally:
        is_armed.clear()
    assert responses[-1].done


async def test_an_audit_that_dies_of_damaged_pages_is_a_difference(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    monkeypatch.setattr(keeping, "command", lambda *_arguments: dying)
    [response] = [response async for response in keeper.ask("Verify", control_pb2.VerifyRequest())]
    assert "SIGSEGV" in response.difference.what


async def test_an_audit_that_fails_otherwise_is_an_error(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('no memory')"]
    monkeypatch.setattr(keeping, "command", lambda *_arguments: failing)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await keeper.ask("Verify", control_pb2.VerifyRequest()).read()
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert "no memory" in (failed.value.details() or "")


async def test_an_unknown_run_is_not_verified(keeper: Keeper) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await keeper.ask("Verify", control_pb2.VerifyRequest(run="nobody")).read()
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("Verify", control_pb2.VerifyRequest()),
        ("Backup", control_pb2.BackupRequest()),
        ("Prune", control_pb2.PruneRequest()),
    ],
)
async def test_who_has_no_ticket_gets_nothing(keeper: Keeper, method: str, request_: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(keeper._stub, method)(request_).read()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_nothing_is_pruned_before_it_is_old(keeper: Keeper) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await keeper.ask("Prune", control_pb2.PruneRequest(older_than_ns=-1)).read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    [response] = [response async for response in keeper.ask("Prune", control_pb2.PruneRequest())]
    assert (response.done, response.runs_seen) == (True, 0)
