"""The state that one batch works on: the ledger as committed, under what the batch has changed so far.

Every change is an entry, folded here by the core's own functions. Nothing of it exists until the batch is committed:
a failed commit discards it all.
"""

from __future__ import annotations

from leashd.core.account import Account, Call, CallState, ClosedCall, ModelHistory
from leashd.core.closing import closed_record
from leashd.core.events import Closed, Entry, Event, Opened, Resolved, Settled, Voided
from leashd.core.fold import create, fold, fold_call, fold_model
from leashd.ledger.protocol import Batch, Ledger

MAX_CACHED_ACCOUNTS = 10_000  # about 20 MB; past it they are read again, which costs tens of microseconds each


class Working:
    """Reads through to the ledger, and collects the batch that is to be committed next."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._accounts: dict[str, Account] = {}
        self._next_number = ledger.next_number()
        self.batch = Batch()

    def account(self, run: str) -> Account | None:
        """One run's account as of now."""
        account = self._accounts.get(run)
        if account is None:
            account = self._ledger.account(run)
            if account is not None:
                self._remember(account)
        return account

    def account_by_number(self, number: int) -> Account | None:
        """The account of the run that has this number."""
        run = self._ledger.run_name(number)
        return self.account(run) if run is not None else None

    def call(self, account: Account, call: bytes) -> Call | None:
        """A call of a run that is open or unresolved."""
        key = (account.number, call)
        return self.batch.calls[key] if key in self.batch.calls else self._ledger.call(*key)

    def closed_call(self, session: bytes, call: bytes) -> ClosedCall | None:
        """The outcome of a closed call that its session has not acknowledged."""
        key = (session, call)
        return self.batch.closed_calls[key] if key in self.batch.closed_calls else self._ledger.closed_call(*key)

    def open_calls(self, session: bytes) -> list[Call]:
        """The open calls of a session."""
        changed = self.batch.calls
        calls = [call for call in self._ledger.open_calls() if (self._number(call), call.call) not in changed]
        calls.extend(call for call in changed.values() if call is not None)
        return [call for call in calls if call.session == session and call.state is CallState.OPEN]

    def unresolved_calls(self, account: Account, prefix: bytes) -> list[Call]:
        """The unresolved calls of a run whose id begins with ``prefix``."""
        changed = self.batch.calls
        calls = [
            call
            for call in self._ledger.unresolved_calls(account.number, prefix)
            if (account.number, call.call) not in changed
        ]
        calls.extend(
            call
            for (number, call_id), call in changed.items()
            if number == account.number and call is not None and call_id.startswith(prefix)
        )
        return [call for call in calls if call.state is CallState.UNRESOLVED]

    def runs_opened_by(self, session: bytes) -> list[Account]:
        """The runs that a session has open."""
        numbers = {number for _, number in self._ledger.openers(session)}
        numbers |= {number for opener, number in self.batch.openers if opener == session}
        accounts = {account.number: account for account in self.batch.accounts.values()}
        found = (accounts.get(number) or self.account_by_number(number) for number in sorted(numbers))
        return [account for account in found if account is not None and account.has_opener(session)]

    def model(self, name: str) -> ModelHistory:
        """What the ledger knows of a model."""
        return self.batch.models.get(name) or self._ledger.model(name)

    def emit(self, run: str, events: tuple[Event, ...], now_ns: int, *, amended: Call | None = None) -> Account:
        """Appends events to a run's journal and folds them. The first event of a new run opens it.

        ``amended`` is the call as a person had resolved it, where its own session now settles it after all.
        """
        account = self.account(run)
        for event in events:
            entry = Entry(seq=account.seq + 1 if account else 1, at_ns=now_ns, event=event)
            if account is None:
                account = create(run, self._next_number, entry)
                self._next_number += 1
            else:
                account = fold(account, entry)
            self.batch.entries.append((account, entry))
            self._index(account, entry, amended)
        assert account is not None
        if events:
            self.batch.accounts[run] = account
            self._remember(account)
        return account

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

    def _index(self, account: Account, entry: Entry, amended: Call | None) -> None:
        """Keeps the records beside the accounts in step with an entry."""
        event = entry.event
        if isinstance(event, Opened | Closed):
            self.batch.openers[event.session, account.number] = isinstance(event, Opened)
        elif hasattr(event, "call"):
            before = self.call(account, event.call)
            if isinstance(event, Settled | Voided | Resolved):
                owner = before or amended
                assert owner is not None
                self.batch.closed_calls[owner.session, event.call] = closed_record(before, event, entry.at_ns)
            self.batch.calls[account.number, event.call] = fold_call(before, account.run, entry)
        if isinstance(event, Settled):
            self.batch.models[event.model] = fold_model(self.model(event.model), event)

    def _number(self, call: Call) -> int:
        account = self.account(call.run)
        assert account is not None
        return account.number

    def _remember(self, account: Account) -> None:
        if len(self._accounts) >= MAX_CACHED_ACCOUNTS and account.run not in self._accounts:
            kept = self.batch.accounts  # what the batch has folded is nowhere else
            self._accounts = {run: self._accounts[run] for run in kept if run in self._accounts}
        self._accounts[account.run] = account
