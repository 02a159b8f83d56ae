"""What a service tells systemd about itself: sd_notify(3), and the watchdog of sd_watchdog_enabled(3).

The rule: only the process that systemd has started says anything. What it needs for that is taken out of the
environment, so that nothing which it starts takes it for its own.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

# Of the time that systemd gives, between two signs of life: one may come late without harm.
_SIGNS_PER_WATCHDOG = 3

# systemd takes a datagram at once; where it is too busy for that, the service has better things to do.
_SEND_TIMEOUT_S = 1.0

# systemd takes what fits into one datagram; a status line is for one line of a terminal.
_MOST_STATUS_CHARACTERS = 400


class Notifier:
    """Tells systemd how the service is, and is silent where systemd has not asked.

    ``watchdog_interval_s`` is how often ``alive`` is to be called; None where there is no watchdog.
    """

    def __init__(self, address: str = "", *, watchdog_interval_s: float | None = None) -> None:
        self._address = address
        self.watchdog_interval_s = watchdog_interval_s if address else None

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str]) -> Notifier:
        """The one that the environment names, which no longer does so then."""
        address = environ.pop("NOTIFY_SOCKET", "")
        period, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        watched = period.isdecimal() and int(period) > 0 and pid in ("", str(os.getpid()))
        return cls(address, watchdog_interval_s=int(period) / 1e6 / _SIGNS_PER_WATCHDOG if watched else None)

    def ready(self, status: str) -> None:
        """The service serves: after its start, and after a reload."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """What ``systemctl status`` shows of it."""
        self._send(_status(status))

    def reloading(self) -> None:
        """It reads its settings again; ``ready`` has to follow, whatever comes of it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """It ends what is under way, and then itself."""
        self._send("STOPPING=1", _status(status))

    def alive(self) -> None:
        """A sign of life for the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        """Sends a datagram. One that cannot be sent is systemd's to miss, and no reason to end a service."""
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_SEND_TIMEOUT_S)
                sender.sendto("\n".join(assignments).encode("utf-8"), address)
        except OSError:
            return


def _status(status: str) -> str:
    return f"STATUS={' '.join(status.split())[:_MOST_STATUS_CHARACTERS]}"
