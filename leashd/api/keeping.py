"""The part of the service for people that keeps the ledger whole and small: verify, backup, prune."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import asdict
from typing import Any

import anyio
import grpc.aio
import structlog

from leash.names import check_run_name
from leash.v1 import control_pb2, control_pb2_grpc
from leashd.activity import Activity
from leashd.api.ask import ask
from leashd.api.callers import Callers
from leashd.audit_process import State, Way, command, died, read_state
from leashd.committer import Committer
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import LedgerError
from leashd.operations import Answer, Prune
from leashd.retention import pruned_in_parts
from leashd.tickets import Caller

CHUNK_BYTES = 1 << 20  # of a backup in one message: a sixteenth of the largest that gRPC takes
# For one chunk. Who stops reading is cut off, since the snapshot that is copied keeps old pages from being used again.
TAKEN_S = 30.0
MAX_COPIERS = 4  # threads, of which one copies and the others wait for it: more than anybody makes backups at once

_Context = grpc.aio.ServicerContext[Any, Any]

_log = structlog.get_logger("leashd.api")


class Keeping(control_pb2_grpc.ControlServicer):
    """Verifies, copies and prunes, for people. The answers are written by the context, and nothing is returned."""

    def __init__(self, committer: Committer, ledger: LmdbLedger, activity: Activity, callers: Callers) -> None:
        self._committer = committer
        self._ledger = ledger
        self._activity = activity
        self._callers = callers
        self._is_verifying = False
        self._copiers = ThreadPoolExecutor(MAX_COPIERS, thread_name_prefix="copy")
        self._taken_s = TAKEN_S

    async def Verify(  # type: ignore[override]  # noqa: N802
        self, request: control_pb2.VerifyRequest, context: _Context
    ) -> None:
        """Refolds a run or the whole ledger in a process of its own, one at a time."""
        with self._activity.busy():
            await self._callers.of(context)
            if request.run:
                try:
                    check_run_name(request.run)  # as it goes on a command line
                except ValueError:
                    await context.abort(grpc.StatusCode.NOT_FOUND, f"no run {request.run}")
            if self._is_verifying:
                message = "the ledger is being verified for somebody else: try again when that has ended"
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
            self._is_verifying = True
            try:
                async with aclosing(self._states(request.run)) as states:
                    async for state in states:
                        await _check(state, context)
                        await context.write(_verify_response(state))
            finally:
                self._is_verifying = False

    async def _states(self, run: str) -> AsyncGenerator[State, None]:
        """What the audit's process writes; the last is done. The process ends with whoever leaves this."""
        # Not by the event loop, which forks: gRPC has handlers of a fork that start threads in the child, and one of
        # them may end it by SIGSEGV before it is the audit. What Popen starts runs no such handlers.
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - this interpreter; it returns once it is executed
            command(self._ledger.path, Way.BESIDE, run),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
        )
        state = State()
        try:
            with process:
                try:
                    assert process.stdout is not None
                    assert process.stderr is not None
                    rest = b""
                    while data := await _read(process.stdout.fileno()):
                        *lines, rest = (rest + data).split(b"\n")
                        for line in lines:
                            state = read_state(line)
                            yield state
                    said = b""
                    while data := await _read(process.stderr.fileno()):
                        said += data
                    returncode = await anyio.to_thread.run_sync(process.wait)
                except BaseException:
                    process.kill()
                    raise
        finally:
            self._ledger.forget_dead_readers()  # one that was killed still holds its pages
        if not state.done:
            yield died(state, returncode, said)

    async def Backup(  # type: ignore[override]  # noqa: N802
        self, request: control_pb2.BackupRequest, context: _Context
    ) -> None:
        """Copies the ledger as it is now, while calls go on."""
        del request
        with self._activity.busy():
            caller = await self._callers.of(context)
            try:
                failure = await self._copy(caller, context)
            except TimeoutError:
                _log.warning("backup_not_read", uid=caller.uid, seconds=self._taken_s)
            else:
                if failure is not None:
                    await context.abort(grpc.StatusCode.INTERNAL, str(failure))
                return
        # Behind what is not read the status waits as long as its client, who holds up nobody any more.
        await context.abort(grpc.StatusCode.ABORTED, f"the backup was not read for {self._taken_s:.0f} s: try again")

    async def _copy(self, caller: Caller, context: _Context) -> LedgerError | None:
        """Writes a copy that a thread makes, at the pace at which it is read. Raises TimeoutError where it is not."""
        total_bytes = self._ledger.size_bytes()
        copied_bytes = 0
        read_end, write_end = _pipe()
        copy = asyncio.get_running_loop().run_in_executor(self._copiers, self._copy_to, write_end)
        try:
            while chunk := await _read(read_end):
                async with asyncio.timeout(self._taken_s):
                    await context.write(control_pb2.BackupResponse(data=chunk, total_bytes=total_bytes))
                copied_bytes += len(chunk)
        finally:
            os.close(read_end)  # where it was not read to its end, this is what ends the thread
        failure = await copy
        if failure is None:
            _log.info("backed_up", uid=caller.uid, bytes=copied_bytes)
        return failure

    async def Prune(  # type: ignore[override]  # noqa: N802
        self, request: control_pb2.PruneRequest, context: _Context
    ) -> None:
        """Replaces the entries of runs that nobody uses by one checkpoint each, some runs in each transaction."""
        with self._activity.busy():
            caller = await self._callers.of(context)
            if request.older_than_ns < 0:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "older_than_ns must not be negative")
            before_ns = self._committer.now_ns() - request.older_than_ns
            response = control_pb2.PruneResponse()

            async def ask_for(prune: Prune) -> Answer:
                return await ask(self._committer, prune, context)

            parts = pruned_in_parts(
                self._ledger, ask_for, before_ns=before_ns, actor_uid=caller.uid, dry_run=request.dry_run
            )
            async with aclosing(parts):
                async for pruned in parts:
                    response.runs_seen += pruned.seen
                    response.runs_pruned += pruned.runs
                    response.entries_removed += pruned.entries
                    await context.write(response)
            response.done = True
            await context.write(response)
            _log.info(
                "pruned",
                uid=caller.uid,
                dry_run=request.dry_run,
                runs=response.runs_pruned,
                entries=response.entries_removed,
            )

    def _copy_to(self, write_end: int) -> LedgerError | None:
        try:
            self._ledger.copy_to(write_end)
        except LedgerError as error:
            return error
        finally:
            os.close(write_end)
        return None


def _pipe() -> tuple[int, int]:
    """The ends of a pipe: the first is read by the event loop, the second written by a thread."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with suppress(OSError, AttributeError):  # it is faster with few chunks, and works with many
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    return read_end, write_end


async def _read(descriptor: int) -> bytes:
    """What there is to read, waiting for the first byte; nothing at the end."""
    await anyio.wait_readable(descriptor)
    return os.read(descriptor, CHUNK_BYTES)


async def _check(state: State, context: _Context) -> None:
    """Ends the call where the ledger could not be looked at."""
    if state.trouble:
        code = grpc.StatusCode.NOT_FOUND if state.unknown_run else grpc.StatusCode.INTERNAL
        await context.abort(code, state.trouble)


def _verify_response(state: State) -> control_pb2.VerifyResponse:
    response = control_pb2.VerifyResponse(
        runs=state.runs, entries=state.entries, total_entries=state.total_entries, done=state.done
    )
    if state.difference is not None:
        response.difference.CopyFrom(control_pb2.Difference(**asdict(state.difference)))
    return response
