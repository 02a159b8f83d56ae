"""The real committer, engine and LMDB ledger, on a clock that a test moves, with faults that a test plants."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from leashd.committer import Committer
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import Batch, ClockRecord, LedgerUnavailableError
from leashd.operations import Answer, Kill, Operation, Reply

START_NS = 1_800_000_000 * 10**9
MAX_BATCHES = 200  # until it has done what it had to do by now


class CrashError(Exception):
    """The daemon dies here, as with kill -9."""


class Fault(Enum):
    """What becomes of the next commit."""

    FAIL = "fail"  # the disk is full: nothing of it is written
    CRASH_BEFORE = "crash before"  # the daemon dies, and nothing of it is written
    CRASH_AFTER = "crash after"  # it is durable, but nobody is told


@dataclass(slots=True)
class Clock:
    """The ledger's clock, moved by hand."""

    at_ns: int = START_NS

    def now_ns(self) -> int:
        return self.at_ns

    def record(self, now_ns: int) -> ClockRecord:
        return ClockRecord(boot_id="simulated", ledger_ns=now_ns, boot_ns=now_ns)


@dataclass(slots=True)
class Written:
    """What became durable, in its order, over all lives of a daemon."""

    entries: list[tuple[str, int, int]] = field(default_factory=list)  # run, its number, sequence
    calls: dict[bytes, set[str]] = field(default_factory=dict)  # call -> the kinds of its entries


class FaultyLedger:
    """An LMDB ledger that fails or crashes on order."""

    def __init__(self, inner: LmdbLedger, written: Written) -> None:
        self.inner = inner
        self.path = inner.path
        self.fault: Fault | None = None
        self._written = written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit(self, batch: Batch) -> None:
        fault, self.fault = self.fault, None
        if fault is Fault.FAIL:
            raise LedgerUnavailableError("the disk is full, on purpose")
        if fault is Fault.CRASH_BEFORE:
            raise CrashError
        self.inner.commit(batch)
        for account, entry in batch.entries:
            self._written.entries.append((account.run, account.number, entry.seq))
            if hasattr(entry.event, "call"):
                self._written.calls.setdefault(entry.event.call, set()).add(type(entry.event).__name__)
        if fault is Fault.CRASH_AFTER:
            raise CrashError


class Daemon:
    """One life after another of a daemon on one ledger."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._lives = 0
        self.written = Written()
        self._open(directory / "ledger-0")

    def _open(self, path: Path) -> None:
        self.ledger = FaultyLedger(LmdbLedger(path), self.written)
        self.committer = Committer(self.ledger, self._clock)
        self._task = asyncio.get_running_loop().create_task(self.committer.run())

    @property
    def engine(self) -> Any:
        return self.committer.engine

    def submit(self, operation: Operation, reply: Reply) -> None:
        self.committer.submit(operation, reply)

    async def flush(self) -> bool:
        """Waits until all that was submitted is decided and committed, and all that it has to do by itself by now.

        False where the daemon crashed over it.
        """
        for _ in range(MAX_BATCHES):
            decided = asyncio.get_running_loop().create_future()

            def reply(_answer: Answer, decided: asyncio.Future[int | None] = decided) -> None:
                decided.set_result(self.engine.next_tick_ns())  # as the batch has left it

            self.submit(Kill(runs=(), now=False, actor_uid=0), reply)
            await asyncio.wait({decided, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if self._task.done():
                decided.cancel()
                error = self._task.exception()
                if isinstance(error, CrashError):
                    return False
                raise error or AssertionError("the committer returned by itself")
            next_ns = decided.result()
            if next_ns is None or next_ns > self._clock.at_ns:
                return True
        raise AssertionError(f"after {MAX_BATCHES} batches it still has something to do at once")

    async def crash(self) -> None:
        """Dies without a word, and starts again on what the disk has."""
        self._task.cancel()
        await asyncio.wait({self._task})
        self._lives += 1
        path = self._directory / f"ledger-{self._lives}"
        shutil.copyfile(self.ledger.path, path)
        self._remove()
        self._open(path)

    async def close(self) -> None:
        """Ends it for good."""
        self._task.cancel()
        await asyncio.wait({self._task})
        self._remove()

    def _remove(self) -> None:
        self.ledger.inner.close()
        for suffix in ("", "-lock"):
            Path(self.ledger.path + suffix).unlink(missing_ok=True)
