"""Which queue of notices is attended to next: pure, with time as an argument.

The rule: no place gets more than its share of what goes out at once, so a place that is slow, or does not answer, holds
up its own queues and no other's.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

from leashd.core.outbox import QueueKey

AT_ONCE = 64  # deliveries under way: sixteen places that do not answer, each with its share, before others wait
WOKEN_AT_ONCE = 256  # queues whose place is looked up between two other tasks: some 6 ms
AT_ONCE_TO_A_PLACE = 4  # enough for hundreds of notices a second, and four processes of a hook


class Schedule:
    """The queues that have something to tell. ``place_of`` says where the notices of a queue go now."""

    def __init__(self, place_of: Callable[[QueueKey], str]) -> None:
        self._place_of = place_of
        self._due_ns: dict[QueueKey, int] = {}  # of those that wait for an instant
        self._heap: list[tuple[int, int, QueueKey]] = []  # with what is outdated: a queue counts by ``_due_ns``
        self._order = count()
        self._ready: dict[str, deque[QueueKey]] = {}  # by place, in order
        self._is_ready: set[QueueKey] = set()
        self._busy: dict[QueueKey, str] = {}
        self._at_a_place: dict[str, int] = {}

    def __len__(self) -> int:
        """How many queues there are."""
        return len(self._due_ns) + len(self._is_ready) + len(self._busy)

    @property
    def busy(self) -> int:
        """How many are attended to."""
        return len(self._busy)

    def add(self, queue: QueueKey, due_ns: int) -> None:
        """A queue has something to tell from an instant on; the earliest counts. One that is attended to is looked at
        anyway when that is over.
        """  # noqa: D205 - the rule in one breath
        if queue in self._busy or queue in self._is_ready or self._due_ns.get(queue, due_ns + 1) <= due_ns:
            return
        self._due_ns[queue] = due_ns
        heapq.heappush(self._heap, (due_ns, next(self._order), queue))

    def take(self, now_ns: int) -> QueueKey | None:
        """The next queue to attend to; None where there is none now, or enough is under way."""
        self._wake(now_ns)
        if len(self._busy) >= AT_ONCE:
            return None
        for place, queues in self._ready.items():
            if self._at_a_place.get(place, 0) < AT_ONCE_TO_A_PLACE:
                queue = queues.popleft()
                del self._ready[place]
                if queues:
                    self._ready[place] = queues  # behind the other places
                self._is_ready.discard(queue)
                self._busy[queue] = place
                self._at_a_place[place] = self._at_a_place.get(place, 0) + 1
                return queue
        return None

    def done(self, queue: QueueKey, due_ns: int | None) -> None:
        """A queue was attended to, and has more to tell from an instant on; None for nothing more."""
        place = self._busy.pop(queue)
        self._at_a_place[place] -= 1
        if not self._at_a_place[place]:
            del self._at_a_place[place]
        if due_ns is not None:
            self.add(queue, due_ns)

    def next_due_ns(self) -> int | None:
        """When a queue that waits for an instant is due."""
        while self._heap and self._due_ns.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _wake(self, now_ns: int) -> None:
        for _ in range(WOKEN_AT_ONCE):  # those that are left are due still, and woken the next time
            if (due_ns := self.next_due_ns()) is None or due_ns > now_ns:
                return
            queue = heapq.heappop(self._heap)[2]
            del self._due_ns[queue]
            self._is_ready.add(queue)
            self._ready.setdefault(self._place_of(queue), deque()).append(queue)
