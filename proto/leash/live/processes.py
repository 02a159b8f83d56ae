"""The live processes of wrapped runs, as ``ps`` and ``top`` show them. Nothing of it is ever stored."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Live:
    """One process: its command line, its share of one processor, and its resident memory."""

    command: str
    cpu_percent: float
    memory_bytes: int


class ProcessGauge:
    """Looks at processes: their CPU is that since the look before, and at the first one since their start."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[float, float, float]] = {}

    def look_at(self, pid: int) -> Live | None:
        """The process with this id; None where there is none, or another user's that may not be looked at."""
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times, created_s = process.cpu_times(), process.create_time()
                command = " ".join(process.cmdline()) or process.name()
                memory_bytes = process.memory_info().rss
        except psutil.Error:
            self._before.pop(pid, None)
            return None
        used_s, now_s = times.user + times.system, time.time()
        before = self._before.get(pid)
        # An id is used again; the look at another process before says nothing of this one.
        since_s, since_used_s = before[1:] if before is not None and before[0] == created_s else (created_s, 0.0)
        self._before[pid] = (created_s, now_s, used_s)
        return Live(command, 100 * max(used_s - since_used_s, 0.0) / max(now_s - since_s, 0.001), memory_bytes)

    def keep_only(self, pids: set[int]) -> None:
        """Forgets the processes that nobody asks for any more."""
        for pid in self._before.keys() - pids:
            del self._before[pid]
