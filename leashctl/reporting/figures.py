"""What the entries of runs come to in a report. Pure; fed entry by entry, so that no journal is held in memory."""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leash.v1 import types_pb2

# Calls in a list of the dearest or the slowest.
MOST_CALLS = 10

# Points of a line: more than there are pixels across are not seen.
_MOST_POINTS = 800

# Models, runs and events that are told apart; those beyond are added up, or counted.
MOST_NAMES = 200
MOST_EVENTS = 100
OTHERS = "(others)"

_COUNTED = frozenset(("settled", "resolved"))
_EVENTS = frozenset(("stopped", "warned", "would_stop", "raised", "abandoned", "resolved", "checkpoint"))


@dataclass(slots=True)
class Sums:
    """What calls add up to."""

    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanodollars: int = 0


@dataclass(frozen=True, slots=True, order=True)
class CallFigures:
    """One call; the first field is what a list of calls goes by."""

    rank: int
    seq: int
    run: str = field(compare=False)
    at_ns: int = field(compare=False)
    model: str = field(compare=False)
    input_tokens: int = field(compare=False)
    output_tokens: int = field(compare=False)
    cost_nanodollars: int = field(compare=False)
    duration_ns: int = field(compare=False)
    http_status: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class EventFigures:
    """One event that is worth a line."""

    run: str
    entry: types_pb2.Entry


