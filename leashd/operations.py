"""What the engine is asked and what it answers, in the core's own terms. The API converts to and from the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from leash.usage import Usage
from leashd.core.account import Account
from leashd.core.admission import Admit, Refuse
from leashd.core.limits import Given
from leashd.core.outbox import OutboxKey, Pending
from leashd.core.reasons import Reason


class FailureCode(StrEnum):
    """Why an operation could not be carried out."""

    INVALID = "invalid"
    UNKNOWN = "unknown"
    NOT_OPEN = "not_open"
    LIMIT_HIGHER = "limit_higher"
    PRICES_UNKNOWN = "prices_unknown"
    UNAVAILABLE = "unavailable"
    BUSY = "busy"
    TOO_MANY_OPEN = "too_many_open"
    TOO_MANY_RUNS = "too_many_runs"
    CANNOT_RAISE = "cannot_raise"
    AMBIGUOUS = "ambiguous"


# Answers


@dataclass(frozen=True, slots=True)
class Failed:
    """The operation was not carried out, and nothing was recorded."""

    code: FailureCode
    message: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """The session stands."""


@dataclass(frozen=True, slots=True)
class AccountShown:
    """The account after the operation, at an instant of the ledger's clock."""

    account: Account
    now_ns: int
    call: bytes = b""  # the call that was resolved


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal with the account that it judges."""

    refuse: Refuse
    account: Account
    now_ns: int


@dataclass(frozen=True, slots=True)
class CallClosed:
    """What a call's closing came to."""

    outcome: str
    cost_nanodollars: int = 0
    repeated: bool = False
    blind: Reason | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """Carried out; there is nothing to tell."""


@dataclass(frozen=True, slots=True)
class Probed:
    """A write went through."""

    open_runs: int


@dataclass(frozen=True, slots=True)
class PricesStored:
    """The table is in the ledger."""

    models: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many runs have lost entries, how many entries those were, and how many of the runs named were looked at."""

    runs: int
    entries: int
    seen: int


@dataclass(frozen=True, slots=True)
class Kills:
    """What a kill came to, by run."""

    killed: tuple[str, ...]
    unknown: tuple[str, ...]
    already_stopped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoticesChanged:
    """How many of the notices that were named are there, and were changed."""

    notices: int


Answer = (
    Failed
    | Welcome
    | AccountShown
    | Admit
    | Refused
    | CallClosed
    | Done
    | Probed
    | PricesStored
    | Pruned
    | Kills
    | NoticesChanged
)
Reply = Callable[[Answer], None]


# Pushes


@dataclass(frozen=True, slots=True)
class RunStopped:
    """A run that the session has open was stopped. ``counts`` for one of those that are told of the same stop."""

    run: str
    reason: Reason
    now: bool
    counts: bool = False


@dataclass(frozen=True, slots=True)
class RunWarned:
    """A run that the session has open crossed its warning line. ``counts`` as for a stop."""

    run: str
    reason: Reason
    used: int
    limit: int
    counts: bool = False


Push = RunStopped | RunWarned


class Link(Protocol):
    """The live stream of a shim session."""

    def push(self, push: Push) -> None:
        """Tells the shim something unasked."""

    def replaced(self) -> None:
        """Another stream has taken the session over: this one ends."""


# Operations of a shim


@dataclass(frozen=True, slots=True)
class Hello:
    """Opens or resumes a session; ``session`` is the digest of its secret."""

    session: bytes
    held_calls: frozenset[bytes]
    link: Link


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A session's stream has ended, on purpose or not: what it still has open has the grace to be claimed."""

    session: bytes
    link: Link


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """Makes a run ready for reserves of this session.

    ``owned_only`` leaves a run alone that another user than ``owner_uid`` has made. ``on_behalf`` and ``lowered`` as
    the core has them; ``standing_prices_sha256`` is the table where the opener has none. ``max_open_runs`` and
    ``max_runs`` bound what is made anew, in the ledger and for the run's tenant; zero for no bound. ``reactions`` names
    the fields of ``Reactions`` that the opener gives, with their values.
    """

    session: bytes
    link: Link
    run: str
    owner_uid: int
    given: Given
    defaults: Given
    prices_sha256: bytes
    pid: int
    lowered: Given = field(default_factory=dict)
    on_behalf: bool = False
    standing_prices_sha256: bytes = b""
    max_open_runs: int = 0
    max_runs: int = 0
    owned_only: bool = False
    reactions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CloseRun:
    """The session will reserve no more calls of the run. ``unfinished`` where the run's agent goes on."""

    session: bytes
    link: Link
    run: str
    unfinished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveCall:
    """Asks for the admission of one call. Bounds in tokens; None for unknown."""

    session: bytes
    link: Link
    run: str
    call: bytes
    model: str
    input_bound_tokens: int | None
    output_bound_tokens: int | None
    choices: int
    server_tools: bool
    service_tier: str
    unmeterable: bool
    prompts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleCall:
    """Closes a call with what the wire reported."""

    session: bytes
    link: Link
    run: str
    call: bytes
    http_status: int
    usage: Usage | None
    model: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class VoidCall:
    """Closes a call as never having reached the provider."""

    session: bytes
    link: Link
    run: str
    call: bytes


