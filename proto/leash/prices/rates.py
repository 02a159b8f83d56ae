"""The rates of one model at one point, and how a rate that a table omits falls back.

Everything that decides which rate stands in for an omitted one is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# The tier that a call has which names none, or names the provider's ordinary one.
BASE_TIER = ""


class Rates(NamedTuple):
    """What one token of each kind costs, in attodollars (1e-18 dollars).

    Stored tables have them in this order: a new one stands at the end.
    """

    input: int
    output: int
    reasoning: int
    cached_input: int
    cache_write: int
    cache_write_5m: int
    cache_write_1h: int
    audio_input: int
    audio_output: int
    image_input: int
    image_output: int

    @property
    def dearest_input(self) -> int:
        """The most that a token of the prompt can cost, whatever kind it is."""
        return max(
            self.input,
            self.cached_input,
            self.cache_write,
            self.cache_write_5m,
            self.cache_write_1h,
            self.audio_input,
            self.image_input,
        )

    @property
    def dearest_output(self) -> int:
        """The most that a generated token can cost, whatever kind it is."""
        return max(self.output, self.reasoning, self.audio_output, self.image_output)


RATE_NAMES = Rates._fields

# The rates as a table gives them, in the order of Rates; None where it omits one.
GivenRates = Sequence[int | None]

# For each tier that a table gives ("" is the base): from how many input tokens on, ascending from 0, which rates.
GivenSchedules = Mapping[str, Sequence[tuple[int, GivenRates]]]

# The coarser rate that each falls back to; always one that stands before it in Rates.
_COARSER = {
    "reasoning": "output",
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_5m": "cache_write",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "audio_output": "output",
    "image_input": "input",
    "image_output": "output",
}
_COARSER_INDEX: tuple[int | None, ...] = tuple(
    RATE_NAMES.index(_COARSER[name]) if name in _COARSER else None for name in RATE_NAMES
)


@dataclass(frozen=True, slots=True)
class Step:
    """The rates of a whole call that has more than ``above_tokens`` input tokens (the first step: any number)."""

    above_tokens: int
    rates: Rates


def coarser_name(name: str) -> str | None:
    """The rate that an omitted one falls back to; ``None`` for input and output, which fall back to none."""
    return _COARSER.get(name)


def no_rates() -> list[int | None]:
    """Given rates that omit every one, to fill in."""
    return [None] * len(RATE_NAMES)


def resolve(given: GivenSchedules) -> dict[str, tuple[Step, ...]]:
    """The rates of every tier at every context length, with the omitted ones filled in.

    An omitted rate falls back to the coarser one of its own tier and context length (reasoning to output, cached
    input to input, a cache write of one TTL to cache write to input, audio and images to input or output). A rate
    that is given as 0 is given: it bills nothing.

    A tier or a longer context inherits what it omits. Where what it inherits from has a rate of its own for a kind
    (given, and not the same as the coarser one), that rate stands; but where the coarser rate is dearer here than
    there, the dearer of the two. So a surcharge that a table gives only for input reaches cached input as well, and
    a discount reaches only what it names. A point that is both (a tier at a longer context) inherits from both, the
    dearer; its coarser rate counts only where it is dearer here than at either.

    The base schedule gives input and output at its first step.
    """
    base = given[BASE_TIER]
    base_points = _points([above for above, _ in base], base, [])
    schedules = {BASE_TIER: _steps(base_points)}
    for tier, schedule in given.items():
        if tier != BASE_TIER:
            thresholds = sorted({above for above, _ in (*base, *schedule)})
            schedules[tier] = _steps(_points(thresholds, schedule, base_points))
    return schedules


def step_at(schedule: Sequence[Step], input_tokens: int) -> Step:
    """The step that a call with that many input tokens is in."""
    for step in reversed(schedule):
        if input_tokens > step.above_tokens:
            return step
    return schedule[0]


def dearest(rates: Iterable[Rates]) -> Rates:
    """The dearest rate of each kind."""
    return Rates(*map(max, zip(*rates, strict=True)))


def dearest_of(readings: Sequence[GivenSchedules]) -> dict[str, list[tuple[int, list[int | None]]]]:
    """One set of given schedules whose every rate is the dearest that any of these has at that tier and length.

    A tier that one of them omits has its base there. A rate that all of them omit everywhere stays omitted.
    """
    resolved = [resolve(reading) for reading in readings]
    every = (rates for reading in readings for schedule in reading.values() for _, rates in schedule)
    given = [any(rate is not None for rate in kind) for kind in zip(*every, strict=True)]
    merged: dict[str, list[tuple[int, list[int | None]]]] = {}
    for tier in dict.fromkeys(tier for schedules in resolved for tier in schedules):
        steps = [schedules.get(tier, schedules[BASE_TIER]) for schedules in resolved]
        merged[tier] = [
            (above, _only(given, dearest(step_at(schedule, above + 1).rates for schedule in steps)))
            for above in sorted({step.above_tokens for schedule in steps for step in schedule})
        ]
    return merged


def _only(kinds: Iterable[bool], rates: Rates) -> list[int | None]:
    return [rate if kind else None for kind, rate in zip(kinds, rates, strict=True)]


@dataclass(frozen=True, slots=True)
class _Point:
    """Filled-in rates, and for each whether it is the model's own rather than a coarser one's stand-in."""

    above_tokens: int
    rates: list[int]
    own: list[bool]


def _points(
    thresholds: Sequence[int], schedule: Iterable[tuple[int, GivenRates]], base: Sequence[_Point]
) -> list[_Point]:
    given = dict(schedule)
    points: list[_Point] = []
    for above in thresholds:
        inherited = points[-1:]
        at_base = [point for point in base if point.above_tokens <= above][-1:]
        points.append(_point(above, given.get(above) or no_rates(), [*inherited, *at_base]))
    return points


def _point(above_tokens: int, given: GivenRates, parents: Sequence[_Point]) -> _Point:
    rates: list[int] = []
    own: list[bool] = []
    for index, (rate, coarser_index) in enumerate(zip(given, _COARSER_INDEX, strict=True)):
        coarser = None if coarser_index is None else rates[coarser_index]
        if rate is None:
            owners = [parent for parent in parents if parent.own[index]]
            owns = bool(owners)
            filled = _inherited(owners, index, coarser) if owns else coarser
            assert filled is not None, "the base gives input and output"
        else:
            owns = rate != coarser
            filled = rate
        rates.append(filled)
        own.append(owns)
    return _Point(above_tokens, rates, own)


def _inherited(owners: Sequence[_Point], index: int, coarser: int | None) -> int:
    rate = max(owner.rates[index] for owner in owners)
    coarser_index = _COARSER_INDEX[index]
    if coarser is None or coarser_index is None or any(coarser <= owner.rates[coarser_index] for owner in owners):
        return rate
    return max(rate, coarser)


def _steps(points: Iterable[_Point]) -> tuple[Step, ...]:
    return tuple(Step(point.above_tokens, Rates(*point.rates)) for point in points)
