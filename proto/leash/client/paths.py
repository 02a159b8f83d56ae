"""Where daemons are found: sockets, runtime directories and ledgers. Nothing here creates, starts or imports anything.

Order: ``--socket``, ``--db``, ``LEASH_SOCKET``, ``LEASH_DB``, the system's where its directory is, the user's own.
"""

from __future__ import annotations

import grp
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leash.client.errors import AccessDenied, DaemonError
from leash.client.probe import Reach, probe
from leash.sockets import SYSTEM_SOCKET, check_socket_path, control_socket_for, ticket_socket_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "SYSTEM_SOCKET",
    "Endpoint",
    "check_private",
    "control_socket_for",
    "denied",
    "find_endpoint",
    "group_of",
    "known_daemons",
    "user_config",
    "user_ledger",
]

SYSTEM_GROUP = "leash"
SYSTEM_CONTROL_GROUP = "leash-admin"
TEMPORARY = Path("/tmp")  # noqa: S108 (the directory made in it is private, and checked before every use)
SESSIONS = Path("/run/user")

SOCKET_NAME = "leashd.sock"
# Twelve hex digits name a ledger's directory: 48 bits never meet by chance among the ledgers of one user.
LEDGER_NAME_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One daemon as a client sees it.

    ``ledger`` is known where the client chose it. ``origin`` says how it was found: ``socket`` (named by the person),
    ``system``, ``user`` (the user's own), ``db`` (the daemon of a named ledger) or ``found`` (seen by
    :func:`known_daemons`).
    """

    socket: Path
    control_socket: Path
    ledger: Path | None
    origin: str

    @property
    def ticket_socket(self) -> Path:
        """Where this daemon gives tickets."""
        return ticket_socket_for(self.socket)

    @property
    def on_demand(self) -> bool:
        """Whether a client starts this daemon where none answers."""
        return self.origin in {"user", "db"}


def find_endpoint(
    *,
    socket: str | None,
    db: str | None,
    environ: Mapping[str, str],
    system_socket: Path = SYSTEM_SOCKET,
) -> Endpoint:
    """Choose the daemon for this process; ``socket`` and ``db`` are the flags, ``environ`` the fallback of both.

    Raises :class:`AccessDenied` where the system's daemon may not be opened or the runtime directory is not private,
    and :class:`DaemonError` for a socket path that no socket can have.
    """
    chosen_socket = socket or (None if db else environ.get("LEASH_SOCKET"))
    if chosen_socket:
        path = Path(os.path.abspath(os.path.expanduser(chosen_socket)))  # noqa: PTH100, PTH111 (".." goes, links stay)
        return _checked(Endpoint(path, control_socket_for(path), None, "socket"))
    chosen_db = db or environ.get("LEASH_DB")
    if chosen_db:
        return _ledger_endpoint(chosen_db, environ)
    # The directory stays where the daemon is down, or about to be back: no reason for a detour to another one.
    if _exists(system_socket.parent):
        return _system_endpoint(system_socket)
    return _user_endpoint(environ)


def user_ledger(environ: Mapping[str, str] | None = None) -> Path:
    """Name the ledger of this user: ``leash/leash.db`` in the XDG state directory."""
    values = os.environ if environ is None else environ
    state = values.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):  # noqa: PTH117 (the XDG rule: a relative value is ignored)
        return Path(state) / "leash" / "leash.db"
    home = values.get("HOME")
    return (Path(home) if home else Path.home()) / ".local" / "state" / "leash" / "leash.db"


def user_config(environ: Mapping[str, str]) -> Path:
    """Name the configuration of this user's daemons: ``leash/leashd.toml`` in the XDG configuration directory."""
    config = environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(config):  # noqa: PTH117 (the XDG rule: a relative value is ignored)
        return Path(config) / "leash" / "leashd.toml"
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / ".config" / "leash" / "leashd.toml"


