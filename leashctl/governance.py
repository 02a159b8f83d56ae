"""The limits that a person gives a run, as plain numbers until they go to the daemon."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash.v1 import types_pb2

BLIND_POLICIES = ("refuse", "warn", "allow")


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