@dataclass(frozen=True, slots=True)
class AbandonCall:
    """Leaves a call unresolved, with what the wire had reported of it."""

    session: bytes
    link: Link
    run: str
    call: bytes
    known: Usage | None


@dataclass(frozen=True, slots=True)
class CancelCall:
    """The client hung up before the call was forwarded."""

    session: bytes
    link: Link
    run: str
    call: bytes


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The shim has the outcomes of these calls."""

    session: bytes
    link: Link
    calls: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """Writes to the ledger, and changes nothing in it."""

    session: bytes
    link: Link


# Operations of people, and of any client


@dataclass(frozen=True, slots=True)
class StorePrices:
    """Keeps a price table: its SHA-256, and its form as stored."""

    sha256: bytes
    stored: bytes
    models: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Stops runs for good."""

    runs: tuple[str, ...]
    now: bool
    actor_uid: int


@dataclass(frozen=True, slots=True)
class Raise:
    """Sets limits of a run and lifts its stop."""

    run: str
    given: Given
    resume: bool
    actor_uid: int


@dataclass(frozen=True, slots=True)
class Resolve:
    """Closes an unresolved call by a person's word; no cost releases it."""

    run: str
    call_prefix: bytes
    cost_nanodollars: int | None
    actor_uid: int


@dataclass(frozen=True, slots=True)
class Prune:
    """Replaces the entries of runs by a checkpoint each, of those that nobody has used since an instant of the ledger.

    Of many entries only the first runs' are done, as the answer says. ``dry_run`` only counts.
    """

    runs: tuple[str, ...]
    before_ns: int
    actor_uid: int
    dry_run: bool = False


# Operations on what is to be told outside


@dataclass(frozen=True, slots=True)
class RecordAttempt:
    """What an attempt to deliver a notice has come to; None where it was delivered."""

    key: OutboxKey
    pending: Pending | None


@dataclass(frozen=True, slots=True)
class RetryNotices:
    """Has notices go out again at once, whether they were given up or wait for their next attempt."""

    keys: tuple[OutboxKey, ...]


@dataclass(frozen=True, slots=True)
class DropNotices:
    """Takes notices out of the outbox: they are not told."""

    keys: tuple[OutboxKey, ...]


Operation = (
    Hello
    | Disconnected
    | OpenRun
    | CloseRun
    | ReserveCall
    | SettleCall
    | VoidCall
    | AbandonCall
    | CancelCall
    | Acknowledge
    | Probe
    | StorePrices
    | Kill
    | Raise
    | Resolve
    | Prune
    | RecordAttempt
    | RetryNotices
    | DropNotices
)

FROM_A_STREAM = (
    Disconnected, OpenRun, CloseRun, ReserveCall, SettleCall, VoidCall, AbandonCall, CancelCall, Acknowledge, Probe,
)  # fmt: skip
"""Operations that count only while the stream they came on is their session's."""

DURABLE_AT_ONCE = (
    Hello, OpenRun, CloseRun, ReserveCall, Probe, StorePrices, Kill, Raise, Resolve, Prune, RetryNotices, DropNotices,
)  # fmt: skip
"""Operations that somebody waits for. The others may ride with the next commit for a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Request:
    """An operation and where its answer goes."""

    operation: Operation
    reply: Reply


@dataclass(slots=True)
class Outbound:
    """What is told once a batch is durable: answers and pushes, in order."""

    answers: list[tuple[Reply, Answer]] = field(default_factory=list)
    pushes: list[tuple[Link, Push]] = field(default_factory=list)
