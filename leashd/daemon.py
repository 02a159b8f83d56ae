"""The composition root: one ledger, one committer, three sockets, and the life of the process around them."""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import grpc.aio
import structlog

from leash.notify import Notifier
from leash.sockets import check_socket_path, ticket_socket_for
from leash.v1 import control_pb2_grpc, runs_pb2_grpc, shim_pb2_grpc
from leashd import __version__
from leashd.access import USER_ACCESS, Access, AccessError, SocketAccess
from leashd.activity import Activity
from leashd.api.callers import Callers
from leashd.api.control import ControlService
from leashd.api.ledger_failures import LedgerFailures
from leashd.api.runs import RunsService
from leashd.api.shim import MAX_PRICES_BYTES, ShimService
from leashd.clock import LedgerClock
from leashd.committer import Committer
from leashd.config import Config
from leashd.ending import farewell, ledger_failure
from leashd.event_log import log_entries
from leashd.host import Host
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.making import drop_readers, make_ledger
from leashd.ledger.protocol import LedgerDamagedError, LedgerError
from leashd.live_config import LiveConfig
from leashd.lock import LedgerLock
from leashd.peers import Peer
from leashd.reactions.deliverer import Deliverer
from leashd.retention import Retention
from leashd.signs_of_life import SignsOfLife
from leashd.standing import Standing
from leashd.ticket_listener import TicketListener
from leashd.tickets import KEY_BYTES, Caller, Tickets

GOODBYE_S = 0.2  # for answers that are durable already to reach their shims before the streams are cut
SOCKETS_CHECKED_S = 2.0  # between looks at the sockets' files: two stats
MAX_MESSAGE_BYTES = MAX_PRICES_BYTES + 65_536  # the largest message is a price table

_Signals = AsyncIterator[signal.Signals]

_log = structlog.get_logger("leashd")


class DaemonError(Exception):
    """The daemon cannot start, or cannot go on; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    """What one daemon serves, where, and to whom. ``idle_exit_s`` is 0 for a daemon that stays.

    ``system`` says that it serves the whole host, each user her own runs. ``reread`` gives the configuration anew when
    SIGHUP asks for it; without it SIGHUP ends the daemon, as it does any program whose terminal is closed.
    """

    ledger: Path
    socket: Path
    control_socket: Path
    idle_exit_s: float = 0.0
    system: bool = False
    access: Access = USER_ACCESS
    config: Config = field(default_factory=Config)
    reread: Callable[[], Config] | None = None

    @property
    def ticket_socket(self) -> Path:
        """Where tickets are had."""
        return ticket_socket_for(self.socket)

    @property
    def sockets(self) -> tuple[Path, ...]:
        """Every socket that it listens on."""
        return self.socket, self.control_socket, self.ticket_socket


async def serve(settings: DaemonSettings) -> None:
    """Serves until a signal, or until it was idle for long enough.

    Raises DaemonError or LedgerLockedError where it cannot.
    """
    notifier = Notifier.taken_from(os.environ)
    # Before the sockets answer, so that a signal never finds the daemon half ready.
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        lock = _prepared(settings)
        try:
            make_ledger(settings.ledger)
            drop_readers(settings.ledger)
            ledger = LmdbLedger(settings.ledger)
            try:
                await _serve(settings, ledger, lock, signals, notifier)
            finally:
                ledger.close()
        except (LedgerError, BaseExceptionGroup) as error:
            if (failure := ledger_failure(error)) is None:
                raise
            raise DaemonError(farewell(failure, settings.ledger)) from error
    _log.info("stopped")


async def _serve(
    settings: DaemonSettings, ledger: LmdbLedger, lock: LedgerLock, signals: _Signals, notifier: Notifier
) -> None:
    committer = Committer(ledger, LedgerClock(ledger.clock()))
    life = SignsOfLife(notifier, committer, str(settings.ledger))
    committer.watch(log_entries)
    standing = Standing(committer)
    config = LiveConfig(settings.config, settings.reread, standing, Retention(committer, ledger))
    activity = Activity()
    deliverer = Deliverer(committer, ledger, activity, random.SystemRandom())
    delivering = anyio.CancelScope()
    host = Host(
        version=__version__, pid=os.getpid(), uid=os.getuid(), started_at_ns=time.time_ns(), system=settings.system
    )
    tickets = Tickets(secrets.token_bytes(KEY_BYTES))
    callers = Callers(tickets)
    # Before the others: whoever finds one of those goes for a ticket.
    listener = _ticket_listener(settings, tickets, host)
    shims = _server(settings.socket, settings.access.shims, ledger=settings.ledger)
    sessions = ShimService(committer, activity, callers, standing, by_user=settings.system)
    shim_pb2_grpc.add_ShimServicer_to_server(sessions, shims)
    people = _server(settings.control_socket, settings.access.people, ledger=settings.ledger)
    control_pb2_grpc.add_ControlServicer_to_server(ControlService(committer, ledger, activity, callers), people)
    for server, own_only in ((shims, True), (people, False)):
        runs = RunsService(committer, ledger, activity, host, callers, own_only=own_only)
        runs_pb2_grpc.add_RunsServicer_to_server(runs, server)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_commit, committer, sessions, settings.ledger)
            tasks.start_soon(_deliver, deliverer, delivering)
            tasks.start_soon(listener.run)
            await people.start()
            await shims.start()
            _log.info("ready", pid=host.pid, ledger=ledger.path, socket=str(settings.socket), version=host.version)
            life.ready()
            await _until_leaving(activity, settings, signals, config, life)
            was_reachable = _is_reachable(settings)
            life.stopping()
            lock.leaving()
            delivering.cancel()  # what it was at is delivered again by the next daemon
            await shims.stop(GOODBYE_S)
            await people.stop(GOODBYE_S)
            listener.close()
            committer.stop()
    finally:
        listener.close()
        with anyio.CancelScope(shield=True):
            await shims.stop(None)  # where the committer has failed, nobody is to be left waiting
            await people.stop(None)
    if settings.system and not was_reachable:
        raise DaemonError("a socket's file was removed, and nobody could reach this daemon any more: start it again")


async def _commit(committer: Committer, sessions: ShimService, ledger: Path) -> None:
    """Commits until it is stopped. Where the ledger is damaged, shims hear of it before the daemon ends."""
    try:
        await committer.run()
    except LedgerDamagedError as error:
        sessions.end(farewell(error, ledger))
        await anyio.sleep(GOODBYE_S)
        raise


async def _deliver(deliverer: Deliverer, scope: anyio.CancelScope) -> None:
    with scope:
        await deliverer.run()


async def _until_leaving(
    activity: Activity, settings: DaemonSettings, signals: _Signals, config: LiveConfig, life: SignsOfLife
) -> None:
    """Returns on a signal, after an idle time, or when nobody can reach the daemon any more."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(config.run)
        tasks.start_soon(life.run)
        tasks.start_soon(_until_unreachable, settings, tasks.cancel_scope)
        if settings.idle_exit_s:
            tasks.start_soon(_until_idle, activity, settings.idle_exit_s, tasks.cancel_scope)
        async for number in signals:
            if number is signal.SIGHUP and settings.reread is not None:
                life.reloading()
                await config.reload()
                life.ready()
                continue
            _log.info("stopping", signal=number.name)
            tasks.cancel_scope.cancel()
            break


