"""What the engine asks of a ledger, so that another store can stand in LMDB's place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from leashd.core.account import Account, Call, ClosedCall, ModelHistory
from leashd.core.events import Entry
from leashd.core.outbox import OutboxKey, Pending, QueueKey
from leashd.core.reactions import Reactions


class LedgerError(Exception):
    """The ledger cannot be used as it is; the message says what to do."""


class LedgerDamagedError(LedgerError):
    """What the file has cannot be right. The message says what was found; whoever shows it, what to do."""


class LedgerOutdatedError(LedgerError):
    """The ledger has an older schema, and was opened only to be read."""


class LedgerUnavailableError(LedgerError):
    """A commit could not be written now (disk full, read-only). Nothing of it was kept; a later one may succeed."""


@dataclass(frozen=True, slots=True)
class ClockRecord:
    """The ledger's time at a reading of the boot clock, so that a boot goes on counting across restarts."""

    boot_id: str
    ledger_ns: int
    boot_ns: int


class CallKey(NamedTuple):
    """Names an open or unresolved call: its session's, since a call id is only unique within its session."""

    session: bytes
    number: int  # of the run
    call: bytes


@dataclass(slots=True)
class Batch:
    """Everything that one transaction writes. A value of None in a mapping of records deletes the record."""

    entries: list[tuple[Account, Entry]] = field(default_factory=list)  # the account as it is after the entry
    accounts: dict[str, Account] = field(default_factory=dict)
    calls: dict[CallKey, Call | None] = field(default_factory=dict)
    closed_calls: dict[tuple[bytes, bytes], ClosedCall | None] = field(default_factory=dict)  # (session, call id)
    openers: dict[tuple[bytes, int], bool] = field(default_factory=dict)  # (session, run number) -> is one
    models: dict[str, ModelHistory] = field(default_factory=dict)
    prices: dict[bytes, bytes] = field(default_factory=dict)
    reactions: dict[int, Reactions] = field(default_factory=dict)  # by run number
    outbox: dict[OutboxKey, Pending | None] = field(default_factory=dict)
    clock: ClockRecord | None = None
    probed: bool = False  # to be written though there is nothing in it but the clock

    def __bool__(self) -> bool:
        return bool(self.entries or self.closed_calls or self.prices or self.reactions or self.outbox or self.probed)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it stands in the journal, with the head of its run's hash chain after it."""

    entry: Entry
    head: bytes


class Ledger(Protocol):
    """A durable store of accounts and their journals. Reads see what is committed, and only that."""

    path: str

    def account(self, run: str) -> Account | None:
        """One run's account."""

    def accounts(self, after_run: str = "") -> Iterator[Account]:
        """The accounts whose names come after ``after_run``, by name."""

    def run_names(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """The names of the runs that begin with ``prefix`` and come after ``after``, in order."""

    def run_name(self, number: int) -> str | None:
        """The run that has this number."""

    def next_number(self) -> int:
        """A number that no run has yet."""

    def call(self, key: CallKey) -> Call | None:
        """A call that is open or unresolved."""

    def open_calls(self, session: bytes = b"") -> Iterator[tuple[CallKey, Call]]:
        """Every open call, or one session's."""

    def open_call_keys(self, session: bytes = b"") -> Iterator[CallKey]:
        """The keys of every open call, or of one session's."""

    def unresolved_calls(self, number: int, prefix: bytes = b"") -> Iterator[tuple[CallKey, Call]]:
        """The unresolved calls of a run whose id begins with ``prefix``."""

    def closed_call(self, session: bytes, call: bytes) -> ClosedCall | None:
        """The outcome of a closed call that its session has not acknowledged."""

    def stale_closed_calls(self, before_ns: int, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to ``limit`` (session, call id) of outcomes kept since before ``before_ns``."""

    def openers(self, session: bytes = b"") -> Iterator[tuple[bytes, int]]:
        """(session, run number) of every opener, or of one session's."""

    def model(self, name: str) -> ModelHistory:
        """What the ledger knows of a model."""

    def price_table(self, table: bytes) -> bytes | None:
        """A stored price table by its id."""

    def journal(self, number: int, after_seq: int = 0) -> Iterator[StoredEntry]:
        """A run's entries after ``after_seq``, in order; those before its checkpoint are gone."""

    def journal_ends(self, number: int) -> tuple[int, StoredEntry] | None:
        """The sequence of the first entry that a run still has, and its newest entry."""

    def reactions(self, number: int) -> Reactions | None:
        """Where a run's notices go, as its openers had it; None where none of them said."""

    def pending(self, key: OutboxKey) -> Pending | None:
        """A notice that is on its way, or was given up."""

    def first_pending(self, queue: QueueKey) -> Pending | None:
        """The notice of a queue that goes out next."""

    def outbox_queues(self) -> Iterator[QueueKey]:
        """Every queue with a notice that is to go out."""

    def outbox(self, *, dead: bool, after: OutboxKey | None = None) -> Iterator[tuple[OutboxKey, Pending]]:
        """The notices that are on their way, or those that were given up, from the first one or after one."""

    def clock(self) -> ClockRecord | None:
        """The clock as last committed."""

    def commit(self, batch: Batch) -> None:
        """Writes a batch durably, whole or not at all. Raises LedgerUnavailableError where it cannot now."""

    def close(self) -> None:
        """Closes the store."""
