"""What people ask of the engine, and the price tables that any client may bring: kill, raise, resolve, prune."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from leashd.core import closing, control
from leashd.core.account import Account, Call
from leashd.core.control import CannotRaiseError
from leashd.core.events import Event
from leashd.core.reasons import Reason
from leashd.ledger.protocol import Ledger
from leashd.operations import (
    AccountShown,
    Answer,
    Failed,
    FailureCode,
    Kill,
    Kills,
    PricesStored,
    Prune,
    Pruned,
    Push,
    Raise,
    Reply,
    Resolve,
    RunStopped,
    StorePrices,
)
from leashd.pricing import PriceBook, table_id
from leashd.working import Working

PRUNED_IN_A_BATCH = 100_000  # entries: some 3,000 pages to be freed, a few milliseconds


class Emit(Protocol):
    """Writes events to a run's journal, and does what follows from them."""

    def __call__(self, run: str, events: tuple[Event, ...], now_ns: int, *, call: Call | None = None) -> Account:
        """The account after them."""


class People:
    """Carries out what people ask, over the working state of the engine."""

    def __init__(
        self, working: Working, ledger: Ledger, prices: PriceBook, emit: Emit, push: Callable[[Account, Push], None]
    ) -> None:
        self._working = working
        self._ledger = ledger
        self._prices = prices
        self._emit = emit
        self._push = push
        self.handlers: Mapping[type[Any], Callable[[Any, Reply, int], Answer]] = {
            StorePrices: self._store_prices,
            Kill: self._kill,
            Raise: self._raise,
            Resolve: self._resolve,
            Prune: self._prune,
        }

    def _store_prices(self, operation: StorePrices, _reply: Reply, _now_ns: int) -> Answer:
        identity = table_id(operation.sha256)
        if self._ledger.price_table(identity) is not None and not self._prices.has(operation.sha256):
            return Failed(FailureCode.INVALID, "another price table has the same id: change a space in the file")
        self._working.batch.prices[identity] = operation.stored
        return PricesStored(operation.models)

    def _kill(self, operation: Kill, _reply: Reply, now_ns: int) -> Answer:
        killed: list[str] = []
        unknown: list[str] = []
        already: list[str] = []
        for run in dict.fromkeys(operation.runs):
            account = self._working.account(run)
            if account is None:
                unknown.append(run)
                continue
            events = control.kill(account, now=operation.now, actor_uid=operation.actor_uid)
            (killed if events else already).append(run)
            self._emit(run, events, now_ns)
            if operation.now and not events:
                # Killed before, but its calls in flight were left: this time they are not.
                self._push(account, RunStopped(run, Reason.KILL_SWITCH, now=True))
        return Kills(tuple(killed), tuple(unknown), tuple(already))

    def _raise(self, operation: Raise, _reply: Reply, now_ns: int) -> Answer:
        account = self._working.account(operation.run)
        if account is None:
            return Failed(FailureCode.UNKNOWN, f"no run {operation.run}")
        try:
            events = control.raise_limits(
                account, operation.given, resume=operation.resume, actor_uid=operation.actor_uid, now_ns=now_ns
            )
        except CannotRaiseError as error:
            return Failed(FailureCode.CANNOT_RAISE, str(error))
        except ValueError as error:
            return Failed(FailureCode.INVALID, str(error))
        return AccountShown(self._emit(operation.run, events, now_ns), now_ns)

    def _resolve(self, operation: Resolve, _reply: Reply, now_ns: int) -> Answer:
        account = self._working.account(operation.run)
        if account is None:
            return Failed(FailureCode.UNKNOWN, f"no run {operation.run}")
        calls = self._working.unresolved_calls(account, operation.call_prefix)
        if not calls:
            return Failed(FailureCode.UNKNOWN, f"run {operation.run} has no such unresolved call")
        if len(calls) > 1:
            return Failed(FailureCode.AMBIGUOUS, f"{len(calls)} unresolved calls begin so: give more digits")
        events = closing.resolve(calls[0], operation.cost_nanodollars, operation.actor_uid)
        account = self._emit(operation.run, events, now_ns, call=calls[0])
        return AccountShown(account, now_ns, call=calls[0].call)

    def _prune(self, operation: Prune, _reply: Reply, now_ns: int) -> Answer:
        runs = entries = seen = 0
        for run in operation.runs:
            if entries >= PRUNED_IN_A_BATCH:
                break
            seen += 1
            account = self._working.account(run)
            if account is None or run in self._working.batch.accounts:  # such a one is in use
                continue
            ends = self._ledger.journal_ends(account.number)
            assert ends is not None
            first_seq, last = ends
            events = control.prune(
                account, last=last.entry, before_ns=operation.before_ns, actor_uid=operation.actor_uid
            )
            if events:
                runs += 1
                entries += account.seq - first_seq + 1
                self._emit(run, () if operation.dry_run else events, now_ns)
        return Pruned(runs, entries, seen)
