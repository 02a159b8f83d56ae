"""Calls that wait for room: who is next, when they are decided again, and when they give up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from leashd.core import admission
from leashd.core.account import Account
from leashd.core.admission import Admission, Admit, Reserve, Wait
from leashd.core.boundaries import next_trip_at_ns
from leashd.core.bounds import MAX_OPEN_CALLS
from leashd.core.events import Event
from leashd.core.waiting import LOOKAHEAD, MAX_WAITERS, Turn
from leashd.operations import Answer, Failed, FailureCode, Refused, Reply, ReserveCall
from leashd.pricing import PriceBook
from leashd.working import Working

MAX_REPEATS = 8  # replies to one waiting reserve; an honest shim sends it twice at the most on one stream


@dataclass(frozen=True, slots=True)
class _Waiter:
    operation: ReserveCall
    replies: tuple[Reply, ...]  # more than one where the reserve was sent again
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
        run = account.run
        line = self._waiters.get(run, {})
        if operation.call in line:
            return self._asked_again(line, operation, reply)
        if len(line) >= MAX_WAITERS:
            return Failed(FailureCode.BUSY, f"{MAX_WAITERS} calls of run {run} wait for room already")
        if account.open.calls >= MAX_OPEN_CALLS:
            return Failed(FailureCode.BUSY, f"run {run} has {MAX_OPEN_CALLS} calls open already")
        wait_ns = account.limits.in_force.hold_wait_ns
        head = next(iter(line.values()), None)
        may_pass = head is None or head.turn.may_be_passed(now_ns, wait_ns)
        answer = self._decide(account, operation, now_ns, may_admit=may_pass)
        if answer is not None:
            return answer
        if not wait_ns:
            return Refused(admission.expired(account, now_ns), account, now_ns)
        self._waiters.setdefault(run, {})[operation.call] = _Waiter(operation, (reply,), Turn(now_ns))
        return None

    def catch_up(self, run: str, now_ns: int) -> None:
        """Decides the waiters of a run that has changed, before a newcomer has a look at the room."""
        if run in self._changed:
            self._advance(run, now_ns)

    def leave(self, run: str, call: bytes, session: bytes) -> bool:
        """Takes a waiter out; False where none waits by that id."""
        waiter = self._waiters.get(run, {}).get(call)
        if waiter is None or waiter.operation.session != session:
            return False
        self._remove(run, call)
        for reply in waiter.replies:
            self._answer(reply, Failed(FailureCode.UNKNOWN, "the call was cancelled while it waited"))
        self.changed(run)  # those behind a head that has left may have room
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
            self.changed(run)

    def changed(self, run: str) -> None:
        """Something is new in a run: its waiters are decided again at the next tick."""
        if run in self._waiters:
            self._changed.add(run)

    def tick(self, now_ns: int) -> None:
        """Decides the waiters of runs that have changed, or that time has caught up with."""
        for run in sorted(run for run in self._waiters if run in self._changed or self._due_ns(run) <= now_ns):
            self._advance(run, now_ns)
        self._changed &= self._waiters.keys()

    def next_tick_ns(self) -> int | None:
        """When a waiter gives up, or time alone would trip a boundary of a run that has waiters."""
        if self._changed & self._waiters.keys():
            return 0
        return min((self._due_ns(run) for run in self._waiters), default=None)

    def _asked_again(self, line: dict[bytes, _Waiter], operation: ReserveCall, reply: Reply) -> Answer | None:
        """A reserve that was sent twice keeps its first place, and both are answered."""
        waiter = line[operation.call]
        if waiter.operation.session != operation.session:
            return Failed(FailureCode.UNKNOWN, "another session waits with this call")
        if len(waiter.replies) >= MAX_REPEATS:
            return Failed(FailureCode.BUSY, "this call waits already")
        line[operation.call] = replace(waiter, replies=(*waiter.replies, reply))
        return None

    def _advance(self, run: str, now_ns: int) -> None:
        """Decides the waiters of a run, in order of arrival."""
        blocked: Turn | None = None
        tried = 0
        for call, waiter in list(self._waiters.get(run, {}).items()):
            account = self._working.account(run)
            decided: Answer | None = None
            if account is None or not account.has_opener(waiter.operation.session):
                decided = Failed(FailureCode.NOT_OPEN, f"run {run} is no longer open in this session")
            else:
                wait_ns = account.limits.in_force.hold_wait_ns
                may_pass = blocked is None or (blocked.may_be_passed(now_ns, wait_ns) and tried < LOOKAHEAD)
                if may_pass:
                    decided = self._decide(account, waiter.operation, now_ns)
                    tried += 1
                if decided is None and waiter.turn.gives_up_at_ns(wait_ns) <= now_ns:
                    decided = Refused(admission.expired(account, now_ns), account, now_ns)
                if decided is None and not may_pass:
                    break  # those behind came later, so none of them gives up before this one
            if decided is None:
                blocked = blocked or waiter.turn
                continue
            self._remove(run, call)
            for reply in waiter.replies:
                self._answer(reply, decided)
        self._changed.discard(run)  # what the waiters brought about themselves was seen by those after them
        account = self._working.account(run)
        if blocked is not None and account is not None and account.stop is not None:
            self._advance(run, now_ns)  # a later waiter stopped the run, so nobody in the line waits any more

    def _decide(
        self, account: Account, operation: ReserveCall, now_ns: int, *, may_admit: bool = True
    ) -> Answer | None:
        """The core's word on a reserve, with what the price table and the ledger know by now; None to wait."""
        quote = self._prices.quote(operation, account.prices, self._working.model(operation.model))
        reserve = Reserve(call=operation.call, session=operation.session, model=operation.model, quote=quote)
        decided: Admission = admission.admit(account, reserve, now_ns)
        if isinstance(decided.reply, Wait) or (isinstance(decided.reply, Admit) and not may_admit):
            return None
        account = self._emit(account.run, decided.events, now_ns)
        if isinstance(decided.reply, admission.Refuse):
            return Refused(decided.reply, account, now_ns)
        return decided.reply

    def _due_ns(self, run: str) -> int:
        account = self._working.account(run)
        if account is None:
            return 0  # its making was not committed
        first = next(iter(self._waiters[run].values()))
        gives_up_ns = first.turn.gives_up_at_ns(account.limits.in_force.hold_wait_ns)
        trip_ns = next_trip_at_ns(account)
        return gives_up_ns if trip_ns is None else min(trip_ns, gives_up_ns)

    def _remove(self, run: str, call: bytes) -> None:
        line = self._waiters[run]
        del line[call]
        if not line:
            del self._waiters[run]
