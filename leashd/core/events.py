"""Everything that can happen to a run. An entry of the journal is one of these, with its sequence and time.

Each event carries what the fold needs, so that an account follows from its entries alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from leash.usage import Usage
from leashd.core.account import Account, Basis
from leashd.core.limits import Limits
from leashd.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A shim session opened the run; the first one makes it. Absent limits are unchanged."""

    session: bytes
    owner_uid: int
    prices: bytes
    new_episode: bool
    declared: Limits | None = None
    in_force: Limits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A shim session has the run open no more. ``until_ns``: when it was last known to be alive."""

    session: bytes
    clean: bool
    until_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """A call was admitted, under the price table that the run has then; its hold counts until it is closed."""

    call: bytes
    session: bytes
    model: str
    held_nanodollars: int
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A call was closed with what the wire reported.

    ``reserved_seq`` is its Reserved entry. ``unresolved`` says that it was abandoned before. Where a person had
    resolved it, ``amends_nanodollars`` is the cost that this one replaces and ``amends_released`` whether it was
    released, so not counted.
    """

    call: bytes
    model: str
    reserved_seq: int
    held_nanodollars: int
    cost_nanodollars: int
    usage: Usage | None
    http_status: int
    fingerprint: bytes = b""
    prices: bytes = b""
    tool_cost_nanodollars: int = 0
    blind: Reason | None = None
    answered_model: str = ""
    unresolved: bool = False
    amends_nanodollars: int | None = None
    amends_released: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Voided:
    """A call was closed as never having reached the provider."""

    call: bytes
    held_nanodollars: int
    unresolved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """A call's outcome is unknown: it is unresolved, and ``kept_nanodollars`` of it stay held.

    ``unresolved`` says that it was so before, and that its shim has come back with more that the wire had reported.
    """

    call: bytes
    model: str
    held_nanodollars: int
    kept_nanodollars: int
    known: Usage | None = None
    unresolved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A person closed an unresolved call with a cost, or released it (``cost_nanodollars`` is None)."""

    call: bytes
    model: str
    held_nanodollars: int
    cost_nanodollars: int | None
    actor_uid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The run was stopped. ``now``: its calls in flight are to be aborted too (kill only)."""

    reason: Reason
    used: int = 0
    limit: int = 0
    now: bool = False
    actor_uid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """A budget is nearly used, or a blind call was let through."""

    reason: Reason
    used: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WouldStop:
    """Under observe: this boundary would have refused or stopped."""

    reason: Reason
    used: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """A person set the limits in force, and lifted the stop if there was one."""

    in_force: Limits
    actor_uid: int
    lifted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Every entry before this one was pruned: this is what they came to. It changes nothing."""

    account: Account
    actor_uid: int


Event = (
    Opened
    | Closed
    | Reserved
    | Settled
    | Voided
    | Abandoned
    | Resolved
    | Stopped
    | Warned
    | WouldStop
    | Raised
    | Checkpoint
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One immutable journal record of a run; ``seq`` counts from 1 without gaps."""

    seq: int
    at_ns: int
    event: Event
