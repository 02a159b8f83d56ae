"""Starting a daemon on demand: one daemon for a ledger, however many clients start at once."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shlex
import subprocess
import time
from typing import TYPE_CHECKING, NoReturn

from leash.client.errors import DaemonError, DaemonUnreachable
from leash.client.paths import check_private, denied, user_config
from leash.client.probe import Reach, probe
from leash.programs import command
from leash.sockets import SYSTEM_SOCKET

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from leash.client.paths import Endpoint

# A cold start takes half a second; ten is a machine that swaps.
START_TIMEOUT_S = 10.0
# A person notices nothing below 10 ms, and a connect costs 50 us.
_POLL_INTERVAL_S = 0.01
# The first start may meet a daemon that is just leaving and still holds the ledger. What holds it for longer than
# these pauses is there to stay, and its pid is in the log.
_PAUSES_BEFORE_RETRY_S = (0.2, 0.6)
# Idle daemons leave after as long as a person looks at something else.
_IDLE_EXIT = "600s"
# At a line for each start and stop this is years of them; then the log moves to .1 and begins anew.
_MAX_LOG_BYTES = 4 * 1024 * 1024
_LAST_LINES = 8
_LAST_BYTES = 4096

# What a daemon needs of the environment of the client that happened to start it. No more: it outlives that client,
# which holds keys.
_PASSED_ON = frozenset(
    ("DYLD_LIBRARY_PATH", "HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
)
_PASSED_ON_PREFIXES = ("LC_", "PYTHON", "XDG_", "VIRTUAL_ENV")

# Children of this process until it ends; kept so that one which dies is reaped at the next start.
_started: list[subprocess.Popen[bytes]] = []


async def ensure_daemon(endpoint: Endpoint) -> None:
    """Return once the daemon's shim socket answers, starting the daemon where that is the client's to do.

    Raises ``AccessDenied``, :class:`DaemonUnreachable` for a daemon that is never started on demand, and
    :class:`DaemonError` for one that does not start.
    """
    await reach(endpoint, endpoint.socket)


async def reach(endpoint: Endpoint, socket: Path) -> None:
    """Do as :func:`ensure_daemon`, for one socket of the endpoint."""
    _reap()
    found = probe(socket)
    if found is Reach.ANSWERS:
        return
    if found is Reach.DENIED:
        raise denied(endpoint, socket)
    if not endpoint.on_demand:
        raise DaemonUnreachable(_nobody_there(endpoint, socket))
    try:
        await _start_once(endpoint)
    except OSError as error:
        raise DaemonError(f"leashd cannot be started: {error}") from error


def log_path(ledger: Path) -> Path:
    """Name the file beside the ledger to which a daemon started on demand logs."""
    return ledger.with_name(f"{ledger.name}.log")


async def _start_once(endpoint: Endpoint) -> None:
    """Start the daemon under the lock, or wait while another client does."""
    _make_directories(endpoint)
    deadline = time.monotonic() + START_TIMEOUT_S
    lock = os.open(endpoint.socket.with_name("start.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _locked(lock):
            if _answers(endpoint):
                return
            if time.monotonic() > deadline:
                raise DaemonError(
                    f"another client has been starting leashd for {START_TIMEOUT_S:.0f} s and it does not answer on "
                    f"{endpoint.socket}: see {log_path(_ledger(endpoint))}"
                )
            await asyncio.sleep(_POLL_INTERVAL_S)
        if not _answers(endpoint):
            await _start(endpoint, deadline)
    finally:
        os.close(lock)


async def _start(endpoint: Endpoint, deadline: float) -> None:
    log = log_path(_ledger(endpoint))
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
    log_start = log.stat().st_size if log.exists() else 0
    for pause_s in (*_PAUSES_BEFORE_RETRY_S, None):
        process = _spawn(endpoint, log)
        while process.poll() is None:
            if _answers(endpoint):
                return
            if time.monotonic() > deadline:
                _fail(f"leashd (pid {process.pid}) does not answer after {START_TIMEOUT_S:.0f} s", log, log_start)
            await asyncio.sleep(_POLL_INTERVAL_S)
        if pause_s is not None:
            await asyncio.sleep(pause_s)
        # Somebody may have started the same daemon by hand.
        if _answers(endpoint):
            return
    _fail(f"leashd did not start (exit code {process.returncode})", log, log_start)


def _spawn(endpoint: Endpoint, log: Path) -> subprocess.Popen[bytes]:
    config = user_config(os.environ)
    arguments = (
        *("--ledger", str(_ledger(endpoint))),
        *("--socket", str(endpoint.socket)),
        *("--control-socket", str(endpoint.control_socket)),
        *("--idle-exit", _IDLE_EXIT),
        *(("--config", str(config)) if os.path.lexists(config) else ()),  # also a link to nowhere, which it refuses
    )
    # A link that somebody else put there would have another file written to.
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        process = subprocess.Popen(  # noqa: S603 (this interpreter, and paths as arguments)
            command("leashd", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            umask=0o077,
            env=daemon_environment(os.environ),
            start_new_session=True,
        )
    finally:
        os.close(output)
    _started.append(process)
    return process


def daemon_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Pick what a daemon started by this client may see of the client's environment."""
    return {
        name: value for name, value in environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }


def _make_directories(endpoint: Endpoint) -> None:
    ledger = _ledger(endpoint)
    if endpoint.origin == "user":
        ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif not ledger.parent.is_dir():
        raise DaemonError(f"{ledger.parent} is no directory: make it, or name another ledger with --db")
    directory = endpoint.socket.parent
    # The one above is the private one of all ledgers' daemons.
    for path in (directory.parent, directory):
        path.mkdir(mode=0o700, exist_ok=True)
        check_private(path)


def _fail(what: str, log: Path, log_start: int) -> NoReturn:
    lines = _last_lines(log, log_start)
    if lines:
        raise DaemonError("\n  ".join((f"{what}; the last lines of {log}:", *lines)))
    by_hand = shlex.join(command("leashd"))
    raise DaemonError(f"{what} and wrote nothing to {log}: run `{by_hand}` to see why")


def _last_lines(log: Path, log_start: int) -> list[str]:
    """Read the end of what the log has gained since the start."""
    with log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(log_start, end - _LAST_BYTES))
        return file.read(_LAST_BYTES).decode(errors="replace").splitlines()[-_LAST_LINES:]


def _nobody_there(endpoint: Endpoint, socket: Path) -> str:
    if endpoint.origin == "system" or endpoint.socket == SYSTEM_SOCKET:
        return f"the system's leashd does not answer on {socket}: `systemctl start leashd` as an administrator"
    return f"no leashd answers on {socket}: start it with `leashd --ledger PATH --socket {endpoint.socket}`"


def _answers(endpoint: Endpoint) -> bool:
    sockets = (endpoint.socket, endpoint.control_socket, endpoint.ticket_socket)
    return all(probe(socket) is Reach.ANSWERS for socket in sockets)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _ledger(endpoint: Endpoint) -> Path:
    assert endpoint.ledger is not None, "an endpoint on demand names its ledger"
    return endpoint.ledger


def _reap() -> None:
    _started[:] = [process for process in _started if process.poll() is None]
