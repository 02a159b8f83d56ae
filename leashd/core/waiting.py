"""The line of calls that wait for room in one run, in order of arrival."""

from __future__ import annotations

from dataclasses import dataclass

LOOKAHEAD = 64  # later waiters that are tried past a blocked head on each entry, so that a long line stays cheap
MAX_WAITERS = 4096  # of one run; a client beyond it is told to come back, and the daemon's memory stays bounded


@dataclass(frozen=True, slots=True)
class Turn:
    """A place in the line. How long it may wait is its run's limit at the time that one looks."""

    arrived_at_ns: int

    def gives_up_at_ns(self, hold_wait_ns: int) -> int:
        """When the waiter has waited as long as it may."""
        return self.arrived_at_ns + hold_wait_ns

    def may_be_passed(self, now_ns: int, hold_wait_ns: int) -> bool:
        """Whether later waiters that fit may go first: during the first half of the wait, so that none starves."""
        return 2 * (now_ns - self.arrived_at_ns) < hold_wait_ns
