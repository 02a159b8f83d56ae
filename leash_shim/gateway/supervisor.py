"""The supervisor of a gateway: has its workers run, renews them, hands them new settings, and ends them in order.

The rule: a listening socket is the supervisor's, and outlives every worker that serves on it, so that no connection is
lost between one worker and the next. The supervisor itself serves nobody but the admin listener.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from leash.client.errors import ClientError, DaemonUnavailable
from leash.client.session import ShimSession
from leash_shim.gateway.config import METRICS_DIRECTORY
from leash_shim.gateway.workers import WorkerProcess

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Sequence

    from leash.notify import Notifier
    from leash.v1 import shim_pb2
    from leash_shim.gateway.config import GatewayConfig

log = logging.getLogger(__name__)

# A worker starts in a second, and in several where all start at once on a busy machine.
_READY_TIMEOUT_S = 30.0

# A worker that dies is started again at once, then ever more slowly: what killed it may take a while to go away. One
# that has lived for some time has shown that it can.
_MIN_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 5.0
_PROVED_S = 10.0

# Where no worker of a slot has ever served, so many failures say that none will.
_MOST_FAILED_STARTS = 5

# A few probes and scrapes at a time; whoever opens more takes no descriptors from the workers' channels.
_MOST_ADMIN_CONNECTIONS = 64

# Beyond the drain a worker closes its runs and its session, which the session bounds by five seconds.
_LEAVE_MARGIN_S = 10.0

# What is cut has nothing more to wait for, but for those five seconds.
_CUT_TIMEOUT_S = 8.0


class GatewayFailure(Exception):  # noqa: N818 - a sentence for the person
    """The gateway cannot go on; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPlan:
    """What a gateway is going to do.

    ``listeners`` has one socket for each worker, or one for all. ``reread`` settles the configuration anew, from the
    files as they are then, and raises ValueError with a sentence. ``say`` tells the person a line, ``notifier`` the
    service manager how it is.
    """

    config: GatewayConfig
    listeners: Sequence[socket.socket]
    workers: int
    admin: socket.socket | None
    drain_delay_s: float
    announcement: str
    reread: Callable[[], GatewayConfig]
    say: Callable[[str], None]
    notifier: Notifier


@dataclass(slots=True, eq=False)
class _Slot:
    """One worker's place: its socket, and who serves there now."""

    number: int
    listener: socket.socket
    worker: WorkerProcess | None = None
    has_served: anyio.Event = field(default_factory=anyio.Event)


def supervise(plan: GatewayPlan) -> None:
    """Runs a gateway until it is told to end. Raises ``GatewayFailure`` and ``ClientError``."""

    async def live() -> None:
        await Supervisor(plan).live()

    try:
        anyio.run(live, backend_options={"use_uvloop": True})
    except BaseExceptionGroup as group:
        expected = group.subgroup((GatewayFailure, ClientError))
        if expected is None:
            raise
        raise _first(expected) from None


