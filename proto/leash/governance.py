"""The limits that a person gives a run, as plain numbers until they go to the daemon."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

from leash.units import parse_dollars, parse_duration, parse_fraction, parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leash.v1 import types_pb2

BLIND_POLICIES = ("refuse", "warn", "allow")

# Counts beyond a million million mean nothing, and are far from the 64 bits of the ledger.
_MOST = 10**12


def parse_count(text: str) -> int:
    """A whole number from zero on. Raises ``ValueError``."""
    if not text.strip().isdecimal() or len(text) > len(str(_MOST)) or int(text) > _MOST:
        raise ValueError(f"{text!r} is no whole number between 0 and {_MOST}")
    return int(text)


def parse_blind_policy(text: str) -> str:
    """What to do about a blind call. Raises ``ValueError``."""
    if text not in BLIND_POLICIES:
        raise ValueError(f"{text!r} is none of {', '.join(BLIND_POLICIES)}")
    return text


def parse_switch(text: str) -> bool:
    """Whether something is on. Raises ``ValueError``."""
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Governance:
    """Limits, each None where it is not given; zero turns a boundary off.

    Money in nanodollars, durations in nanoseconds, ``rate`` as tokens and their window, ``warn_at`` in parts per
    million.
    """

    max_cost: int | None = None
    max_calls: int | None = None
    deadline: int | None = None
    rate: tuple[int, int] | None = None
    stall: int | None = None
    compute_rate: int | None = None
    max_cost_per_call: int | None = None
    warn_at: int | None = None
    on_blind: str | None = None
    strict: bool | None = None
    observe: bool | None = None
    hold_wait: int | None = None

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> Self:
        """The limits among the parsed flags of a command."""
        return cls(**{field.name: flags[field.name] for field in fields(cls)})

    def is_empty(self) -> bool:
        """Whether no limit is given."""
        return all(getattr(self, field.name) is None for field in fields(self))

    def overridden_by(self, other: Governance) -> Governance:
        """These limits, with each that the other one gives in its place."""
        given = {field.name: value for field in fields(other) if (value := getattr(other, field.name)) is not None}
        return replace(self, **given)

    def to_wire(self) -> types_pb2.Limits:
        """The message of these limits; what is not given is absent."""
        from leash.v1 import types_pb2  # noqa: PLC0415 (a program is started before protobuf is needed)

        rate_tokens, rate_window_ns = (None, None) if self.rate is None else self.rate
        return types_pb2.Limits(
            max_cost_nanodollars=self.max_cost,
            max_calls=self.max_calls,
            deadline_ns=self.deadline,
            rate_tokens=rate_tokens,
            rate_window_ns=rate_window_ns,
            stall_replies=self.stall,
            compute_rate_nanodollars_per_hour=self.compute_rate,
            max_cost_per_call_nanodollars=self.max_cost_per_call,
            warn_at_ppm=self.warn_at,
            on_blind=types_pb2.BlindPolicy.Value(f"BLIND_POLICY_{(self.on_blind or 'unspecified').upper()}"),
            strict=self.strict,
            observe=self.observe,
            hold_wait_ns=self.hold_wait,
        )


# How each limit is read from a text, by the name of its flag without the dashes before it.
PARSERS: Mapping[str, Callable[[str], Any]] = {
    "max-cost": parse_dollars,
    "max-calls": parse_count,
    "deadline": parse_duration,
    "rate": parse_rate,
    "stall": parse_count,
    "compute-rate": parse_dollars,
    "max-cost-per-call": parse_dollars,
    "warn-at": parse_fraction,
    "on-blind": parse_blind_policy,
    "strict": parse_switch,
    "observe": parse_switch,
    "hold-wait": parse_duration,
}
