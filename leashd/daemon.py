"""The composition root: one ledger, one committer, two sockets, and the life of the process around them."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import grpc.aio
import structlog

from leash.sockets import check_socket_path
from leash.v1 import control_pb2_grpc, shim_pb2_grpc
from leashd import __version__
from leashd.activity import Activity
from leashd.api.control import ControlService
from leashd.api.shim import MAX_PRICES_BYTES, ShimService
from leashd.clock import LedgerClock
from leashd.committer import Committer
from leashd.host import Host
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.lock import LedgerLock

GOODBYE_S = 0.2  # for answers that are durable already to reach their shims before the streams are cut
SOCKETS_CHECKED_S = 2.0  # between looks at the sockets' files: two stats
MAX_MESSAGE_BYTES = MAX_PRICES_BYTES + 65_536  # the largest message is a price table

_Signals = AsyncIterator[signal.Signals]

_log = structlog.get_logger("leashd")


class DaemonError(Exception):
    """The daemon cannot start; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    """What one daemon serves, and where. ``idle_exit_s`` is 0 for a daemon that stays."""

    ledger: Path
    socket: Path
    control_socket: Path
    idle_exit_s: float = 0.0


async def serve(settings: DaemonSettings) -> None:
    """Serves until a signal, or until it was idle for long enough.

    Raises DaemonError, LedgerLockedError or LedgerError where it cannot start.
    """
    # Before the sockets answer, so that a signal never finds the daemon half ready.
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        lock = _prepared(settings)
        ledger = LmdbLedger(settings.ledger)
        try:
            await _serve(settings, ledger, lock, signals)
        finally:
            ledger.close()
    _log.info("stopped")


async def _serve(settings: DaemonSettings, ledger: LmdbLedger, lock: LedgerLock, signals: _Signals) -> None:
    committer = Committer(ledger, LedgerClock(ledger.clock()))
    activity = Activity()
    host = Host(version=__version__, pid=os.getpid(), uid=os.getuid(), started_at_ns=time.time_ns())
    shims = _server(settings.socket)
    shim_pb2_grpc.add_ShimServicer_to_server(ShimService(committer, activity, host.uid), shims)
    people = _server(settings.control_socket)
    control_pb2_grpc.add_ControlServicer_to_server(ControlService(committer, ledger, activity, host), people)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(committer.run)
        await people.start()
        await shims.start()
        _log.info("ready", pid=host.pid, ledger=ledger.path, socket=str(settings.socket), version=host.version)
        await _until_leaving(activity, settings, signals)
        lock.leaving()
        await shims.stop(GOODBYE_S)
        await people.stop(GOODBYE_S)
        committer.stop()


async def _until_leaving(activity: Activity, settings: DaemonSettings, signals: _Signals) -> None:
    """Returns on a signal, after an idle time, or when nobody can reach the daemon any more."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_until_unreachable, settings, tasks.cancel_scope)
        if settings.idle_exit_s:
            tasks.start_soon(_until_idle, activity, settings.idle_exit_s, tasks.cancel_scope)
        async for number in signals:
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
    paths = (settings.socket, settings.control_socket)
    while all(path.exists() for path in paths):  # noqa: ASYNC110 - no event tells, and a stat never blocks
        await anyio.sleep(SOCKETS_CHECKED_S)
    _log.error("stopping", reason="a socket's file is gone", sockets=[str(path) for path in paths])
    scope.cancel()


def _prepared(settings: DaemonSettings) -> LedgerLock:
    """The directories, the lock on the ledger, and socket paths that nobody else serves."""
    for path in (settings.socket, settings.control_socket):
        check_socket_path(path)
    try:
        for directory in {settings.ledger.parent, settings.socket.parent, settings.control_socket.parent}:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = LedgerLock(settings.ledger)
    except OSError as error:
        raise DaemonError(f"cannot use {settings.ledger}: {error.strerror or error}") from error
    lock.acquire()
    for path in (settings.socket, settings.control_socket):
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


def _server(path: Path) -> grpc.aio.Server:
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_insecure_port(f"unix:{path}")
    path.chmod(0o600)
    return server