def _first(group: BaseException) -> BaseException:
    return _first(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group


class Supervisor:
    """One gateway. ``live`` is its whole life."""

    def __init__(self, plan: GatewayPlan) -> None:
        self._plan = plan
        self._config = plan.config
        listeners = plan.listeners
        self._slots = [_Slot(number, listeners[number % len(listeners)]) for number in range(plan.workers)]
        self._workers: set[WorkerProcess] = set()
        self._session = ShimSession(plan.config.endpoint, client_version=plan.config.client_version)
        self._environ = dict(os.environ)
        self._environ.pop(METRICS_DIRECTORY, None)
        self._metrics_directory = ""
        self._leaving = self._draining = False
        self._hurry = anyio.Event()
        self._left = anyio.Event()
        self._changing = anyio.Lock()

    async def live(self) -> None:
        """Runs the gateway until it is told to end. Raises groups of ``GatewayFailure`` and ``ClientError``."""
        watchdog_s = self._plan.notifier.watchdog_interval_s
        received = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
        with ExitStack() as stack, anyio.open_signal_receiver(*received) as signals:
            if self._plan.admin is not None:
                self._metrics_directory = stack.enter_context(_metrics_directory())
                self._environ[METRICS_DIRECTORY] = self._metrics_directory
            async with self._session:
                if self._config.prices:
                    await self._session.put_prices(self._config.prices.encode("utf-8"))
                async with anyio.create_task_group() as self._group:
                    self._group.start_soon(self._take_signals, signals)
                    self._group.start_soon(self._announce)
                    if watchdog_s is not None:
                        self._group.start_soon(self._feed_watchdog, watchdog_s)
                    if self._plan.admin is not None:
                        self._group.start_soon(self._serve_admin, self._plan.admin)
                    for slot in self._slots:
                        self._group.start_soon(self._keep, slot)
                    await self._left.wait()
                    self._group.cancel_scope.cancel()

    async def _take_signals(self, signals: AsyncIterator[signal.Signals]) -> None:
        async for number in signals:
            match number:
                case signal.SIGHUP:
                    self._group.start_soon(self._reload_and_tell)
                case signal.SIGUSR2:
                    self._group.start_soon(self._renew)
                case _ if self._leaving:
                    self._hurry.set()
                case _:
                    self._leaving = True
                    self._group.start_soon(self._leave)

    async def _announce(self) -> None:
        for slot in self._slots:
            await slot.has_served.wait()
        self._plan.say(self._plan.announcement)
        self._plan.notifier.ready(self._plan.announcement)

    async def _feed_watchdog(self, interval_s: float) -> None:
        """Shows that workers that die would be renewed: by the loop that does it."""
        while True:
            self._plan.notifier.alive()
            await anyio.sleep(interval_s)

    async def _keep(self, slot: _Slot) -> None:
        """Has a worker serve in a slot, whatever becomes of it."""
        failures = 0
        while not self._draining:
            worker = slot.worker
            if worker is None:
                try:
                    worker = slot.worker = await self._start(slot)
                except OSError as error:
                    if not slot.has_served.is_set():
                        raise GatewayFailure(f"no worker can be started: {error.strerror}") from error
                    log.error("worker %d cannot be started now: %s", slot.number, error.strerror)  # noqa: TRY400
                    await anyio.sleep(_MAX_BACKOFF_S)
                    continue
            await worker.ended.wait()
            if self._draining or slot.worker is not worker:
                continue
            slot.worker = None
            lived_s = anyio.current_time() - worker.started_s
            failures = 0 if worker.was_ready and lived_s >= _PROVED_S else failures + 1
            if failures >= _MOST_FAILED_STARTS and not slot.has_served.is_set():
                raise GatewayFailure(f"no worker starts: the last one {worker.epitaph()}")
            delay_s = min(_MIN_BACKOFF_S * 2**failures, _MAX_BACKOFF_S)
            log.error("worker %d (pid %d) %s; another one starts", slot.number, worker.pid, worker.epitaph())
            await anyio.sleep(delay_s)

    async def _start(self, slot: _Slot) -> WorkerProcess:
        """Starts a worker with the configuration of now. OSError where there can be no more processes."""
        config = self._config
        worker = await WorkerProcess.start(slot.listener, config, self._environ)
        self._workers.add(worker)
        self._group.start_soon(self._attend, slot, worker)
        if self._config is not config:
            self._group.start_soon(worker.reload, self._config)
        if self._draining:
            await worker.drain()
        return worker

    async def _attend(self, slot: _Slot, worker: WorkerProcess) -> None:
        async with anyio.create_task_group() as group:

            async def await_first() -> None:
                if await worker.until_ready(_READY_TIMEOUT_S):
                    slot.has_served.set()
                elif not worker.ended.is_set():
                    worker.failure = f"it did not serve within {_READY_TIMEOUT_S:.0f} s"
                    worker.kill()

            group.start_soon(await_first)
            await worker.attend()
        self._workers.discard(worker)
        if self._metrics_directory:
            from leash_shim.gateway.metric_files import clear_worker  # noqa: PLC0415 (only with an admin listener)

            clear_worker(worker.pid, self._metrics_directory)

    async def _renew(self) -> None:
        """Replaces one worker after the other, each by one that serves already."""
        async with self._changing:
            for slot in self._slots:
                if self._leaving:
                    return
                try:
                    worker = await self._start(slot)
                except OSError as error:
                    why = error.strerror
                    log.error("the restart has ended: no worker can be started: %s", why)  # noqa: TRY400
                    return
                if not await worker.until_ready(_READY_TIMEOUT_S):
                    log.error("the restart has ended: a new worker %s; those before it go on", _fate(worker))
                    return
                before, slot.worker = slot.worker, worker
                if before is not None:
                    await before.drain()
            self._plan.say("all workers are new")

    async def _reload_and_tell(self) -> None:
        self._plan.notifier.reloading()
        try:
            await self._reload()
        finally:
            if not self._leaving:
                self._plan.notifier.ready(self._plan.announcement)

    async def _reload(self) -> None:
        """Takes the files as they are now, all of them or none."""
        async with self._changing:
            if self._leaving:
                return
            try:
                config = await anyio.to_thread.run_sync(self._plan.reread, abandon_on_cancel=True)
                if config.prices and config.prices != self._config.prices:
                    await self._session.put_prices(config.prices.encode("utf-8"))
            except (ValueError, ClientError) as error:
                log.error("nothing was reloaded: %s", error)  # noqa: TRY400 (a person's mistake, told in a sentence)
                return
            self._config = config
            # One that is still starting, too: what it was started with holds no longer.
            told = [worker for worker in self._workers if not worker.ended.is_set()]
            failures = [
                f"worker {worker.pid}: {failure}" for worker in told if (failure := await worker.reload(config))
            ]
            if failures:
                log.error("not all workers have reloaded: %s", "; ".join(failures))
            else:
                self._plan.say("reloaded the tokens, the prices and the certificate")

    async def _leave(self) -> None:
        """Ends the workers in order, or at once where that is asked for."""
        self._plan.notifier.stopping("calls under way are ended")
        with anyio.move_on_after(self._plan.drain_delay_s):
            await self._hurry.wait()
        self._draining = True
        async with anyio.create_task_group() as group:
            for worker in list(self._workers):
                group.start_soon(worker.drain)
        # Whoever connects from now on is told at once that nobody listens.
        for listener in self._plan.listeners:
            listener.close()
        async with anyio.create_task_group() as group:
            group.start_soon(self._cut_when_hurried)
            with anyio.move_on_after(self._config.shutdown_timeout_s + _LEAVE_MARGIN_S):
                await self._all_ended()
            group.cancel_scope.cancel()
        for worker in list(self._workers):
            log.error("worker %d does not end, and is ended", worker.pid)
            worker.kill()
        await self._all_ended()
        self._left.set()

    async def _cut_when_hurried(self) -> None:
        await self._hurry.wait()
        for worker in list(self._workers):
            await worker.cut()
        await anyio.sleep(_CUT_TIMEOUT_S)
        for worker in list(self._workers):
            worker.kill()

    async def _all_ended(self) -> None:
        while self._workers:
            await next(iter(self._workers)).ended.wait()
            await anyio.lowlevel.checkpoint()

    async def _serve_admin(self, listener: socket.socket) -> None:
        from leash_shim.gateway.admin import AdminApp  # noqa: PLC0415 (they take memory, and time)
        from leash_shim.gateway.status_board import StatusBoard  # noqa: PLC0415
        from leash_shim.gateway.status_page import StatusPage  # noqa: PLC0415
        from leash_shim.server import ServerOptions, serve  # noqa: PLC0415

        board = StatusBoard(self._config.endpoint)
        page = StatusPage(board)
        self._group.start_soon(board.run)
        app = AdminApp(
            probe=self._probe,
            is_draining=lambda: self._leaving,
            tokens=lambda: self._config.tokens,
            metrics_dir=self._metrics_directory,
            version=self._config.client_version,
            page=page,
        )
        options = ServerOptions(max_connections=_MOST_ADMIN_CONNECTIONS)
        await serve(app, listener, shutdown=self._left, options=options, leave=page.leave)

    async def _probe(self) -> shim_pb2.Probed:
        """A write through the daemon, for a gateway that serves. Raises ``ClientError``."""
        if not any(worker.is_serving for worker in self._workers):
            raise DaemonUnavailable("no worker serves yet")
        return await self._session.probe()


def _fate(worker: WorkerProcess) -> str:
    return worker.epitaph() if worker.ended.is_set() else f"did not serve within {_READY_TIMEOUT_S:.0f} s"


def _metrics_directory() -> tempfile.TemporaryDirectory[str]:
    """Where workers leave their figures, for as long as the gateway runs. Raises ``GatewayFailure``."""
    try:
        return tempfile.TemporaryDirectory(prefix="leash-metrics-", ignore_cleanup_errors=True)
    except OSError as error:
        raise GatewayFailure(f"no directory for metrics can be made: {error.strerror} (set TMPDIR)") from error