async def _until_idle(activity: Activity, idle_exit_s: float, scope: anyio.CancelScope) -> None:
    while (remaining_s := idle_exit_s - activity.idle_s()) > 0:  # noqa: ASYNC110 - it is about time, not an event
        await anyio.sleep(remaining_s)
    _log.info("stopping", idle_s=idle_exit_s)
    scope.cancel()


async def _until_unreachable(settings: DaemonSettings, scope: anyio.CancelScope) -> None:
    """A socket's file was removed (a log-out clears /run/user): to stay would keep the ledger locked for nobody."""
    while _is_reachable(settings):  # noqa: ASYNC110 - no event tells, and a stat never blocks
        await anyio.sleep(SOCKETS_CHECKED_S)
    _log.error("stopping", cause="a socket's file is gone", sockets=[str(path) for path in settings.sockets])
    scope.cancel()


def _is_reachable(settings: DaemonSettings) -> bool:
    return all(path.exists() for path in settings.sockets)


def _prepared(settings: DaemonSettings) -> LedgerLock:
    """The directories, the lock on the ledger, and socket paths that nobody else serves."""
    for path in settings.sockets:
        check_socket_path(path)
    try:
        for path in settings.sockets:
            _make_directory(path.parent, settings.access.directory_mode)
        _make_directory(settings.ledger.parent, USER_ACCESS.directory_mode)
        lock = LedgerLock(settings.ledger)
    except OSError as error:
        raise DaemonError(f"cannot use {settings.ledger}: {error.strerror or error}") from error
    lock.acquire()
    for path in settings.sockets:
        if _is_served(path):
            raise DaemonError(f"another leashd, with another ledger, serves {path}: use another --socket")
        path.unlink(missing_ok=True)
    return lock


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _make_directory(directory: Path, mode: int) -> None:
    """Makes a directory, and those above it, where they are not there; one that is there stays as it is."""
    if directory.is_dir():
        return
    _make_directory(directory.parent, mode)
    directory.mkdir(mode=mode, exist_ok=True)
    directory.chmod(mode)  # whatever the umask takes away


def _ticket_listener(settings: DaemonSettings, tickets: Tickets, host: Host) -> TicketListener:
    """Gives each peer a ticket. Root, this daemon's own user and whoever may open the control socket are trusted."""

    def issue(peer: Peer) -> bytes:
        trusted = peer.uid in (0, host.uid) or settings.access.people.gid in peer.groups
        return tickets.issue(Caller(peer.uid, trusted), time.monotonic_ns())

    listener = TicketListener(settings.ticket_socket, issue)
    _give(settings.ticket_socket, settings.access.tickets)
    return listener


def _give(path: Path, access: SocketAccess) -> None:
    try:
        access.give(path)
    except AccessError as error:
        raise DaemonError(str(error)) from error


def _server(path: Path, access: SocketAccess, *, ledger: Path) -> grpc.aio.Server:
    server = grpc.aio.server(
        interceptors=[LedgerFailures(ledger)],
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
        ],
    )
    server.add_insecure_port(f"unix:{path}")
    _give(path, access)
    return server
