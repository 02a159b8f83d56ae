"""The one writer: drains what is asked, lets the engine decide it, commits it as one transaction, then tells.

Nothing is told before it is durable. A commit that fails is as if it had never been asked. Anything unexpected ends
the daemon loudly: it never goes on with a doubt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import structlog

from leashd.clock import LedgerClock
from leashd.commit_figures import CommitFigures
from leashd.core.account import Account
from leashd.core.events import Entry
from leashd.core.outbox import OutboxKey, Pending
from leashd.engine import Engine
from leashd.ledger.protocol import Batch, Ledger, LedgerUnavailableError
from leashd.operations import DURABLE_AT_ONCE, Disconnected, Failed, FailureCode, Operation, Outbound, Reply, Request

MAX_QUEUED = 65_536  # operations; a shim's whole outbox fits, and at 1 kB each it bounds the daemon's memory
MAX_BATCH = 4_096  # operations in one transaction
BATCH_S = 0.03  # of deciding for one transaction, so that nobody waits long behind many: an fsync costs a tenth of it
RIDE_S = 0.003  # how long what nobody waits for may wait for a commit to ride with: DESIGN 8, "a few milliseconds"
SWEEP_S = 3_600.0  # between looks for outcomes that nobody came back for

_log = structlog.get_logger("leashd.committer")

_BUSY = Failed(FailureCode.BUSY, "leashd has more to write than it can take: try again")

Watcher = Callable[[list[tuple[Account, Entry]]], None]
OutboxWatcher = Callable[[Mapping[OutboxKey, Pending | None]], None]


class Committer:
    """Owns the engine and the ledger's only writer. Runs in one task; ``submit`` is called from the same loop."""

    def __init__(self, ledger: Ledger, clock: LedgerClock) -> None:
        self._ledger = ledger
        self._clock = clock
        committed = ledger.clock()
        now_ns = clock.now_ns()
        alive_until_ns = committed.ledger_ns if committed else now_ns
        self.engine = Engine(ledger, alive_until_ns=alive_until_ns, now_ns=now_ns)
        self._queue: deque[Request] = deque()
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._stopping = False
        self._watchers: set[Watcher] = set()
        self.on_outbox: OutboxWatcher = _nobody  # told of each change of the outbox, once it is durable
        self.figures = CommitFigures()
        self.read_only = False
        self.rounds = 0

    def submit(self, operation: Operation, reply: Reply) -> None:
        """Asks for an operation; ``reply`` is called once, when its answer is durable."""
        if len(self._queue) >= MAX_QUEUED and not isinstance(operation, Disconnected):  # of which a stream has one
            reply(_BUSY)
            return
        self._queue.append(Request(operation, reply))
        if isinstance(operation, DURABLE_AT_ONCE):
            self._urgent.set()
        self._wake.set()

    def now_ns(self) -> int:
        """The ledger's time."""
        return self._clock.now_ns()

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Calls ``watcher`` with the entries of each commit; returns what ends that."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def nudge(self) -> None:
        """Has ``rounds`` go on where nothing is asked: of a committer that gets on, and not of one that hangs."""
        self._wake.set()

    def stop(self) -> None:
        """Lets ``run`` return once everything that is queued is committed."""
        self._stopping = True
        self._urgent.set()
        self._wake.set()

    async def run(self) -> None:
        """Commits until ``stop``. Raises whatever was not foreseen."""
        loop = asyncio.get_running_loop()
        next_sweep_s = loop.time()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit") as writer:
            while not (self._stopping and not self._queue):
                await self._something_to_do()
                now_ns = self._clock.now_ns()
                operations = self._decide(now_ns, until_s=loop.time() + BATCH_S)
                if loop.time() >= next_sweep_s:
                    next_sweep_s = loop.time() + SWEEP_S
                    self.engine.sweep(now_ns)
                self.engine.tick(now_ns)
                await self._commit(writer, now_ns, operations)
                self.rounds += 1

    def _decide(self, now_ns: int, *, until_s: float) -> int:
        """Carries out what is queued, as much as goes into one transaction; how many operations that was."""
        now_s = asyncio.get_running_loop().time
        operations = 0
        while self._queue and operations < MAX_BATCH and (not operations or now_s() < until_s):
            self.engine.apply(self._queue.popleft(), now_ns)
            operations += 1
        if self._queue:
            self._urgent.set()  # what is left has waited for long enough
        return operations

    async def _something_to_do(self) -> None:
        """Waits for an operation that somebody waits for, for others to have waited long enough, or for time."""
        if self._queue:
            await asyncio.sleep(0)  # what was just told goes out before more is decided
        if not self._queue and not self._stopping:
            self._wake.clear()
            self._urgent.clear()
            at_ns = self.engine.next_tick_ns()
            delay_s = None if at_ns is None else max(0.0, (at_ns - self._clock.now_ns()) / 1e9)
            await _wait(self._wake, delay_s)
        if self._queue and not self._urgent.is_set():
            await _wait(self._urgent, RIDE_S)
        self._urgent.clear()

    async def _commit(self, writer: ThreadPoolExecutor, now_ns: int, operations: int) -> None:
        batch, outbound = self.engine.take()
        if batch:
            batch.clock = self._clock.record(now_ns)
            commit = asyncio.get_running_loop().run_in_executor(writer, self._ledger.commit, batch)
            try:
                await asyncio.shield(commit)
            except LedgerUnavailableError as error:
                self._failed(batch, outbound, error)
                return
            self._committed(batch, operations)
        for reply, answer in outbound.answers:
            reply(answer)
        for link, push in outbound.pushes:
            link.push(push)

    def _committed(self, batch: Batch, operations: int) -> None:
        if self.read_only:
            self.read_only = False
            _log.info("ledger_writable", path=self._ledger.path)
        self.figures.committed(operations=operations, entries=len(batch.entries))
        for watcher in tuple(self._watchers):
            watcher(batch.entries)
        if batch.outbox:
            self.on_outbox(batch.outbox)

    def _failed(self, batch: Batch, outbound: Outbound, error: LedgerUnavailableError) -> None:
        self.engine.discard(batch, self._clock.now_ns())
        if not self.read_only:
            self.read_only = True
            _log.error("commit_failed", path=self._ledger.path, error=str(error))
        failed = Failed(FailureCode.UNAVAILABLE, str(error))
        for reply, _ in outbound.answers:
            reply(failed)


async def _wait(event: asyncio.Event, timeout_s: float | None) -> None:
    """Waits for an event or a time-out, whichever is first."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass


def _nobody(_changes: Mapping[OutboxKey, Pending | None]) -> None:
    """Who is told where nobody is."""
