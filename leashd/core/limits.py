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
            raise ValueError("--strict with a compute rate needs a deadline: without one the compute has no ceiling")


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
    declared_anew = {name: value for name, value in given.items() if value != getattr(state.declared, name)}
    if "rate_tokens" in declared_anew or "rate_window_ns" in declared_anew:
        # The two are one limit, so they are judged and taken together.
        declared_anew |= {name: given[name] for name in ("rate_tokens", "rate_window_ns") if name in given}
    if not declared_anew:
        return state
    in_force = _with(state.in_force, declared_anew)
    for name in declared_anew:
        if _is_looser(name, in_force, state.in_force):
            raise LooserLimitError(name)
    return LimitState(declared=_with(state.declared, declared_anew), in_force=in_force)


def raised(state: LimitState, given: Given) -> LimitState:
    """The limits after a person set ``given``: what is declared stays, so that the next opener does not undo it."""
    return LimitState(declared=state.declared, in_force=_with(state.in_force, given))


def _with(limits: Limits, given: Given) -> Limits:
    changes: dict[str, int] = dict(given)
    if "on_blind" in changes:
        changes["on_blind"] = OnBlind(changes["on_blind"])
    return replace(limits, **changes)  # type: ignore[arg-type]


def _is_looser(name: str, new: Limits, current: Limits) -> bool:
    if name in _CAPS:
        return _cap(getattr(new, name)) > _cap(getattr(current, name))
    if name in ("rate_tokens", "rate_window_ns"):
        if not current.rate_tokens:
            return False
        return not new.rate_tokens or (
            new.rate_tokens > current.rate_tokens or new.rate_window_ns < current.rate_window_ns
        )
    if name == "compute_rate_nanodollars_per_hour":
        return new.compute_rate_nanodollars_per_hour < current.compute_rate_nanodollars_per_hour
    if name == "on_blind":
        return new.on_blind > current.on_blind
    if name == "strict":
        return current.strict and not new.strict
    if name == "observe":
        return new.observe and not current.observe
    if name == "warn_at_ppm":
        return _cap(new.warn_at_ppm) > _cap(current.warn_at_ppm)
    return False  # hold_wait restrains nothing


def _cap(value: int) -> float:
    return value or float("inf")
