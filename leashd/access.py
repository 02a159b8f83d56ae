"""Who may open the daemon's sockets: its user alone, or in a daemon of the whole host the members of two groups."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from leashd.peers import group_id

GROUP = "leash"
ADMIN_GROUP = "leash-admin"


class AccessError(Exception):
    """The sockets cannot be given to whom they are for; the message says what to do."""


@dataclass(frozen=True, slots=True)
class SocketAccess:
    """The mode of a socket, and the group that it is given to."""

    mode: int
    gid: int | None = None

    def give(self, path: Path) -> None:
        """Opens a socket that nobody else may open yet. Raises AccessError."""
        try:
            if self.gid is not None:
                os.chown(path, -1, self.gid)
            path.chmod(self.mode)
        except OSError as error:
            raise AccessError(f"{path} cannot be opened to group {self.gid}: {error.strerror}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may open which socket, and the mode of a directory that is made for them."""

    shims: SocketAccess
    people: SocketAccess
    tickets: SocketAccess
    directory_mode: int


USER_ACCESS = Access(
    shims=SocketAccess(0o600), people=SocketAccess(0o600), tickets=SocketAccess(0o600), directory_mode=0o700
)


def system_access(group: str, admin_group: str) -> Access:
    """A daemon of the whole host: a ticket says only who one is, and is for everybody. Raises AccessError."""
    return Access(
        shims=SocketAccess(0o660, _gid(group, "--group")),
        people=SocketAccess(0o660, _gid(admin_group, "--admin-group")),
        tickets=SocketAccess(0o666),
        directory_mode=0o755,
    )


def _gid(group: str, flag: str) -> int:
    gid = group_id(group)
    if gid is None:
        raise AccessError(f"there is no group {group}: make it with `groupadd --system {group}`, or name one by {flag}")
    if os.geteuid() != 0 and gid not in {os.getegid(), *os.getgroups()}:
        raise AccessError(
            f"uid {os.geteuid()} is no member of group {group}, and cannot give a socket to it: run leashd as root, or "
            f"as a member, or name another group by {flag}"
        )
    return gid
