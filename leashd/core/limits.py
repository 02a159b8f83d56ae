"""The limits of a run, and which change of a limit an opener may make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import IntEnum

from leashd.core.bounds import MAX_COMPUTE_RATE_NANODOLLARS_PER_HOUR, MAX_LIMIT

DEFAULT_HOLD_WAIT_NS = 30_000_000_000
PPM = 1_000_000


class OnBlind(IntEnum):
    """What a call that cannot be metered or priced does to a run with a cost budget; larger is looser."""

    REFUSE = 1
    WARN = 2
    ALLOW = 3


class ContradictionError(ValueError):
    """Limits that are fine one by one, and cannot hold together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use. Zero turns a boundary off."""

    max_cost_nanodollars: int = 0
    max_calls: int = 0
    deadline_ns: int = 0
    rate_tokens: int = 0
    rate_window_ns: int = 0
    stall_replies: int = 0
    compute_rate_nanodollars_per_hour: int = 0
    max_cost_per_call_nanodollars: int = 0
    warn_at_ppm: int = 0
    on_blind: OnBlind = OnBlind.REFUSE
    strict: bool = False
    observe: bool = False
    hold_wait_ns: int = DEFAULT_HOLD_WAIT_NS

    def __post_init__(self) -> None:
        for name in _INTEGERS:
            if not 0 <= getattr(self, name) <= MAX_LIMIT:
                raise ValueError(f"{FLAGS[name]} must not be negative, nor larger than any real limit")
        if self.compute_rate_nanodollars_per_hour > MAX_COMPUTE_RATE_NANODOLLARS_PER_HOUR:
            raise ValueError("--compute-rate must be at most a million dollars an hour")
        if bool(self.rate_tokens) != bool(self.rate_window_ns):
            raise ValueError("a rate needs both tokens and a window")
        if self.warn_at_ppm > PPM:
            raise ValueError("warn_at_ppm must be at most 1,000,000, the whole budget")
        if (
            self.strict
            and self.max_cost_nanodollars
            and self.compute_rate_nanodollars_per_hour
            and not self.deadline_ns
        ):
            raise ContradictionError(
                "--strict with a compute rate needs a deadline: without one the compute has no ceiling"
            )


_INTEGERS = tuple(f.name for f in fields(Limits) if f.type == "int")

FLAGS: Mapping[str, str] = {
    "max_cost_nanodollars": "--max-cost",
    "max_calls": "--max-calls",
    "deadline_ns": "--deadline",
    "rate_tokens": "--rate",
    "rate_window_ns": "--rate",
    "stall_replies": "--stall",
    "compute_rate_nanodollars_per_hour": "--compute-rate",
    "max_cost_per_call_nanodollars": "--max-cost-per-call",
    "warn_at_ppm": "--warn-at",
    "on_blind": "--on-blind",
    "strict": "--strict",
    "observe": "--observe",
    "hold_wait_ns": "--hold-wait",
}
"""What a person types for each limit."""

Given = Mapping[str, int]
"""The limits that somebody named, by field name; the rest stay as they are."""

_CAPS = frozenset(
    {"max_cost_nanodollars", "max_calls", "deadline_ns", "stall_replies", "max_cost_per_call_nanodollars"}
)

_RATE = frozenset({"rate_tokens", "rate_window_ns"})
"""The two are one limit, so they are judged and taken together."""


class LooserLimitError(ValueError):
    """An opener asked for a limit that is looser than the one in force; only ``raise`` may do that."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.flag = FLAGS[field]


@dataclass(frozen=True, slots=True)
class LimitState:
    """A run's limits: what its openers last declared, and what is in force after raises."""

    declared: Limits
    in_force: Limits


def first_limits(given: Given, defaults: Given) -> LimitState:
    """The limits of a new run: those given, the defaults for the rest. Raises ValueError for a contradiction."""
    limits = _with(_with(Limits(), defaults), given)
    return LimitState(declared=limits, in_force=limits)


