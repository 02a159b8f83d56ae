"""The folded state of a run, and the records of its calls. All are frozen: a fold makes new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from operator import attrgetter
from typing import Any

from leash.usage import Usage
from leashd.core.bounds import MAX_TOTAL
from leashd.core.limits import LimitState
from leashd.core.reasons import Reason
from leashd.core.slots import setters

NS_PER_HOUR = 3_600_000_000_000


class Status(StrEnum):
    """The state of a run as the outside sees it."""

    RUNNING = "running"
    STOPPED = "stopped"
    KILLED = "killed"
    FINISHED = "finished"


class Basis(IntEnum):
    """Where the hold of a call comes from."""

    NONE = 0  # there is nothing to hold: no cost budget, a free model, or blind under warn or allow
    CEILING = 1  # the most that it can cost
    DEAREST = 2  # twice the dearest call of its model
    REMAINDER = 3  # nothing is known, so it holds all that was left
    UNBUDGETED = 4  # the run had no cost budget when it was admitted, so nothing was held


class CallState(IntEnum):
    """Where a call is in its life, as long as it is not closed."""

    OPEN = 1
    UNRESOLVED = 2


@dataclass(frozen=True, slots=True)
class Opener:
    """A shim session that has the run open; the id is a digest of the session's secret, 8 bytes."""

    session: bytes
    opened_at_ns: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The durable, terminal refusal of a run."""

    reason: Reason
    at_ns: int
    used: int
    limit: int
    now: bool = False  # its calls in flight are to be aborted too


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the settled calls. Costs are in nanodollars; ``token_cost`` includes ``tool_cost``."""

    calls: int = 0
    errors: int = 0
    blind: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_input_tokens: int = 0
    token_cost_nanodollars: int = 0
    tool_cost_nanodollars: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """How many calls are open (or unresolved), and the sum of their holds."""

    calls: int = 0
    nanodollars: int = 0


@dataclass(frozen=True, slots=True)
class Compute:
    """The compute meter: whole nanodollars and, exactly, the rest in nanodollar-nanoseconds per hour.

    Two integers, since one would outgrow the 64 bits of its stored form. ``closed_until_ns`` is the latest instant at
    which a session that has left was known to have the run open.
    """

    nanodollars: int = 0
    rest: int = 0
    running_since_ns: int = 0
    closed_until_ns: int = 0

    def accrued_at(self, now_ns: int, rate_nanodollars_per_hour: int) -> int:
        """What has accrued at ``now_ns``, in nanodollar-nanoseconds per hour."""
        accrued = self.nanodollars * NS_PER_HOUR + self.rest
        if not self.running_since_ns:
            return accrued
        return accrued + max(0, now_ns - self.running_since_ns) * rate_nanodollars_per_hour


@dataclass(frozen=True, slots=True)
class Stall:
    """The streak of equal replies; ``counted_seq`` is the entry of the last settle that counted."""

    fingerprint: bytes = b""
    replies: int = 0
    counted_seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One run's folded state. ``seq`` is its last entry's; ``number`` is its place in the ledger's keys."""

    run: str
    number: int
    owner_uid: int
    created_at_ns: int
    limits: LimitState
    seq: int = 0
    prices: bytes = b""  # id of the price table in force, empty for none
    openers: tuple[Opener, ...] = ()
    last_close_clean: bool = False
    stop: Stop | None = None
    totals: Totals = Totals()
    open: Held = Held()
    unresolved: Held = Held()
    episode_started_at_ns: int = 0
    last_call_at_ns: int = 0
    compute: Compute = Compute()
    window: tuple[tuple[int, int], ...] = ()  # (bucket, tokens), oldest first
    stall: Stall = Stall()
    dearest_nanodollars: Mapping[str, int] = field(default_factory=dict)  # by model, calls that cost more than zero
    warned: Mapping[str, int] = field(default_factory=dict)  # reason -> the limit it was given for
    would_stop: tuple[Reason, ...] = ()

    @property
    def status(self) -> Status:
        """Where the run stands: a stop outlives the last opener."""
        if self.stop is not None:
            return Status.KILLED if self.stop.reason is Reason.KILL_SWITCH else Status.STOPPED
        return Status.RUNNING if self.openers or self.open.calls else Status.FINISHED

    @property
    def reason(self) -> str:
        """Empty while it runs, the stop's reason, or how it finished."""
        if self.stop is not None:
            return self.stop.reason.value
        if self.status is Status.RUNNING:
            return ""
        return "child_exited" if self.last_close_clean else "opener_lost"

    def compute_cost_nanodollars(self, now_ns: int) -> int:
        """The price of the time that it was open, rounded up."""
        rate = self.limits.in_force.compute_rate_nanodollars_per_hour
        return min(MAX_TOTAL, -(-self.compute.accrued_at(now_ns, rate) // NS_PER_HOUR))

    def total_cost_nanodollars(self, now_ns: int) -> int:
        """Token, tool and compute cost of what is settled."""
        return self.totals.token_cost_nanodollars + self.compute_cost_nanodollars(now_ns)

    def has_opener(self, session: bytes) -> bool:
        """Whether this shim session has the run open."""
        return any(opener.session == session for opener in self.openers)


_SETTERS = setters(Account)
_IN_ORDER = tuple(_SETTERS.values())
_VALUES = attrgetter(*_SETTERS)


def changed(account: Account, changes: Mapping[str, Any]) -> Account:
    """A copy of an account with some fields changed, as ``dataclasses.replace`` makes it, in a third of its time.

    That time is most of what an entry costs, since every entry makes one.
    """
    copy = object.__new__(Account)
    for set_field, value in zip(_IN_ORDER, _VALUES(account), strict=True):
        set_field(copy, value)
    for name, value in changes.items():
        _SETTERS[name](copy, value)
    return copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that is open or unresolved."""

    call: bytes  # 16 bytes, made by the shim
    run: str
    session: bytes
    model: str
    prices: bytes
    held_nanodollars: int
    basis: Basis
    reserved_at_ns: int
    reserved_seq: int
    state: CallState = CallState.OPEN
    known: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedCall:
    """The outcome of a closed call, kept until its session has acknowledged it.

    ``person`` is the call as it was when a person resolved it: only then may its own session still amend the cost.
    """

    outcome: str  # settled, voided or unresolved
    cost_nanodollars: int
    closed_at_ns: int
    person: Call | None = None
    released: bool = False  # the person said that it never reached the provider


@dataclass(frozen=True, slots=True)
class ModelHistory:
    """What the whole ledger knows of a model: whether it was ever metered, and its dearest call."""

    metered: bool = False
    dearest_nanodollars: int = 0
