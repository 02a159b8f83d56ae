"""The ledger's clock: boot time within a boot, so that a step of the wall clock neither extends nor trips anything."""

from __future__ import annotations

import time
from pathlib import Path

from leashd.ledger.protocol import ClockRecord

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LedgerClock:
    """Nanoseconds since the Unix epoch that never run backwards, across restarts and reboots.

    Within a boot it goes on from what the ledger last committed. After a reboot, or where the host names no boot, it
    starts at the wall clock, or at the last committed time if the wall clock is behind that.
    """

    def __init__(self, committed: ClockRecord | None) -> None:
        self._boot_id = _boot_id()
        boot_ns = _boot_ns()
        same_boot = (
            committed is not None
            and bool(self._boot_id)
            and committed.boot_id == self._boot_id
            and committed.boot_ns <= boot_ns
        )
        if committed is not None and same_boot:
            self._offset_ns = committed.ledger_ns - committed.boot_ns
        else:
            self._offset_ns = max(time.time_ns(), committed.ledger_ns if committed else 0) - boot_ns

    def now_ns(self) -> int:
        """The ledger's time."""
        return _boot_ns() + self._offset_ns

    def record(self, now_ns: int) -> ClockRecord:
        """What a commit keeps of the clock, for an instant that it gave."""
        return ClockRecord(boot_id=self._boot_id, ledger_ns=now_ns, boot_ns=now_ns - self._offset_ns)


def _boot_ns() -> int:
    # CLOCK_BOOTTIME goes on through a suspend; where the host has none (macOS), its monotonic clock does.
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
