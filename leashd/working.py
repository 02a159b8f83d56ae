"""The state that one batch works on: the ledger as committed, under what the batch has changed so far.

Every change is an entry, folded here by the core's own functions. Nothing of it exists until the batch is committed:
a failed commit discards it all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from leashd.core.account import Account, Call, CallState, ClosedCall, ModelHistory
from leashd.core.closing import closed_record
from leashd.core.events import Closed, Entry, Event, Opened, Reserved, Resolved, Settled, Voided
from leashd.core.fold import create, fold, fold_call, fold_model
from leashd.core.notices import Notice, finish_of, is_finished, notices_of
from leashd.core.outbox import OutboxKey, Pending, key_of
from leashd.core.reactions import Reactions
from leashd.counts import RunCounts, tenant_of
from leashd.ledger.protocol import Batch, CallKey, Ledger

MAX_CACHED_ACCOUNTS = 10_000  # about 20 MB; past it they are read again, which costs tens of microseconds each


class Working:
    """Reads through to the ledger, and collects the batch that is to be committed next.

    ``standing`` is where the notices of every run go that has nothing else for it.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.standing = Reactions()
        self._accounts: dict[str, Account] = {}
        self._next_number = ledger.next_number()
        self._counts = RunCounts(ledger)
        self.batch = Batch()

    def account(self, run: str) -> Account | None:
        """One run's account as of now."""
        account = self.batch.accounts.get(run) or self._accounts.get(run)
        if account is None:
            account = self._ledger.account(run)
            if account is not None:
                self._remember(account)
        return account

    @property
    def open_runs(self) -> int:
        """Runs that some session has open."""
        return self._counts.open_runs

    def runs_of_tenant(self, run: str) -> int:
        """How many runs there are of the tenant that a run of this name has."""
        return self._counts.of_tenant(tenant_of(run), self.batch.accounts)

    def call(self, session: bytes, account: Account, call: bytes) -> Call | None:
        """A call of a session in a run that is open or unresolved."""
        key = CallKey(session, account.number, call)
        return self.batch.calls[key] if key in self.batch.calls else self._ledger.call(key)

    def closed_call(self, session: bytes, call: bytes) -> ClosedCall | None:
        """The outcome of a closed call that its session has not acknowledged."""
        key = (session, call)
        return self.batch.closed_calls[key] if key in self.batch.closed_calls else self._ledger.closed_call(*key)

    def open_calls(self, session: bytes, held: frozenset[bytes] = frozenset()) -> Iterator[Call]:
        """The open calls of a session but those that it holds. Only they are read: it may hold thousands."""
        changed = self.batch.calls
        for key in self._ledger.open_call_keys(session):
            if key.call not in held and key not in changed and (call := self._ledger.call(key)) is not None:
                yield call
        for key, made in list(changed.items()):
            if key.session == session and key.call not in held and made is not None and made.state is CallState.OPEN:
                yield made

    def unresolved_calls(self, account: Account, prefix: bytes) -> list[Call]:
        """The unresolved calls of a run whose id begins with ``prefix``."""
        calls = self._changed(self._ledger.unresolved_calls(account.number, prefix))
        return [
            call
            for call in calls
            if call.run == account.run and call.state is CallState.UNRESOLVED and call.call.startswith(prefix)
        ]

    def runs_opened_by(self, session: bytes) -> Iterator[Account]:
        """The runs that a session has open, read one by one: it may have thousands."""
        stored: set[int] = set()
        for _, number in self._ledger.openers(session):
            run = self._ledger.run_name(number)
            account = self.account(run) if run is not None else None
            if account is not None and account.has_opener(session):
                stored.add(number)
                yield account
        for account in list(self.batch.accounts.values()):
            if account.number not in stored and account.has_opener(session):
                yield account

    def model(self, name: str) -> ModelHistory:
        """What the ledger knows of a model."""
        return self.batch.models.get(name) or self._ledger.model(name)

    def emit(self, run: str, events: tuple[Event, ...], now_ns: int, *, call: Call | None = None) -> Account:
        """Appends events to a run's journal and folds them. The first event of a new run opens it.

        ``call`` is the call that they are about, as it was before them.
        """
        account = first = self.account(run)
        for event in events:
            before = account
            entry = Entry(seq=account.seq + 1 if account else 1, at_ns=now_ns, event=event)
            if account is None:
                account = create(run, self._next_number, entry)
                self._next_number += 1
                self._counts.created(run)
            else:
                account = fold(account, entry)
            self.batch.entries.append((account, entry))
            self._index(account, entry, call)
            self._tell(notices_of(before, account, entry))
        assert account is not None
        if events:
            if first is not None and not is_finished(first):
                self._tell(finish_of(account, entry))
            self.batch.accounts[run] = account
            self._remember(account)
        return account

    def reactions(self, number: int) -> Reactions:
        """Where the notices of a run go, as its openers had it."""
        return self.batch.reactions.get(number) or self._ledger.reactions(number) or Reactions()

    def pending(self, key: OutboxKey) -> Pending | None:
        """A notice that is on its way, or was given up."""
        return self.batch.outbox[key] if key in self.batch.outbox else self._ledger.pending(key)

    def acknowledge(self, session: bytes, calls: tuple[bytes, ...]) -> None:
        """Forgets outcomes that their session has been told."""
        for call in calls:
            self.batch.closed_calls[session, call] = None

    def taken(self) -> Batch:
        """The batch to commit; the next one begins empty."""
        batch, self.batch = self.batch, Batch()
        return batch

    def discard(self, batch: Batch) -> None:
        """Forgets everything that a failed batch had folded."""
        for run in batch.accounts:
            self._accounts.pop(run, None)
        self._next_number = self._ledger.next_number()  # numbers have no gaps, so that a run that is gone is missed
        self._counts.discarded(batch)

    def _index(self, account: Account, entry: Entry, before: Call | None) -> None:
        """Keeps the records beside the accounts in step with an entry."""
        event = entry.event
        if isinstance(event, Opened | Closed):
            self.batch.openers[event.session, account.number] = isinstance(event, Opened)
            self._counts.opened_or_closed(account.number, is_open=bool(account.openers))
        elif isinstance(event, Reserved):
            key = CallKey(event.session, account.number, event.call)
            self.batch.calls[key] = fold_call(None, account, entry)
        elif hasattr(event, "call"):
            assert before is not None
            self.batch.calls[CallKey(before.session, account.number, before.call)] = fold_call(before, account, entry)
            if isinstance(event, Settled | Voided | Resolved):
                self.batch.closed_calls[before.session, before.call] = closed_record(before, event, entry.at_ns)
        if isinstance(event, Settled):
            self.batch.models[event.model] = fold_model(self.model(event.model), event)

    def _tell(self, notices: tuple[Notice, ...]) -> None:
        """Puts notices into the outbox, in the transaction of the entry that they are of."""
        for notice in notices:
            for target in self.reactions(notice.number).over(self.standing).targets:
                self.batch.outbox[key_of(notice, target)] = Pending(notice=notice)

    def _changed(self, stored: Iterable[tuple[CallKey, Call]]) -> list[Call]:
        """Stored calls as the batch has left them, and those that it has made."""
        changed = self.batch.calls
        calls = [call for key, call in stored if key not in changed]
        calls.extend(call for call in changed.values() if call is not None)
        return calls

    def _remember(self, account: Account) -> None:
        if len(self._accounts) >= MAX_CACHED_ACCOUNTS and account.run not in self._accounts:
            self._accounts.clear()  # what the batch has folded is in the batch
        self._accounts[account.run] = account