def reopened(state: LimitState, given: Given) -> LimitState:
    """The limits after an opener of an existing run declared ``given``.

    A limit equal to the one last declared changes nothing, so that a job run again after a raise keeps the raise.
    A tighter one is taken. Raises LooserLimitError for one that is looser than what is in force.
    """
    declared_anew = _changed(state, given)
    if not declared_anew:
        return state
    in_force = _with(state.in_force, declared_anew)
    for name in declared_anew:
        if _is_looser(name, declared_anew, state.in_force):
            raise LooserLimitError(name)
    return LimitState(declared=_with(state.declared, declared_anew), in_force=in_force)


def reopened_for_others(state: LimitState, given: Given) -> LimitState:
    """The limits after one who opens runs on behalf of others declared ``given``.

    Tighter limits are taken, as from any opener. Looser ones are declared without being in force: its other runs have
    them, and to refuse this one would hit an agent that has no say in it. For the same reason one that contradicts
    those that stay is left out. Raises ValueError only for what is no limit at all.
    """
    changed = _changed(state, given)
    taken = {name: value for name, value in changed.items() if not _is_looser(name, changed, state.in_force)}
    return LimitState(
        declared=_with_what_fits(state.declared, changed), in_force=_with_what_fits(state.in_force, taken)
    )


def lowered(state: LimitState, asked: Given) -> LimitState:
    """The limits of a new run whose own client asked for tighter ones; what is looser than those in force is not taken.

    What is declared stays, so that whoever opens the run without asking for them finds nothing changed.
    """
    tighter = {
        name: value
        for name, value in asked.items()
        if name in _CAPS and _cap(value) < _cap(getattr(state.in_force, name))
    }
    return LimitState(declared=state.declared, in_force=_with(state.in_force, tighter))


def raised(state: LimitState, given: Given) -> LimitState:
    """The limits after a person set ``given``: what is declared stays, so that the next opener does not undo it."""
    return LimitState(declared=state.declared, in_force=_with(state.in_force, given))


def _changed(state: LimitState, given: Given) -> Given:
    """The limits among ``given`` that are not those last declared."""
    changed = {name: value for name, value in given.items() if value != getattr(state.declared, name)}
    if changed.keys() & _RATE:
        changed |= {name: given[name] for name in _RATE if name in given}
    return changed


def _with(limits: Limits, given: Given) -> Limits:
    changes: dict[str, int] = dict(given)
    if "on_blind" in changes:
        changes["on_blind"] = OnBlind(changes["on_blind"])
    return replace(limits, **changes)  # type: ignore[arg-type]


def _with_what_fits(limits: Limits, given: Given) -> Limits:
    """The limits with those of ``given`` that can hold beside them; a deadline comes before what needs one."""
    for field in fields(Limits):
        if field.name not in given:
            continue
        together = _RATE if field.name in _RATE else {field.name}
        try:
            limits = _with(limits, {name: given[name] for name in together if name in given})
        except ContradictionError:
            continue
    return limits


def _is_looser(name: str, given: Given, current: Limits) -> bool:
    """Whether a limit among ``given`` is looser than the current one; both numbers of a rate are, or neither."""
    if name in _RATE:
        tokens = given.get("rate_tokens", current.rate_tokens)
        window_ns = given.get("rate_window_ns", current.rate_window_ns)
        if not current.rate_tokens:
            return False
        return not tokens or tokens > current.rate_tokens or window_ns < current.rate_window_ns
    new = given[name]
    if name in _CAPS or name == "warn_at_ppm":
        return _cap(new) > _cap(getattr(current, name))
    if name == "compute_rate_nanodollars_per_hour":
        return new < current.compute_rate_nanodollars_per_hour
    if name == "on_blind":
        return new > current.on_blind
    if name == "strict":
        return current.strict and not new
    if name == "observe":
        return bool(new) and not current.observe
    return False  # hold_wait restrains nothing


def _cap(value: int) -> float:
    return value or float("inf")