def denied(endpoint: Endpoint, socket: Path) -> AccessDenied:
    """Say who may open a socket that this user may not."""
    if group := group_of(endpoint, socket):
        return AccessDenied(
            f"{socket} may be opened by group {group} only: ask an administrator for "
            f"`usermod -aG {group} $USER` and log in again, or name another daemon with --socket or --db"
        )
    return AccessDenied(f"{socket} may not be opened by this user (uid {os.geteuid()}): it belongs to somebody else")


def group_of(endpoint: Endpoint, socket: Path) -> str:
    """Name the group that may open a socket of this daemon; empty where no group may."""
    with suppress(OSError):
        status = socket.stat()
        if status.st_mode & stat.S_IWGRP:
            with suppress(KeyError):
                return grp.getgrgid(status.st_gid).gr_name
            return f"{status.st_gid}"
    if endpoint.origin != "system":
        return ""
    return SYSTEM_CONTROL_GROUP if socket == endpoint.control_socket else SYSTEM_GROUP


def known_daemons(
    *,
    environ: Mapping[str, str] | None = None,
    system_socket: Path = SYSTEM_SOCKET,
    temporary: Path = TEMPORARY,
    sessions: Path = SESSIONS,
) -> list[Endpoint]:
    """List the daemons of this host: the system's, the user's own, those of named ledgers; as root other users' too.

    The system's is listed where there is its directory, and the user's own where its ledger exists, since it starts on
    demand. Of the rest, a socket at which nobody listens is left out; one that refuses this user is listed, and opening
    it raises :class:`AccessDenied`.
    """
    values = os.environ if environ is None else environ
    found: list[Endpoint] = []
    if _exists(system_socket.parent):
        found.append(Endpoint(system_socket, control_socket_for(system_socket), None, "system"))
    own: Endpoint | None = None
    try:
        own = _user_endpoint(values, temporary)
    except (AccessDenied, DaemonError):
        # Nothing of ours can be in there; what else there is to see is still listed.
        pass
    else:
        if probe(own.socket) is Reach.ANSWERS or user_ledger(values).exists():
            found.append(own)
    directories = [*_trusted_directories(values, temporary)]
    if os.geteuid() == 0:
        directories += _directories_of_others(temporary, sessions)
    seen = {endpoint.socket for endpoint in found}
    for directory in directories:
        for socket in _sockets(directory):
            if socket not in seen and _alive(socket):
                seen.add(socket)
                found.append(Endpoint(socket, control_socket_for(socket), None, "found"))
    return found


def check_private(directory: Path, owner_uid: int | None = None) -> None:
    """Refuse a runtime directory that is not its owner's alone: whoever can write there can pose as the daemon."""
    owner = os.geteuid() if owner_uid is None else owner_uid
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise AccessDenied(f"{directory} is no directory: remove it, leash keeps its sockets there")
    if status.st_uid != owner:
        raise AccessDenied(f"{directory} belongs to uid {status.st_uid}, not to uid {owner}: set XDG_RUNTIME_DIR")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise AccessDenied(f"{directory} can be written by others: chmod 700 {directory}")


def _system_endpoint(socket: Path) -> Endpoint:
    endpoint = Endpoint(socket, control_socket_for(socket), None, "system")
    # A person may be of the one group and not of the other, so only both doors shut is the end here; the shut one
    # of two says so when it is tried.
    if probe(endpoint.socket) is Reach.DENIED and probe(endpoint.control_socket) is not Reach.ANSWERS:
        raise denied(endpoint, endpoint.socket)
    return endpoint


def _ledger_endpoint(db: str, environ: Mapping[str, str]) -> Endpoint:
    ledger = Path(os.path.realpath(os.path.expanduser(db)))  # noqa: PTH111 (realpath keeps what does not exist yet)
    if ledger == _real(user_ledger(environ)):
        # Two daemons never open one ledger, however it is named.
        return _user_endpoint(environ)
    socket = _place(_ledger_name(ledger), environ)
    return _checked(Endpoint(socket, control_socket_for(socket), ledger, "db"))


