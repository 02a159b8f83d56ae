"""Calls that wait for room: who is next, when they are decided again, and when they give up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from leashd.core import admission
from leashd.core.account import Account
from leashd.core.admission import Admission, Reserve, Wait
from leashd.core.boundaries import next_trip_at_ns
from leashd.core.events import Event
from leashd.core.waiting import LOOKAHEAD, MAX_WAITERS, Turn
from leashd.operations import Answer, Failed, FailureCode, Refused, Reply, ReserveCall
from leashd.pricing import PriceBook
from leashd.working import Working


@dataclass(frozen=True, slots=True)
class _Waiter:
    operation: ReserveCall
    reply: Reply
    turn: Turn


class _Emit(Protocol):
    def __call__(self, run: str, events: tuple[Event, ...], now_ns: int) -> Account: ...


class Line:
    """The waiters of every run. A run without waiters costs nothing here."""

    def __init__(
        self, working: Working, prices: PriceBook, emit: _Emit, answer: Callable[[Reply, Answer], None]
    ) -> None:
        self._working = working
        self._prices = prices
        self._emit = emit
        self._answer = answer
        self._waiters: dict[str, dict[bytes, _Waiter]] = {}  # by run, then by call, in order of arrival
        self._changed: set[str] = set()

    def join(self, account: Account, operation: ReserveCall, reply: Reply, now_ns: int) -> Answer | None:
        """Decides a new reserve, behind those that wait already; None when it has to wait too."""
        if account.run in self._changed:
            account = self._advance(account.run, now_ns)  # those who came first have the first look at new room
        line = self._waiters.get(account.run)
        if line and len(line) >= MAX_WAITERS:
            return Failed(FailureCode.BUSY, f"{MAX_WAITERS} calls of run {account.run} wait for room already")
        head = next(iter(line.values())) if line else None
        if head is None or head.turn.may_be_passed(now_ns):
            answer = self._decide(account, operation, now_ns)
            if answer is not None:
                return answer
        wait_ns = account.limits.in_force.hold_wait_ns
        if not wait_ns:
            return Refused(admission.expired(account, now_ns), account, now_ns)
        turn = Turn(arrived_at_ns=now_ns, gives_up_at_ns=now_ns + wait_ns)
        self._waiters.setdefault(account.run, {})[operation.call] = _Waiter(operation, reply, turn)
        return None

    def leave(self, run: str, call: bytes, session: bytes) -> bool:
        """Takes a waiter out; False where none waits by that id."""
        line = self._waiters.get(run, {})
        waiter = line.get(call)
        if waiter is None or waiter.operation.session != session:
            return False
        self._remove(run, call)
        return True

    def drop_session(self, session: bytes) -> None:
        """Takes out every waiter of a session whose stream has ended: nobody hears their answer."""
        gone = [
            (run, call)
            for run, line in self._waiters.items()
            for call, waiter in line.items()
            if waiter.operation.session == session
        ]
        for run, call in gone:
            self._remove(run, call)

    def changed(self, run: str) -> None:
        """A run has a new entry: its waiters are decided again at the next tick."""
        if run in self._waiters:
            self._changed.add(run)

    def tick(self, now_ns: int) -> None:
        """Decides the waiters of runs that have changed, or that time has caught up with."""
        due = {run for run in self._waiters if self._due_ns(run) <= now_ns}
        for run in sorted(self._changed | due):
            self._advance(run, now_ns)

    def next_tick_ns(self) -> int | None:
        """When a waiter gives up, or time alone would trip a boundary of a run that has waiters."""
        return min((self._due_ns(run) for run in self._waiters), default=None)

    def _advance(self, run: str, now_ns: int) -> Account:
        self._changed.discard(run)
        account = self._account(run)
        blocked: _Waiter | None = None
        tried = 0
        for call, waiter in list(self._waiters.get(run, {}).items()):
            account = self._account(run)
            decided: Answer | None = None
            if blocked is None or (blocked.turn.may_be_passed(now_ns) and tried < LOOKAHEAD):
                decided = self._decide(account, waiter.operation, now_ns)
                tried += 1
            if decided is None and waiter.turn.gives_up_at_ns <= now_ns:
                decided = Refused(admission.expired(account, now_ns), account, now_ns)
            if decided is not None:
                self._remove(run, call)
                self._answer(waiter.reply, decided)
            elif blocked is None:
                blocked = waiter
            elif tried >= LOOKAHEAD or not blocked.turn.may_be_passed(now_ns):
                break  # those behind came later, so none of them gives up before this one
        if blocked is not None and self._account(run).stop is not None:
            return self._advance(run, now_ns)  # a later waiter stopped the run, so nobody in the line waits any more
        self._changed.discard(run)  # what the waiters brought about themselves was seen by those after them
        return self._account(run)

    def _decide(self, account: Account, operation: ReserveCall, now_ns: int) -> Answer | None:
        """The core's word on a reserve, with what the price table and the ledger know by now; None to wait."""
        quote = self._prices.quote(operation, account.prices, self._working.model(operation.model))
        reserve = Reserve(call=operation.call, session=operation.session, model=operation.model, quote=quote)
        decided: Admission = admission.admit(account, reserve, now_ns)
        if isinstance(decided.reply, Wait):
            return None
        account = self._emit(account.run, decided.events, now_ns)
        if isinstance(decided.reply, admission.Refuse):
            return Refused(decided.reply, account, now_ns)
        return decided.reply

    def _due_ns(self, run: str) -> int:
        line = self._waiters[run]
        first = next(iter(line.values()))
        trip_ns = next_trip_at_ns(self._account(run))
        return first.turn.gives_up_at_ns if trip_ns is None else min(trip_ns, first.turn.gives_up_at_ns)

    def _account(self, run: str) -> Account:
        account = self._working.account(run)
        assert account is not None
        return account

    def _remove(self, run: str, call: bytes) -> None:
        line = self._waiters[run]
        del line[call]
        if not line:
            del self._waiters[run]