class Figures:
    """A report's figures. ``since_ns`` leaves out what was before; ``bucket_ns`` is the width of a bar over time."""

    def __init__(self, *, since_ns: int = 0, bucket_ns: int = 1) -> None:
        self.since_ns = since_ns
        self.bucket_ns = bucket_ns
        self.total = Sums()
        self.by_model: dict[str, Sums] = defaultdict(Sums)
        self.by_run: dict[str, Sums] = defaultdict(Sums)
        self.tokens: dict[str, int] = defaultdict(int)
        self.buckets: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.points: list[tuple[int, int]] = []
        self.events: list[EventFigures] = []
        self.events_left_out = 0
        self.pruned_runs = 0
        self._keep_every = 1
        self._skipped = 0
        self._dearest: list[CallFigures] = []
        self._slowest: list[CallFigures] = []
        self._reserved_at_ns: dict[bytes, int] = {}

    def take(self, run: str, entry: types_pb2.Entry) -> None:
        """Takes the next entry of a run."""
        if entry.kind == "reserved":
            self._reserved_at_ns[entry.call_id] = entry.at_unix_ns
            return
        begun_ns = entry.at_unix_ns
        if entry.kind in {"settled", "voided", "resolved"}:
            begun_ns = self._reserved_at_ns.pop(entry.call_id, 0)
        if entry.kind == "checkpoint":
            self.pruned_runs += 1
            if not self.since_ns:
                self._take_checkpoint(run, entry)
        if entry.at_unix_ns < self.since_ns:
            return
        if entry.kind in _EVENTS:
            if len(self.events) < MOST_EVENTS:
                self.events.append(EventFigures(run, entry))
            else:
                self.events_left_out += 1
        if entry.kind in _COUNTED and not entry.released:
            self._take_call(run, entry, begun_ns)

    def end_run(self) -> None:
        """Forgets the calls of a run that are still open, once all of its entries were taken."""
        self._reserved_at_ns.clear()

    def dearest(self) -> list[CallFigures]:
        """The calls that cost most, the dearest first."""
        return sorted(self._dearest, reverse=True)

    def slowest(self) -> list[CallFigures]:
        """The calls that took longest, the slowest first."""
        return sorted(self._slowest, reverse=True)

    def _take_checkpoint(self, run: str, entry: types_pb2.Entry) -> None:
        """Counts what the pruned entries came to; of their models and times nothing is known any more."""
        account = entry.account
        sums = Sums(
            account.calls,
            account.error_calls,
            account.input_tokens,
            account.output_tokens,
            account.token_cost_nanodollars,
        )
        for each in (self.total, self.by_model["(pruned)"], self._of_run(run)):
            _add(each, sums)
        self._point(entry.at_unix_ns)

    def _take_call(self, run: str, entry: types_pb2.Entry, begun_ns: int) -> None:
        usage = entry.usage
        cost = entry.cost_nanodollars - entry.amended_nanodollars
        # A settle that amends what a person has resolved is of a call that was counted already.
        is_new = not entry.amends or entry.amends_released
        is_error = entry.http_status >= 400
        sums = Sums(int(is_new), int(is_error), usage.input_tokens, usage.output_tokens, cost)
        model = entry.model or "(no model)"
        if model not in self.by_model and len(self.by_model) >= MOST_NAMES:
            model = OTHERS
        for each in (self.total, self.by_model[model], self._of_run(run)):
            _add(each, sums)
        self._count_tokens(usage)
        self.buckets[entry.at_unix_ns // self.bucket_ns][run] += cost
        self._point(entry.at_unix_ns)
        duration_ns = max(entry.at_unix_ns - begun_ns, 0) if begun_ns and entry.kind == "settled" else 0
        self._rank(self._dearest, cost, run, entry, duration_ns)
        if duration_ns:
            self._rank(self._slowest, duration_ns, run, entry, duration_ns)

    def _of_run(self, run: str) -> Sums:
        known = run in self.by_run or len(self.by_run) < 50 * MOST_NAMES
        return self.by_run[run if known else OTHERS]

    def _count_tokens(self, usage: types_pb2.Usage) -> None:
        """Adds each kind once: subsets are taken out of what holds them."""
        written = usage.cache_write_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        audio_in, image_in = usage.audio_input_tokens, usage.image_input_tokens
        special_in = usage.cached_input_tokens + written + audio_in + image_in
        special_out = usage.reasoning_tokens + usage.audio_output_tokens + usage.image_output_tokens
        kinds = {
            "input": max(usage.input_tokens - special_in, 0),
            "cached input": usage.cached_input_tokens,
            "cache write": written,
            "audio input": audio_in,
            "image input": image_in,
            "output": max(usage.output_tokens - special_out, 0),
            "reasoning": usage.reasoning_tokens,
            "audio output": usage.audio_output_tokens,
            "image output": usage.image_output_tokens,
        }
        for kind, count in kinds.items():
            if count:
                self.tokens[kind] += count

    def _point(self, at_ns: int) -> None:
        """Adds a point to the line of the total; of a long one every second, fourth, … is kept."""
        point = (at_ns, self.total.cost_nanodollars)
        self._skipped += 1
        if self._skipped < self._keep_every and self.points:
            # The line always ends where the run stands.
            if self._skipped > 1:
                self.points[-1] = point
            else:
                self.points.append(point)
            return
        self._skipped = 0
        self.points.append(point)
        if len(self.points) > 2 * _MOST_POINTS:
            self.points = self.points[::2]
            self._keep_every *= 2

    @staticmethod
    def _rank(calls: list[CallFigures], rank: int, run: str, entry: types_pb2.Entry, duration_ns: int) -> None:
        call = CallFigures(
            rank=rank,
            seq=entry.seq,
            run=run,
            at_ns=entry.at_unix_ns,
            model=entry.model,
            input_tokens=entry.usage.input_tokens,
            output_tokens=entry.usage.output_tokens,
            cost_nanodollars=entry.cost_nanodollars,
            duration_ns=duration_ns,
            http_status=entry.http_status,
        )
        if len(calls) < MOST_CALLS:
            heapq.heappush(calls, call)
        else:
            heapq.heappushpop(calls, call)


def _add(to: Sums, more: Sums) -> None:
    to.calls += more.calls
    to.errors += more.errors
    to.input_tokens += more.input_tokens
    to.output_tokens += more.output_tokens
    to.cost_nanodollars += more.cost_nanodollars