def _user_endpoint(environ: Mapping[str, str], temporary: Path = TEMPORARY) -> Endpoint:
    ledger = user_ledger(environ)
    socket = _place(_ledger_name(_real(ledger)), environ, temporary)
    return _checked(Endpoint(socket, control_socket_for(socket), ledger, "user"))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _ledger_name(ledger: Path) -> str:
    """Name the directory of a ledger's daemon, so that a socket that answers there is of this ledger and no other."""
    import hashlib  # noqa: PLC0415 (a named --socket needs none)

    return hashlib.sha256(os.fsencode(ledger)).hexdigest()[:LEDGER_NAME_DIGITS]


def _place(name: str, environ: Mapping[str, str], temporary: Path = TEMPORARY) -> Path:
    """Choose the runtime directory: where the daemon already answers, else the first that may be used.

    A login and a cron job of one user differ in ``XDG_RUNTIME_DIR`` and share the ledger, so the second of them must
    find what the first one started.
    """
    for directory in _trusted_directories(environ, temporary):
        socket = directory / name / SOCKET_NAME
        if probe(socket) is Reach.ANSWERS:
            return socket
    directory = next(_own_directories(environ, temporary))
    if _too_long(directory / name / SOCKET_NAME):
        directory = temporary / f"leash-{os.geteuid()}"
    if directory.is_symlink() or directory.exists():
        check_private(directory)
    return directory / name / SOCKET_NAME


def _own_directories(environ: Mapping[str, str], temporary: Path) -> Iterator[Path]:
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _usable(Path(runtime)):  # noqa: PTH117 (the XDG rule, as above)
        yield Path(runtime) / "leash"
    yield temporary / f"leash-{os.geteuid()}"


def _trusted_directories(environ: Mapping[str, str], temporary: Path) -> Iterator[Path]:
    """Yield the directories in which a daemon of this user may be listening, without those of doubtful ownership."""
    login = SESSIONS / str(os.geteuid()) / "leash"
    for directory in dict.fromkeys((*_own_directories(environ, temporary), login)):
        try:
            check_private(directory)
        except (AccessDenied, OSError):
            continue
        yield directory


def _directories_of_others(temporary: Path, sessions: Path) -> list[Path]:
    """List other users' runtime directories, each owned by the user whom its name says."""
    trusted = []
    named = [(path, path.name.removeprefix("leash-")) for path in sorted(temporary.glob("leash-*"))]
    named += [(path / "leash", path.name) for path in sorted(sessions.glob("*"))]
    for directory, uid in named:
        if not uid.isdecimal():
            continue
        try:
            check_private(directory, int(uid))
        except (AccessDenied, OSError):
            continue
        trusted.append(directory)
    return trusted


def _sockets(directory: Path) -> list[Path]:
    return [
        directory / SOCKET_NAME,
        *sorted(directory.glob(f"{'[0-9a-f]' * LEDGER_NAME_DIGITS}/{SOCKET_NAME}")),
    ]


def _alive(socket: Path) -> bool:
    # A control socket that answers is enough: a person may be of that group alone.
    return any(probe(path) is not Reach.DEAD for path in (socket, control_socket_for(socket)))


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _usable(directory: Path) -> bool:
    try:
        status = directory.stat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and os.access(directory, os.W_OK | os.X_OK)


def _too_long(socket: Path) -> bool:
    try:
        check_socket_path(socket)
        check_socket_path(control_socket_for(socket))
        check_socket_path(ticket_socket_for(socket))
    except ValueError:
        return True
    return False


def _checked(endpoint: Endpoint) -> Endpoint:
    try:
        check_socket_path(endpoint.control_socket)
        check_socket_path(endpoint.ticket_socket)
        check_socket_path(endpoint.socket)
    except ValueError as error:
        raise DaemonError(f"{error}: choose a shorter one") from error
    return endpoint
