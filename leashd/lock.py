"""One daemon for one ledger: a lock beside the file, which names the process that holds it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

LEAVING_WAIT_S = 10.0  # for a daemon that is on its way out: its last commit takes far less
_POLL_S = 0.05


class LedgerLockedError(Exception):
    """Another daemon has the ledger open; the message names its pid."""

    def __init__(self, message: str, pid: str) -> None:
        super().__init__(message)
        self.pid = pid


class LedgerLock:
    """Held from before the ledger is opened until the process ends, so that even a crash releases it."""

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(f"{ledger.name}.pid")
        self._descriptor = self._opened()

    def acquire(self) -> None:
        """Takes the lock, waiting only for a daemon that says it is leaving. Raises LedgerLockedError."""
        deadline_s = time.monotonic() + LEAVING_WAIT_S
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = self._path.read_text().split()
                if "leaving" not in holder or time.monotonic() > deadline_s:
                    pid = holder[0] if holder else "unknown"
                    raise LedgerLockedError(
                        f"the ledger {self._path.with_suffix('')} is open in another leashd (pid {pid}): "
                        "use that one, or another --ledger",
                        pid,
                    ) from None
                time.sleep(_POLL_S)
            else:
                if self._is_current():
                    self._write(f"{os.getpid()}\n")
                    return
                os.close(self._descriptor)
                self._descriptor = self._opened()

    def leaving(self) -> None:
        """Tells whoever comes next that waiting a moment is worth it."""
        self._write(f"{os.getpid()}\nleaving\n")

    def release(self, *, remove: bool) -> None:
        """Gives the ledger up before the process ends, and takes the lock's file away where nothing is to be left."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _opened(self) -> int:
        # A link that somebody else put there would have another file overwritten.
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _is_current(self) -> bool:
        """Whether the file that is locked is still the one that the next daemon finds."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _write(self, text: str) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)
