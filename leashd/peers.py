"""Who is at the other end of a Unix socket, as the kernel has it, and what the host calls users and groups."""

from __future__ import annotations

import grp
import pwd
import socket
import struct
import sys
from dataclasses import dataclass

_SO_PEERGROUPS = 59  # Linux 4.13; Python has no name for it
_MOST_GROUPS = 256  # what getsockopt's largest buffer of 1,024 bytes holds
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1  # macOS: <sys/un.h>
_XUCRED = struct.Struct("IIh2x16I")  # macOS: <sys/ucred.h>: version, uid, number of groups, groups


@dataclass(frozen=True, slots=True)
class Peer:
    """A process as it was when it connected; its groups are those that open files for it."""

    uid: int
    groups: frozenset[int]


def peer_of(connection: socket.socket) -> Peer:
    """Who has connected. Raises OSError where the kernel does not tell."""
    if sys.platform == "linux":
        size = struct.calcsize("iII")
        _, uid, gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        return Peer(uid, frozenset((gid, *_supplementary(connection))))
    _, uid, count, *groups = _XUCRED.unpack(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))
    return Peer(uid, frozenset(groups[:count]))


def user_name(uid: int) -> str:
    """The name of a user; empty where there is none. It may ask a directory service, and take long."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def group_id(name: str) -> int | None:
    """The number of a group, given by its name or its number; None where there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isascii() and name.isdecimal() else None


def _supplementary(connection: socket.socket) -> tuple[int, ...]:
    """The groups beside the first; none where there are more than can be asked for, or the kernel is too old."""
    try:
        groups = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    except OSError:
        return ()
    return struct.unpack(f"{len(groups) // 4}I", groups)
