"""Refolds a whole ledger from its journal, with the core's own fold, and compares everything that is kept beside it.

It stops at the first difference: what comes after one is seldom worth reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn

from leash.verdict import Difference
from leashd.core.account import Account, Call, CallState, ClosedCall, ModelHistory
from leashd.core.closing import closed_record
from leashd.core.events import Checkpoint, Entry, Opened, Reserved, Resolved, Settled, Voided
from leashd.core.fold import create, fold, fold_call, fold_model
from leashd.core.notices import Notice, finish_of, notices_of
from leashd.core.outbox import key_of
from leashd.ledger.codec import decode_entry
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import LedgerDamagedError, LedgerError
from leashd.ledger.segments import EMPTY_HEAD, chained
from leashd.ledger.snapshot import RawEntry, Snapshot

PROGRESS_ENTRIES = 8_192  # between two reports: some tenths of a second


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the audit is. ``total_entries`` is of all runs that are looked at."""

    runs: int
    entries: int
    total_entries: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the audit came to."""

    runs: int
    entries: int
    difference: Difference | None = None


def audit(ledger: LmdbLedger, *, run: str = "", progress: Callable[[Progress], None] | None = None) -> Report:
    """Refolds every run, or the one that is named, as the ledger is now, and compares.

    A record that cannot be read is a difference as well. Raises KeyError for a run that there is not.
    """
    auditor = _Auditor(progress or _nobody)
    difference = None
    try:
        with ledger.snapshot() as snapshot:
            auditor.look(snapshot, run)
    except _FoundError as found:
        difference = found.difference
    except LedgerError as error:
        difference = Difference(str(error), run=auditor.run, seq=auditor.seq)
    return Report(auditor.runs, auditor.entries, difference)


def _nobody(_progress: Progress) -> None:
    """Who wants to know how far it is."""


class _FoundError(Exception):
    def __init__(self, difference: Difference) -> None:
        super().__init__(difference.what)
        self.difference = difference


@dataclass(slots=True)
class _Run:
    """One run as its journal tells it."""

    account: Account | None = None
    head: bytes = EMPTY_HEAD
    calls: dict[bytes, list[Call]] = field(default_factory=dict)  # open or unresolved; one for each session
    shared: set[bytes] = field(default_factory=set)  # ids that several sessions used at once, as no correct shims do
    closed: dict[tuple[bytes, bytes], ClosedCall] = field(default_factory=dict)  # those whose outcome is kept


class _Auditor:
    _snapshot: Snapshot

    def __init__(self, progress: Callable[[Progress], None]) -> None:
        self._progress = progress
        self._total_entries = 0
        self._models: dict[str, ModelHistory] = {}
        self._tables: set[bytes] = set()
        self._calls: dict[int, list[Call]] = {}
        self._openers: dict[int, set[bytes]] = {}
        self._outcomes: dict[tuple[bytes, bytes], ClosedCall] = {}
        self._notices: dict[int, dict[int, list[Notice]]] = {}  # by run number and entry
        self._found: set[tuple[bytes, bytes]] = set()  # outcomes that a journal tells as they are kept
        self._doubtful: dict[tuple[bytes, bytes], Difference] = {}
        self.runs = 0
        self.entries = 0
        self.run = ""  # that is looked at, and the entry of it
        self.seq = 0

    def look(self, snapshot: Snapshot, run: str) -> None:
        """Raises _FoundError for the first difference."""
        self._snapshot = snapshot
        self._calls = self._stored_calls()
        self._openers = self._stored_openers()
        self._outcomes = {(session, call): closed for session, call, closed in self._snapshot.closed_calls()}
        self._notices = self._stored_notices()
        runs = list(self._runs(run))
        if run and not runs:
            raise KeyError(run)
        self._total_entries = sum(self._length(number, name) for number, name in runs)
        for number, name in runs:
            self._look_at(number, name)
            self.runs += 1
        self.run, self.seq = "", 0
        for key, difference in self._doubtful.items():
            if key not in self._found:
                raise _FoundError(difference)
        if not run:
            self._look_beside(dict(runs))
        self._look_at_models()
        self._progress(Progress(self.runs, self.entries, self._total_entries))

    def _runs(self, only: str) -> Iterator[tuple[int, str]]:
        for expected, (number, name) in enumerate(self._snapshot.run_names(), start=1):
            if number != expected and not only:
                self._differ(f"the run with number {expected} is gone")
            if only in ("", name):
                yield number, name

    def _length(self, number: int, name: str) -> int:
        stored = self._snapshot.account(name)
        return stored[1].seq - self._snapshot.first_seq(number) + 1 if stored is not None else 0

    # One run

    def _look_at(self, number: int, name: str) -> None:
        self.run, self.seq = name, 0
        run = _Run()
        for raw in self._snapshot.entries(number):
            self._check_place(run, raw)
            self.seq = raw.seq
            self._check_chain(run, raw)
            self._refold(run, number, raw)
            self.entries += 1
            if self.entries % PROGRESS_ENTRIES == 0:
                self._progress(Progress(self.runs, self.entries, self._total_entries))
        self.seq = 0
        self._compare_account(run, name)
        self._compare_outcomes(run)
        self._compare_calls(run, self._calls.pop(number, []))
        self._compare("the sessions that have it open", self._openers.pop(number, set()), _sessions(run.account))
        self._check_notices_left(run, number)

    def _check_place(self, run: _Run, raw: RawEntry) -> None:
        expected = run.account.seq + 1 if run.account is not None else 1
        if raw.seq == expected:
            return
        event = None if run.account is not None else decode_entry(raw.seq, raw.payload).event
        if not isinstance(event, Checkpoint) or event.account.seq + 1 != raw.seq:
            missing = f"{expected}" if raw.seq == expected + 1 else f"{expected} to {raw.seq - 1}"
            self.seq = expected
            self._differ(f"the journal goes on with entry {raw.seq}: {missing} is gone")
        assert raw.before is not None
        run.head = raw.before  # what the checkpoint stands for was pruned, and only the chain's head is left of it

    def _check_chain(self, run: _Run, raw: RawEntry) -> None:
        head = chained(run.head, raw.payload)
        if head != raw.head or raw.before not in (None, run.head):
            self._differ(
                "the entry, or one just before it, is not the one that was written: the chain of hashes breaks here",
                stored=raw.head.hex(),
                refolded=head.hex(),
            )
        run.head = head

    def _refold(self, run: _Run, number: int, raw: RawEntry) -> None:
        entry = decode_entry(raw.seq, raw.payload)
        event: Any = entry.event
        before = run.account
        if run.account is None:
            if not isinstance(event, Opened | Checkpoint):
                self._differ(f"its first entry is {type(event).__name__}")
            run.account = create(self.run, number, entry)
        else:
            run.account = fold(run.account, entry)
        self._check_notices(before, run.account, entry)
        if isinstance(event, Reserved):
            call = fold_call(None, run.account, entry)
            assert call is not None
            using = run.calls.setdefault(event.call, [])
            if using:
                run.shared.add(event.call)
            using.append(call)
        elif hasattr(event, "call"):
            self._close(run, entry)
        if isinstance(event, Settled):
            known = self._models.get(event.model, ModelHistory())
            self._models[event.model] = fold_model(known, event)
            if event.prices:
                self._tables.add(event.prices)

    def _close(self, run: _Run, entry: Any) -> None:
        """A call was settled, voided, abandoned or resolved. One that a person resolved may be settled after that."""
        event = entry.event
        assert run.account is not None
        candidates = run.calls.get(event.call, [])
        if isinstance(event, Settled) and event.amends_nanodollars is not None:
            resolved = next((made.person for made in run.closed.values() if _is_of(made, event.call)), None)
            if resolved is not None:
                self._note_outcome(run, resolved, event, entry.at_ns)
            return
        if not candidates:
            self._differ(f"the call {event.call.hex()} is closed without having been reserved, or twice")
        # Ids are unique within a session; where two sessions use the same one, any stands for another in its state.
        state = CallState.UNRESOLVED if isinstance(event, Resolved) or event.unresolved else CallState.OPEN
        before = next((call for call in candidates if call.state is state), candidates[0])
        candidates.remove(before)
        after = fold_call(before, run.account, entry)
        if after is not None:
            candidates.append(after)
        if not candidates:
            del run.calls[event.call]
        if isinstance(event, Settled | Voided | Resolved):
            self._note_outcome(run, before, event, entry.at_ns)

    def _note_outcome(self, run: _Run, call: Call, event: Settled | Voided | Resolved, at_ns: int) -> None:
        key = (call.session, call.call)
        if key in self._outcomes and call.call not in run.shared:
            run.closed[key] = closed_record(call, event, at_ns)

    def _check_notices(self, before: Account | None, account: Account, entry: Entry) -> None:
        """Each notice on its way tells what its entry has to tell."""
        told = self._notices.get(account.number, {}).pop(entry.seq, [])
        if not told:
            return
        refolded = (*notices_of(before, account, entry), *finish_of(account, entry))
        for notice in told:
            if notice not in refolded:
                self._differ("a notice in the outbox does not tell what happened", stored=str(notice))

    def _check_notices_left(self, run: _Run, number: int) -> None:
        left = self._notices.pop(number, {})
        first_seq = self._snapshot.first_seq(number)  # notices outlive the entries that were pruned
        for seq in sorted(left):
            if seq >= first_seq or run.account is None:
                self._differ("a notice in the outbox is of an entry that there is not")

    def _compare_account(self, run: _Run, name: str) -> None:
        stored = self._snapshot.account(name)
        if stored is None:
            self._differ("its account is gone")
        if run.account is None:
            self._differ("its journal is gone")
        head, account = stored
        for member in fields(Account):
            kept, came_to = getattr(account, member.name), getattr(run.account, member.name)
            self._compare(f"the account's {member.name}", kept, came_to)
        self._compare("the last hash of its chain", head.hex(), run.head.hex())

    def _compare_outcomes(self, run: _Run) -> None:
        """Of a session that used an id in several runs, only what closed it last is kept; that may be another run's."""
        for key, refolded in run.closed.items():
            stored = self._outcomes[key]
            if stored == refolded:
                self._found.add(key)
            elif stored.closed_at_ns <= refolded.closed_at_ns:
                what = f"the outcome of call {key[1].hex()} differs"
                self._doubtful[key] = Difference(what, run=self.run, stored=str(stored), refolded=str(refolded))

    def _compare_calls(self, run: _Run, stored: list[Call]) -> None:
        refolded = [call for calls in run.calls.values() for call in calls]
        for call in run.shared:
            what = f"how many calls {call.hex()} are open or unresolved"
            self._compare(what, _states(call, stored), _states(call, refolded))
        stored = [call for call in stored if call.call not in run.shared]
        refolded = [call for call in refolded if call.call not in run.shared]
        for what, extra in (
            (
                "is kept as open or unresolved, and its journal does not say so",
                [c for c in stored if c not in refolded],
            ),
            ("is open or unresolved, and not kept as such", [call for call in refolded if call not in stored]),
        ):
            if extra:
                self._differ(f"the call {extra[0].call.hex()} {what}")

    # What is kept beside the runs

    def _look_beside(self, runs: dict[int, str]) -> None:
        self._compare("how many runs have an account", self._snapshot.count("accounts"), len(runs))
        named = (number for number, _ in self._snapshot.reactions())
        for number in (*self._calls, *self._openers, *self._notices, *named, *self._snapshot.numbers_with_entries()):
            if number not in runs:
                self._differ(f"there is something of a run with number {number}, and no such run")

    def _look_at_models(self) -> None:
        """Of a model it is known what its dearest call was, in the journals that are left and in those pruned."""
        for model, refolded in self._models.items():
            stored = self._snapshot.model(model)
            if refolded.metered > stored.metered or refolded.dearest_nanodollars > stored.dearest_nanodollars:
                self._compare(f"what is known of the model {model}", stored, refolded)
        for table in sorted(self._tables - set(self._snapshot.price_tables())):
            self._differ(f"the price table {table.hex()}, which priced settled calls, is gone")

    def _stored_calls(self) -> dict[int, list[Call]]:
        calls: dict[int, list[Call]] = {}
        for state in CallState:
            for number, _, call in self._snapshot.calls(state):
                calls.setdefault(number, []).append(call)
        return calls

    def _stored_notices(self) -> dict[int, dict[int, list[Notice]]]:
        notices: dict[int, dict[int, list[Notice]]] = {}
        for key, pending in self._snapshot.outbox():
            if key != key_of(pending.notice, key.target):
                raise LedgerDamagedError(f"the notice {pending.notice.id} is not kept where it is looked for")
            notices.setdefault(key.number, {}).setdefault(key.seq, []).append(pending.notice)
        return notices

    def _stored_openers(self) -> dict[int, set[bytes]]:
        openers: dict[int, set[bytes]] = {}
        for session, number in self._snapshot.openers():
            openers.setdefault(number, set()).add(session)
        return openers

    def _compare(self, what: str, stored: object, refolded: object) -> None:
        if stored != refolded:
            self._differ(f"{what} differs", stored=str(stored), refolded=str(refolded))

    def _differ(self, what: str, *, stored: str = "", refolded: str = "") -> NoReturn:
        raise _FoundError(Difference(what, run=self.run, seq=self.seq, stored=stored, refolded=refolded))


def _is_of(outcome: ClosedCall, call: bytes) -> bool:
    return outcome.person is not None and outcome.person.call == call


def _states(call: bytes, calls: list[Call]) -> list[CallState]:
    return sorted(other.state for other in calls if other.call == call)


def _sessions(account: Account | None) -> set[bytes]:
    return {opener.session for opener in account.openers} if account is not None else set()
