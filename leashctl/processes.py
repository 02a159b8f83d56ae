"""The live processes of wrapped runs, as ``ps`` shows them. Nothing of it is ever stored."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Live:
    """One process: its command line, its share of one processor since it started, and its resident memory."""

    command: str
    cpu_percent: float
    memory_bytes: int


def look_at(pid: int) -> Live | None:
    """The process with this id; None where there is none, or another user's that may not be looked at."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            # Since its start, so that no sample has to be waited for.
            elapsed_s = max(time.time() - process.create_time(), 0.001)
            command = " ".join(process.cmdline()) or process.name()
            return Live(command, 100 * (times.user + times.system) / elapsed_s, process.memory_info().rss)
    except psutil.Error:
        return None
