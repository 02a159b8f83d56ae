"""Which versions of the shims' protocol this leash speaks, and which of them two peers talk. Pure.

A version is bumped when a shim and a daemon of different versions could misunderstand each other. Fields that may be
left unread are added without it. A daemon goes on speaking older ones for as long as OLDEST_PROTOCOL says.
"""

from __future__ import annotations

NEWEST_PROTOCOL = 2
OLDEST_PROTOCOL = 2


def common_protocol(oldest: int, newest: int) -> int | None:
    """The newest version that this leash and a peer both speak; None where there is none."""
    common = min(newest, NEWEST_PROTOCOL)
    return common if common >= max(oldest, OLDEST_PROTOCOL) else None


def shown(oldest: int, newest: int) -> str:
    """A range for people."""
    return f"protocol {newest}" if oldest == newest else f"protocols {oldest} to {newest}"


def mismatch(*, client: str, oldest: int, newest: int, daemon: str, pid: int) -> str:
    """Why a daemon and a client cannot talk, and what to do; ``client`` and ``daemon`` are their versions."""
    spoken = (
        f"leashd {daemon} (pid {pid}) speaks {shown(OLDEST_PROTOCOL, NEWEST_PROTOCOL)}, and this leash "
        f"{client or 'of unknown version'} speaks {shown(oldest, newest)}"
    )
    if newest < OLDEST_PROTOCOL:
        return f"{spoken}: upgrade this leash, which is the older one"
    return (
        f"{spoken}: leashd is the older one. Upgrade it, and `kill {pid}`: the next command starts the new one (the "
        "system's leashd: `systemctl restart leashd`)"
    )
