"""The line of calls that wait for room in one run, in order of arrival."""

from __future__ import annotations

from dataclasses import dataclass

LOOKAHEAD = 64  # later waiters that are tried past a blocked head on each entry, so that a long line stays cheap
MAX_WAITERS = 4096  # of one run; a client beyond it is told to come back, and the daemon's memory stays bounded


@dataclass(frozen=True, slots=True)
class Turn:
    """When a waiter came and when it gives up."""

    arrived_at_ns: int
    gives_up_at_ns: int

    def may_be_passed(self, now_ns: int) -> bool:
        """Whether later waiters that fit may go first: during the first half of the wait, so that none starves."""
        return 2 * (now_ns - self.arrived_at_ns) < self.gives_up_at_ns - self.arrived_at_ns
