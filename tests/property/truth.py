"""What really happened, held against what the daemon says: the shims' and the provider's side of every invariant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leashd.operations import CancelCall, OpenRun, ReserveCall, SettleCall
from tests.property.rules import CAPS, expect
from tests.property.shims import Phase, Sent

if TYPE_CHECKING:
    from tests.property.audit import RunBook
    from tests.property.world import World

TERMINAL = ("kill_switch", "deadline", "cost_budget", "max_calls", "stall", "unpriced_model")
TRANSIENT = ("rate_limit", "budget_held")
CLOSING_KINDS = {"settled": "Settled", "voided": "Voided", "unresolved": "Abandoned"}


class Truth:
    """Checks answers as they are given, and the whole world between two steps."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._made: set[str] = set()

    def answered(self, sent: Sent, answer: Any) -> None:
        """An answer leaves the daemon. Whatever it says must be durable by now."""
        expect(sent.answers == 1, f"{type(sent.operation).__name__} was answered {sent.answers} times")
        written = self._world.daemon.written.calls.get(getattr(sent.operation, "call", b""), set())
        kind = type(answer).__name__
        if kind == "Admit":
            expect("Reserved" in written, "a call was admitted before its reserve was durable")
        elif kind == "Refused":
            self._refused(answer)
        elif isinstance(sent.operation, OpenRun):
            self._opened(sent.operation, answer)
        elif kind == "CallClosed" and not isinstance(sent.operation, CancelCall):
            wanted = {CLOSING_KINDS[answer.outcome], "Resolved"} if answer.repeated else {CLOSING_KINDS[answer.outcome]}
            expect(wanted & written, f"a call was said to be {answer.outcome}, and {sorted(written)} are durable")
            if isinstance(sent.operation, SettleCall):
                expect(answer.outcome == "settled", f"a settle was answered with {answer.outcome}")

    def _opened(self, asked: OpenRun, answer: Any) -> None:
        """A gateway is refused no run for its limits; a new run is under the tightest of what was asked for it."""
        if type(answer).__name__ == "Failed":
            looser = answer.code.value in ("limit_higher", "invalid")
            expect(not (asked.on_behalf and looser), f"a gateway could not open {asked.run}: {answer.message}")
            return
        if asked.run in self._made or asked.run in self._world.books.runs:
            return
        self._made.add(asked.run)
        for name in CAPS:
            declared = asked.given.get(name, asked.defaults.get(name, 0))
            tightest = min(filter(None, (declared, asked.lowered.get(name, 0))), default=0)
            limits = answer.account.limits
            expect(getattr(limits.declared, name) == declared, f"{name} is declared as {limits.declared}")
            expect(getattr(limits.in_force, name) == tightest, f"{name} was to be {tightest}: {limits.in_force}")

    def _refused(self, answer: Any) -> None:
        """A terminal refusal stands on a stop that is durable; a transient one says when to come back."""
        reason, transient = answer.refuse.reason.value, answer.refuse.transient
        observed = answer.account.limits.in_force.observe and answer.account.stop is None
        expect(not observed, f"{reason} refused a call under observe")
        expect(transient == (reason in TRANSIENT), f"{reason} is transient: {transient}")
        expect(1 <= answer.refuse.retry_after_seconds <= 60 or not transient, "Retry-After is 1 to 60 seconds")
        if reason in TERMINAL:
            stored = self._world.daemon.ledger.account(answer.account.run)
            expect(stored is not None and stored.stop is not None, f"{reason} was answered before it was durable")

    def check(self) -> None:
        """Between two steps."""
        self._no_loss()
        self._nothing_made_up()
        self._everybody_is_answered()

    def _no_loss(self) -> None:
        """What reached the provider is open, unresolved, settled, or was resolved by a person."""
        world = self._world
        for call_id, served in world.provider.log.items():
            call = world.calls[call_id]
            line = world.books.runs[call.run].calls.get(call_id)
            expect(line is not None, "a call was forwarded, and the journal does not know it")
            assert line is not None
            expect(line.state != "voided", "a call was forwarded, and counts for nothing")
            if line.state == "settled":
                expect(call.said == "settle", f"a call was settled, and its shim said {call.said!r}")
            if call.told == "settled" and call.said == "settle":
                expect(line.state == "settled", f"a settle was confirmed, and the call is {line.state}")
            if line.state == "settled" and served.tokens is None:
                expect(line.cost == 0, "an answer without usage cost something")

    def _nothing_made_up(self) -> None:
        """A settled call that the provider never saw is one that nobody made."""
        world = self._world
        for run, book in world.books.runs.items():
            for call_id, line in book.calls.items():
                if line.state == "settled":
                    expect(call_id in world.provider.log, f"a call of {run} was settled that was never forwarded")

    def _everybody_is_answered(self) -> None:
        """All but reserves is answered at once; a reserve waits only for open calls, and for no longer than it may."""
        world = self._world
        waiting: list[Sent] = []
        for sent in world.outstanding:
            if sent.answers or not sent.link.alive:
                continue
            expect(isinstance(sent.operation, ReserveCall), f"{type(sent.operation).__name__} was not answered")
            waiting.append(sent)
        world.outstanding = waiting
        cancelled = {call.id for call in world.calls.values() if call.said == "cancel" or call.phase is Phase.OVER}
        next_ns = world.daemon.engine.next_tick_ns()
        for sent in waiting:
            operation = sent.operation
            if operation.call in cancelled:
                continue
            book = world.books.runs.get(operation.run)
            busy = book is not None and book.in_state("open")
            will_look = next_ns is not None and next_ns <= world.clock.at_ns
            expect(busy or will_look, f"a call waits for room in {operation.run}, and nothing is open there")
            expect(self._waited_ns(sent, book) <= 0, f"a call has waited {self._waited_ns(sent, book)} ns too long")

    def _waited_ns(self, sent: Sent, book: Any) -> int:
        """By how much a reserve has waited longer than it might when it came."""
        if sent.submitted_at_ns == self._world.clock.at_ns or sent.may_wait_ns is None:
            sent.may_wait_ns = max(sent.may_wait_ns or 0, book.limits.hold_wait_ns)
        return self._world.clock.at_ns - sent.submitted_at_ns - sent.may_wait_ns

    def check_end(self) -> None:
        """Everybody has said everything, and every grace is over."""
        world = self._world
        sessions = {shim.session for shim in world.shims if not shim.dead}
        for run, book in world.books.runs.items():
            expect(book.openers <= sessions, f"{run} is open for a session that is gone")
            self._each_is_counted_once(book)
        for call in world.calls.values():
            line = world.line(call)
            state = "" if line is None else line.state
            expect(state != "open", f"a call is open for ever; its shim said {call.said!r}")
            served = world.provider.log.get(call.id)
            dead = world.owner(call).dead
            if served is None:
                unknown = dead or call.said == "abandon" or call.refused == "dropped"
                unfounded = state not in ("", "voided", "resolved") and not unknown
                expect(not unfounded, f"a call never reached the provider, and it is {state}: {call}")
            elif call.said == "settle" and not dead:
                assert line is not None
                expect(state == "settled", f"a call was settled by its shim, and it is {state}")
            else:
                kept = state in ("unresolved", "resolved", "settled")
                expect(kept, f"a call reached the provider, and it is {state or 'unknown'}")

    def _each_is_counted_once(self, book: RunBook) -> None:
        """Of the sessions that are told of a stop or a warning one counts it; there may be none to tell."""
        pushes = [push for shim in self._world.shims for push in shim.pushed if push.run == book.run]
        for name, there_were in (("RunStopped", book.stops), ("RunWarned", book.warnings)):
            told = [push for push in pushes if type(push).__name__ == name]
            counted = sum(push.counts for push in told)
            expect(counted <= there_were, f"{counted} times {name} of {book.run} are counted, and {there_were} were")
            # One with ``now`` may be a kill that is only told again.
            expect(counted or all(getattr(push, "now", False) for push in told), f"no {name} of {book.run} is counted")
