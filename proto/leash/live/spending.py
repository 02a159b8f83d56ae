"""How fast a run spends: what its calls of the last minutes cost, in a bounded number of buckets. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from leash.units import NANOSECONDS_PER_SECOND

if TYPE_CHECKING:
    from leash.v1 import types_pb2

# Agents call every few seconds up to every minute or two: five minutes hold several calls of nearly all, and a change
# of pace shows within one or two of them.
WINDOW_NS = 300 * NANOSECONDS_PER_SECOND
BUCKET_NS = 10 * NANOSECONDS_PER_SECOND
_BUCKETS = WINDOW_NS // BUCKET_NS

# One call in the first second of a run says nothing of an hour: a rate is never taken over less than this.
_SHORTEST_NS = 30 * NANOSECONDS_PER_SECOND

_HOUR_NS = 3_600 * NANOSECONDS_PER_SECOND
_MINUTE_NS = 60 * NANOSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Pace:
    """What a run uses at its pace of the last minutes."""

    nanodollars_per_hour: int
    tokens_per_minute: int
    calls_per_hour: int


NO_PACE = Pace(0, 0, 0)


class Spending:
    """The last minutes of one run. ``since_ns`` is from when on all of its entries are known here."""

    __slots__ = ("_buckets", "_first_seq", "_last_seq", "since_ns")

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self._buckets: dict[int, tuple[int, int, int]] = {}
        self._first_seq = 0
        self._last_seq = 0

    def take(self, entry: types_pb2.Entry) -> None:
        """Counts one entry, once. Entries come in order, but those of before may come late, in order as well."""
        if not self._first_seq:
            self._first_seq = self._last_seq = entry.seq
        elif entry.seq > self._last_seq:
            self._last_seq = entry.seq
        else:
            return
        self._count(entry)

    def take_earlier(self, entries: list[types_pb2.Entry]) -> None:
        """Counts the entries from before the first one that was taken."""
        first_seq = self._first_seq
        for entry in entries:
            if not first_seq or entry.seq < first_seq:
                self._count(entry)
        if entries:
            self.since_ns = min(self.since_ns, entries[0].at_unix_ns)
            self._first_seq = min(first_seq, entries[0].seq) if first_seq else entries[0].seq
            self._last_seq = max(self._last_seq, entries[-1].seq)

    def pace(self, now_ns: int) -> Pace:
        """What it uses now, by what it used within the window."""
        recent = self._recent(now_ns)
        cost, tokens, calls = (sum(column) for column in zip(*recent.values(), strict=True)) if recent else (0, 0, 0)
        elapsed_ns = min(max(now_ns - self.since_ns, _SHORTEST_NS), WINDOW_NS)
        return Pace(
            nanodollars_per_hour=cost * _HOUR_NS // elapsed_ns,
            tokens_per_minute=tokens * _MINUTE_NS // elapsed_ns,
            calls_per_hour=calls * _HOUR_NS // elapsed_ns,
        )

    def bars(self, now_ns: int, count: int) -> tuple[int, ...]:
        """The nanodollars in each of ``count`` equal parts of the window, oldest first."""
        recent = self._recent(now_ns)
        last = now_ns // BUCKET_NS
        per_bar = -(-_BUCKETS // count)
        bars = [0] * count
        for number, (cost, _, _) in recent.items():
            position = count - 1 - (last - number) // per_bar
            if position >= 0:
                bars[position] += cost
        return tuple(bars)

    def _recent(self, now_ns: int) -> dict[int, tuple[int, int, int]]:
        oldest = now_ns // BUCKET_NS - _BUCKETS + 1
        return {number: sums for number, sums in self._buckets.items() if number >= oldest}

    def _count(self, entry: types_pb2.Entry) -> None:
        if entry.kind not in {"settled", "resolved"} or entry.released:
            return
        cost = entry.cost_nanodollars - entry.amended_nanodollars
        tokens = entry.usage.input_tokens + entry.usage.output_tokens
        number = entry.at_unix_ns // BUCKET_NS
        before = self._buckets.get(number, (0, 0, 0))
        self._buckets[number] = (before[0] + max(cost, 0), before[1] + tokens, before[2] + 1)
        if len(self._buckets) > 2 * _BUCKETS:
            for old in sorted(self._buckets)[:_BUCKETS]:
                del self._buckets[old]
