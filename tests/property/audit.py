"""An auditor that shares nothing with what it audits: it reads entries by name, and adds up from scratch each time.

What an entry does to a run is in this file; whether it should have been written is in ``rules``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any

HOUR_NS = 3_600 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a shim asked for one call."""

    model: str
    input_bound: int | None = None
    output_bound: int | None = None
    choices: int = 1
    server_tools: bool = False
    unmeterable: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many runs may be open, and how many a tenant may have, for one who makes another."""

    open_runs: int
    runs: int


@dataclass(slots=True, kw_only=True)
class CallLine:
    """One call as its entries tell it. ``cost`` is what it counts for, None where it does not count."""

    call: bytes
    session: bytes
    asked: Asked
    prices: bytes
    held: int
    unknown_hold: bool
    reserved_seq: int
    alone: bool
    state: str = "open"
    cost: int | None = None
    tool_cost: int = 0
    released: bool = False
    known: Any = None


@dataclass(slots=True)
class RunBook:
    """One run as its entries tell it."""

    run: str
    limits: Any = None
    prices: bytes = b""
    openers: set[bytes] = field(default_factory=set)
    closed_cleanly: bool = False
    stop: Any = None
    stops: int = 0
    warnings: int = 0
    owes_stop: bool = False
    may_cross: bool = False  # a call was dearer than its hold, or went alone at the edge
    warned: dict[str, int] = field(default_factory=dict)  # reason -> the limit that it was given for
    would_stop: set[str] = field(default_factory=set)
    person_moved_money: bool = False  # a resolve, or a limit that was lowered: strict does not answer for these
    calls: dict[bytes, CallLine] = field(default_factory=dict)
    seq: int = 0
    episode_ns: int = 0
    streak: int = 0
    streak_of: bytes = b""
    streak_seq: int = 0
    window: list[tuple[int, int]] = field(default_factory=list)
    last_cost: int = 0
    errors: int = 0
    meter_from_ns: int | None = None
    open_until_ns: int = 0  # the latest instant at which a session that has left had it open
    metered: int = 0  # nanodollar-nanoseconds for each hour
    dearest: dict[str, int] = field(default_factory=dict)

    def in_state(self, state: str) -> list[CallLine]:
        return [call for call in self.calls.values() if call.state == state]

    def held(self, state: str) -> int:
        return sum(call.held for call in self.in_state(state))

    @property
    def counted(self) -> int:
        return sum(call.cost is not None for call in self.calls.values())

    @property
    def token_cost(self) -> int:
        return sum(call.cost or 0 for call in self.calls.values())

    def compute_cost(self, now_ns: int) -> int:
        running = 0
        if self.meter_from_ns is not None:
            running = max(0, now_ns - self.meter_from_ns) * self.limits.compute_rate_nanodollars_per_hour
        return ceil(Fraction(self.metered + running, HOUR_NS))

    def spent(self, now_ns: int) -> int:
        return self.token_cost + self.compute_cost(now_ns)

    def halt_meter(self, at_ns: int) -> None:
        if self.meter_from_ns is not None:
            rate = self.limits.compute_rate_nanodollars_per_hour
            self.metered += max(0, at_ns - self.meter_from_ns) * rate
            self.meter_from_ns = None

    def take_limits(self, limits: Any, at_ns: int) -> None:
        if limits is None:
            return
        old = self.limits
        if old is not None and old.compute_rate_nanodollars_per_hour != limits.compute_rate_nanodollars_per_hour:
            was_running = self.meter_from_ns is not None
            self.halt_meter(at_ns)
            self.meter_from_ns = at_ns if was_running else None
        if old is not None and not looser_or_same(limits, old):
            self.person_moved_money = True
        self.limits = limits


def looser_or_same(new: Any, old: Any) -> bool:
    """Whether a change of limits leaves strict as it was, and its budget no smaller."""
    roomier = not new.max_cost_nanodollars or 0 < old.max_cost_nanodollars <= new.max_cost_nanodollars
    return bool(roomier and new.strict == old.strict and new.observe == old.observe)


@dataclass(slots=True)
class Books:
    """Every run, and what the whole ledger knows of each model."""

    asked: Callable[[bytes], Asked]
    runs: dict[str, RunBook] = field(default_factory=dict)
    dearest: dict[str, int] = field(default_factory=dict)
    metered: set[str] = field(default_factory=set)

    def tenant(self, run: str) -> list[RunBook]:
        """The runs of the tenant that a run of this name has."""
        parts = run.split("/")
        return [book for name, book in self.runs.items() if name.split("/")[:-1] == parts[:-1]]

    def apply(self, run: str, seq: int, at_ns: int, event: Any) -> None:
        """Takes one entry down; the rules were asked before."""
        book = self.runs.setdefault(run, RunBook(run))
        book.seq = seq
        getattr(self, f"_{type(event).__name__.lower()}")(book, event, at_ns)

    def _opened(self, book: RunBook, event: Any, at_ns: int) -> None:
        book.take_limits(event.in_force, at_ns)
        book.prices = event.prices
        book.openers.add(event.session)
        if event.new_episode:
            book.episode_ns = 0
        if book.episode_ns and book.meter_from_ns is None and book.stop is None:
            book.meter_from_ns = at_ns

    def _closed(self, book: RunBook, event: Any, _at_ns: int) -> None:
        book.openers.discard(event.session)
        book.closed_cleanly = event.clean
        book.open_until_ns = max(book.open_until_ns, event.until_ns)
        if not book.openers:
            book.halt_meter(book.open_until_ns)

    def _checkpoint(self, book: RunBook, event: Any, at_ns: int) -> None:
        """What was before is gone from the journal; the books go on."""

    def _reserved(self, book: RunBook, event: Any, at_ns: int) -> None:
        book.calls[event.call] = CallLine(
            call=event.call,
            session=event.session,
            asked=self.asked(event.call),
            prices=book.prices,
            held=event.held_nanodollars,
            unknown_hold=int(event.basis) in (3, 4),
            reserved_seq=book.seq,
            alone=not book.in_state("open"),
        )
        book.episode_ns = book.episode_ns or at_ns
        if book.meter_from_ns is None and book.openers:
            book.meter_from_ns = at_ns

    def _settled(self, book: RunBook, event: Any, at_ns: int) -> None:
        line = book.calls[event.call]
        line.state, line.cost, line.tool_cost = "settled", event.cost_nanodollars, event.tool_cost_nanodollars
        book.last_cost = event.cost_nanodollars
        book.errors += event.http_status >= 400
        self._streak(book, event, line)
        if event.usage is not None:
            tokens = event.usage.input_tokens + event.usage.output_tokens
            if book.limits.rate_tokens:
                book.window.append((at_ns, tokens))
            if event.blind is None and event.http_status < 400:
                self.metered.add(line.asked.model)
        self._dearest(book, line)
        self.dearest[line.asked.model] = max(self.dearest.get(line.asked.model, 0), event.cost_nanodollars)

    def _streak(self, book: RunBook, event: Any, line: CallLine) -> None:
        if event.http_status >= 400 or line.reserved_seq <= book.streak_seq:
            return
        same = bool(event.fingerprint) and event.fingerprint == book.streak_of
        book.streak = book.streak + 1 if same else int(bool(event.fingerprint))
        book.streak_of, book.streak_seq = event.fingerprint, book.seq

    def _dearest(self, book: RunBook, line: CallLine) -> None:
        book.dearest[line.asked.model] = max(book.dearest.get(line.asked.model, 0), line.cost or 0)

    def _voided(self, book: RunBook, event: Any, _at_ns: int) -> None:
        book.calls[event.call].state = "voided"

    def _abandoned(self, book: RunBook, event: Any, _at_ns: int) -> None:
        line = book.calls[event.call]
        line.state, line.held, line.known = "unresolved", event.kept_nanodollars, event.known

    def _resolved(self, book: RunBook, event: Any, _at_ns: int) -> None:
        line = book.calls[event.call]
        line.state, line.cost, line.released = "resolved", event.cost_nanodollars, event.cost_nanodollars is None
        book.person_moved_money = True
        self._dearest(book, line)

    def _stopped(self, book: RunBook, event: Any, at_ns: int) -> None:
        book.halt_meter(at_ns)
        book.stop, book.owes_stop = event, False
        book.stops += 1

    def _warned(self, book: RunBook, event: Any, _at_ns: int) -> None:
        book.warned[event.reason.value] = event.limit
        book.warnings += 1

    def _wouldstop(self, book: RunBook, event: Any, _at_ns: int) -> None:
        book.would_stop.add(event.reason.value)

    def _raised(self, book: RunBook, event: Any, at_ns: int) -> None:
        book.take_limits(event.in_force, at_ns)
        if event.lifted:
            book.stop = None
            book.streak, book.streak_of, book.streak_seq = 0, b"", book.seq
            if book.openers and book.episode_ns:
                book.meter_from_ns = at_ns
