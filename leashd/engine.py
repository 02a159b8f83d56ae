"""Carries operations out over the working state. It decides nothing: the core does; and it does no I/O but reads.

Between two commits it is called synchronously, so an operation is never interleaved with another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from leashd.core import closing, control
from leashd.core.account import Account, Call, CallState
from leashd.core.admission import Admit
from leashd.core.control import TooManyOpenersError
from leashd.core.events import Event, Settled, Stopped, Warned
from leashd.core.limits import LooserLimitError
from leashd.core.reactions import Reactions
from leashd.ledger.protocol import Batch, Ledger
from leashd.line import Line
from leashd.operations import (
    FROM_A_STREAM,
    AbandonCall,
    AccountShown,
    Acknowledge,
    Answer,
    CallClosed,
    CancelCall,
    CloseRun,
    Disconnected,
    Done,
    Failed,
    FailureCode,
    Hello,
    OpenRun,
    Outbound,
    Probe,
    Probed,
    Push,
    Reply,
    Request,
    ReserveCall,
    RunStopped,
    RunWarned,
    SettleCall,
    VoidCall,
    Welcome,
)
from leashd.people import People
from leashd.pricing import PriceBook, table_id
from leashd.sessions import Session, Sessions
from leashd.telling import Telling
from leashd.working import Working

GRACE_NS = 2_000_000_000  # how long a session outlives its stream: DESIGN 4.1
CLOSED_CALLS_KEPT_NS = 30 * 24 * 3_600 * 1_000_000_000  # an outcome that was never acknowledged: DESIGN 4.1
ENDED_IN_A_BATCH = 256  # calls and runs of sessions that end: some 20 ms of work, and a gateway has thousands
SWEEP_CALLS = 512  # outcomes forgotten in one batch, so that a sweep never holds a reserve up

_NOT_A_CALL = Failed(FailureCode.UNKNOWN, "no such call of this session")


class Engine:
    """Applies operations; what they come to is told once the batch is durable."""

    def __init__(self, ledger: Ledger, *, alive_until_ns: int, now_ns: int) -> None:
        """``alive_until_ns`` is when the ledger was last written: until then its sessions were alive for sure."""
        self.outbound = Outbound()
        self.working = Working(ledger)
        self._telling = Telling(self.working, ledger)
        self._ledger = ledger
        self._prices = PriceBook(ledger)
        self._sessions = Sessions()
        self._line = Line(self.working, self._prices, self._emit, self._answer)
        self._recover_sessions(alive_until_ns=alive_until_ns, now_ns=now_ns)
        self._handlers: Mapping[type[Any], Callable[[Any, Reply, int], Answer | None]] = {
            Hello: self._hello,
            Disconnected: self._disconnected,
            OpenRun: self._open_run,
            CloseRun: self._close_run,
            ReserveCall: self._reserve,
            SettleCall: self._settle,
            VoidCall: self._void,
            AbandonCall: self._abandon,
            CancelCall: self._cancel,
            Acknowledge: self._acknowledge,
            Probe: self._probe,
            **People(self.working, ledger, self._prices, self._emit, self._push).handlers,
            **self._telling.handlers,
        }

    @property
    def connected_sessions(self) -> int:
        """Shim sessions with a live stream."""
        return self._sessions.connected

    def pid(self, account: Account) -> int:
        """The wrapped process of a run while its shim is connected; 0 otherwise."""
        pids = (self._sessions.pid(opener.session, account.run) for opener in account.openers)
        return next((pid for pid in pids if pid), 0)

    def reactions(self, number: int) -> Reactions:
        """Where the notices of a run go, as it is durable: as its openers had it, or as it stands for every run."""
        return (self._ledger.reactions(number) or Reactions()).over(self.working.standing)

    def apply(self, request: Request, now_ns: int) -> None:
        """Carries one operation out."""
        operation = request.operation
        if isinstance(operation, FROM_A_STREAM) and not self._sessions.is_current(operation.session, operation.link):
            return  # an older stream's: its session has moved on, and nobody waits for the answer
        answer = self._handlers[type(operation)](operation, request.reply, now_ns)
        if answer is not None:
            self._answer(request.reply, answer)

    def tick(self, now_ns: int) -> None:
        """Does what time alone brings: sessions past their grace, and waiters past their wait."""
        left = ENDED_IN_A_BATCH
        for session in self._sessions.past_grace(now_ns, GRACE_NS):
            if left:
                left -= self._end_session(session, now_ns, most=left)
        self._line.tick(now_ns)

    def next_tick_ns(self) -> int | None:
        """When ``tick`` has something to do next."""
        instants = (self._sessions.next_end_ns(GRACE_NS), self._line.next_tick_ns())
        return min((at_ns for at_ns in instants if at_ns is not None), default=None)

    def sweep(self, now_ns: int) -> None:
        """Forgets outcomes that no session came back for in thirty days."""
        for session, call in self._ledger.stale_closed_calls(now_ns - CLOSED_CALLS_KEPT_NS, SWEEP_CALLS):
            self.working.acknowledge(session, (call,))
        self._telling.sweep(now_ns)

    def take(self) -> tuple[Batch, Outbound]:
        """What is to be committed, and what is to be told afterwards."""
        outbound, self.outbound = self.outbound, Outbound()
        return self.working.taken(), outbound

    def discard(self, batch: Batch, now_ns: int) -> None:
        """Forgets a batch that could not be committed; those who wait in its runs are decided again."""
        self.working.discard(batch)
        self._sessions.postpone(now_ns, GRACE_NS)  # one that was about to end is not, and must not be tried at once
        for run in batch.accounts:
            self._line.changed(run)

    # The sessions of shims

    def _recover_sessions(self, *, alive_until_ns: int, now_ns: int) -> None:
        """Gives every session that the ledger names, and that has no stream, the grace to come back."""
        named = {session for session, _ in self._ledger.openers()}
        named |= {key.session for key in self._ledger.open_call_keys()}
        for session in named:
            self._sessions.recovered(session, alive_until_ns=alive_until_ns, lost_at_ns=now_ns)

    def _hello(self, hello: Hello, _reply: Reply, now_ns: int) -> Answer:
        self._line.drop_session(hello.session)
        replaced = self._sessions.connect(hello.session, hello.link)
        if replaced is not None:
            replaced.replaced()
        for call in list(self.working.open_calls(hello.session, hello.held_calls)):
            self._emit(call.run, closing.void(call), now_ns, call=call)
        return Welcome()

    def _disconnected(self, operation: Disconnected, _reply: Reply, now_ns: int) -> None:
        self._line.drop_session(operation.session)
        self._sessions.disconnect(operation.session, now_ns)

    def _end_session(self, session: Session, now_ns: int, *, most: int) -> int:
        """Abandons what is open of a session that is not coming back, and then takes it off its runs.

        It does so much of it, and says how much that was. A session is forgotten once nothing is left to do, so by
        then the rest of it is durable.
        """
        calls = list(islice(self.working.open_calls(session.id), most))
        for call in calls:
            account = self._account(call.run)
            self._emit(call.run, closing.abandon(account, call, None, 0), now_ns, call=call)
        accounts = list(islice(self.working.runs_opened_by(session.id), most - len(calls)))
        for account in accounts:
            events = control.close_run(account, session.id, clean=False, until_ns=session.alive_until_ns)
            self._emit(account.run, events, now_ns)
        if not calls and not accounts:
            self._sessions.forget(session.id)
        return len(calls) + len(accounts)

    def _open_run(self, operation: OpenRun, _reply: Reply, now_ns: int) -> Answer:
        named = operation.prices_sha256 or operation.standing_prices_sha256
        if named and not self._prices.has(named):
            return Failed(FailureCode.PRICES_UNKNOWN, "the daemon does not have this price table yet")
        command = control.OpenRun(
            session=operation.session,
            owner_uid=operation.owner_uid,
            given=operation.given,
            defaults=operation.defaults,
            prices=table_id(operation.prices_sha256),
            standing_prices=table_id(operation.standing_prices_sha256),
            lowered=operation.lowered,
            on_behalf=operation.on_behalf,
        )
        account = self.working.account(operation.run)
        if account is None and (failed := self._too_many(operation)) is not None:
            return failed
        if account is not None and operation.owned_only and account.owner_uid != operation.owner_uid:
            return Failed(FailureCode.INVALID, f"run {operation.run} is another user's: name another run")
        try:
            events = control.open_run(account, command)
        except LooserLimitError as error:
            message = (
                f"{error.flag} is looser than what is in force for run {operation.run}: "
                f"leave it out, or loosen it on purpose with 'leashctl raise {operation.run}'"
            )
            return Failed(FailureCode.LIMIT_HIGHER, message)
        except TooManyOpenersError as error:
            return Failed(FailureCode.BUSY, str(error))
        except ValueError as error:
            return Failed(FailureCode.INVALID, str(error))
        if account is not None and operation.reactions and self._is_anothers(account, operation):
            message = f"run {operation.run} is open, and its webhook and hook are whose who has it open: leave them out"
            return Failed(FailureCode.INVALID, message)
        was_open = not events
        account = self._emit(operation.run, events, now_ns)
        if operation.reactions:
            self._telling.declare(account.number, operation.reactions)
        if was_open and account.stop is not None and account.stop.now:
            # It was killed while this session's stream was away.
            self._push(account, RunStopped(account.run, account.stop.reason, now=True))
        self._sessions.wraps(operation.session, operation.run, operation.pid)
        return AccountShown(account, now_ns)

    def _is_anothers(self, account: Account, operation: OpenRun) -> bool:
        """Whether an agent within a run would have its notices go elsewhere than its opener wants.

        A gateway opens runs for others, and its new workers take over from its old ones.
        """
        others = any(opener.session != operation.session for opener in account.openers)
        return others and not operation.on_behalf and self._telling.takes_away(account.number, operation.reactions)

    def _too_many(self, operation: OpenRun) -> Failed | None:
        """Why a run is not made anew."""
        run, most_open, most = operation.run, operation.max_open_runs, operation.max_runs
        if most and self.working.runs_of_tenant(run) >= most:
            message = f"run {run} would be one more than the {most} that its tenant may have: use one of those"
            return Failed(FailureCode.TOO_MANY_RUNS, message)
        if most_open and self.working.open_runs >= most_open:
            message = f"{most_open} runs are open, which is the most (--max-runs): try again when some have ended"
            return Failed(FailureCode.TOO_MANY_OPEN, message)
        return None

    def _close_run(self, operation: CloseRun, _reply: Reply, now_ns: int) -> Answer:
        account = self.working.account(operation.run)
        if account is None:
            return Failed(FailureCode.NOT_OPEN, f"run {operation.run} is not open")
        self._sessions.wraps(operation.session, operation.run, 0)
        events = control.close_run(account, operation.session, clean=not operation.unfinished, until_ns=now_ns)
        return AccountShown(self._emit(operation.run, events, now_ns), now_ns)

    # Calls

    def _reserve(self, operation: ReserveCall, reply: Reply, now_ns: int) -> Answer | None:
        account = self.working.account(operation.run)
        if account is None or not account.has_opener(operation.session):
            return Failed(FailureCode.NOT_OPEN, f"run {operation.run} is not open in this session")
        self._line.catch_up(account.run, now_ns)
        account = self._account(operation.run)
        call = self.working.call(operation.session, account, operation.call)
        if call is not None:
            return self._reserved_before(call, now_ns)
        if self.working.closed_call(operation.session, operation.call) is not None:
            return Failed(FailureCode.UNKNOWN, "this call is closed")
        return self._line.join(account, operation, reply, now_ns)

    def _reserved_before(self, call: Call, now_ns: int) -> Answer:
        """The answer to a reserve that was repeated since its first answer was lost."""
        if call.state is CallState.OPEN:
            return Admit(call.held_nanodollars)
        # It was abandoned in the meantime, but its shim never heard that it was admitted: it was not forwarded.
        self._emit(call.run, closing.void(call), now_ns, call=call)
        return Failed(FailureCode.UNAVAILABLE, "the session was away for too long: try again")

    def _settle(self, operation: SettleCall, _reply: Reply, now_ns: int) -> Answer:
        account, call = self._own_call(operation)
        if account is None:
            return _NOT_A_CALL
        if call is not None:
            report = self._prices.report(operation, call)
            settled, *consequences = closing.settle(account, call, report, now_ns)
            assert isinstance(settled, Settled)
            self._emit(account.run, (settled, *consequences), now_ns, call=call)
            return CallClosed("settled", report.cost_nanodollars, blind=settled.blind)
        closed = self.working.closed_call(operation.session, operation.call)
        if closed is None:
            return _NOT_A_CALL
        if closed.person is None or closed.person.run != operation.run:
            return CallClosed(closed.outcome, closed.cost_nanodollars, repeated=True)
        report = self._prices.report(operation, closed.person)
        settled, *consequences = closing.amend(account, closed, report, now_ns)
        assert isinstance(settled, Settled)
        self._emit(account.run, (settled, *consequences), now_ns, call=closed.person)
        return CallClosed("settled", settled.cost_nanodollars, blind=settled.blind)

    def _void(self, operation: VoidCall, _reply: Reply, now_ns: int) -> Answer:
        account, call = self._own_call(operation)
        if account is None or call is None:
            return self._closed_before(operation)
        self._emit(account.run, closing.void(call), now_ns, call=call)
        return CallClosed("voided")

    def _abandon(self, operation: AbandonCall, _reply: Reply, now_ns: int) -> Answer:
        account, call = self._own_call(operation)
        if account is None or call is None:
            return self._closed_before(operation)
        if call.state is CallState.UNRESOLVED and operation.known in (None, call.known):
            return CallClosed("unresolved", repeated=True)
        known_cost = self._prices.known_cost(call, operation.known)
        self._emit(account.run, closing.abandon(account, call, operation.known, known_cost), now_ns, call=call)
        return CallClosed("unresolved")

    def _cancel(self, operation: CancelCall, _reply: Reply, now_ns: int) -> Answer:
        if self._line.leave(operation.run, operation.call, operation.session):
            return CallClosed("voided")
        account, call = self._own_call(operation)
        if account is None or call is None:
            closed = self._closed_before(operation)
            # One that never came in was not forwarded either, which is all that the shim wants to hear.
            return closed if isinstance(closed, CallClosed) else CallClosed("voided", repeated=True)
        self._emit(account.run, closing.void(call), now_ns, call=call)
        return CallClosed("voided")

    def _acknowledge(self, operation: Acknowledge, _reply: Reply, _now_ns: int) -> Answer:
        self.working.acknowledge(operation.session, operation.calls)
        return Done()

    def _probe(self, _operation: Probe, _reply: Reply, _now_ns: int) -> Answer:
        self.working.batch.probed = True
        return Probed(self.working.open_runs)

    # What every operation comes down to

    def _emit(self, run: str, events: tuple[Event, ...], now_ns: int, *, call: Call | None = None) -> Account:
        """Writes events, tells the run's shims of a stop or a warning, and lets waiters try again."""
        account = self.working.emit(run, events, now_ns, call=call)
        for event in events:
            if isinstance(event, Stopped):
                self._push(account, RunStopped(run, event.reason, event.now), counted=True)
            elif isinstance(event, Warned):
                push = RunWarned(run, event.reason, event.used, event.limit)
                self._push(account, push, counted=True)
        if events:
            self._line.changed(run)
        return account

    def _push(self, account: Account, push: Push, *, counted: bool = False) -> None:
        """Tells every shim that has the run open, and a live stream; the first of them that it counts."""
        links = (self._sessions.link(opener.session) for opener in account.openers)
        pushes = [(link, push) for link in links if link is not None]
        if counted and pushes:
            pushes[0] = (pushes[0][0], replace(push, counts=True))
        self.outbound.pushes.extend(pushes)

    def _answer(self, reply: Reply, answer: Answer) -> None:
        self.outbound.answers.append((reply, answer))

    def _own_call(
        self, operation: SettleCall | VoidCall | AbandonCall | CancelCall
    ) -> tuple[Account | None, Call | None]:
        """The run and the call that an operation closes, the call only where it is this session's own."""
        account = self.working.account(operation.run)
        if account is None:
            return None, None
        return account, self.working.call(operation.session, account, operation.call)

    def _closed_before(self, operation: VoidCall | AbandonCall | CancelCall) -> Answer:
        closed = self.working.closed_call(operation.session, operation.call)
        return _NOT_A_CALL if closed is None else CallClosed(closed.outcome, closed.cost_nanodollars, repeated=True)

    def _account(self, run: str) -> Account:
        account = self.working.account(run)
        assert account is not None
        return account
