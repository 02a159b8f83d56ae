"""One run, played through the pure core: what is asked, what is answered, and the entries that come of it.

Every event is folded at once by the core's own fold, so that a test reads as the exchange.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from leash.usage import Usage
from leashd.core import admission, closing, control
from leashd.core.account import Account, Call, ClosedCall
from leashd.core.admission import Admit, Quote, Refuse, Reserve, Wait
from leashd.core.closing import Report
from leashd.core.control import OpenRun
from leashd.core.events import Entry, Event, Resolved, Settled, Stopped
from leashd.core.fold import create, fold, fold_call

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
START = 1_700_000_000 * SECOND
ONE = b"session1"
TWO = b"session2"
DOLLAR = 1_000_000_000

_ids = count(1)


@dataclass
class Play:
    """A run with its calls. ``now_ns`` is the ledger's clock; costs are nanodollars."""

    limits: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    now_ns: int = START
    account: Any = None
    calls: dict[bytes, Call] = field(default_factory=dict)
    closed: dict[bytes, ClosedCall] = field(default_factory=dict)
    journal: list[Entry] = field(default_factory=list)

    def pass_time(self, duration_ns: int) -> None:
        self.now_ns += duration_ns

    def emit(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        for event in events:
            seq = self.account.seq + 1 if self.account else 1
            entry = Entry(seq=seq, at_ns=self.now_ns, event=event)
            self.account = fold(self.account, entry) if self.account else create("r", 1, entry)
            self.journal.append(entry)
            if not hasattr(event, "call"):
                continue
            before = self.calls.pop(event.call, None)
            after = fold_call(before, self.account, entry)
            if after is not None:
                self.calls[event.call] = after
            elif before is not None and isinstance(event, Settled | Resolved):
                self.closed[event.call] = closing.closed_record(before, event, self.now_ns)
        return events

    def open(
        self, session: bytes = ONE, *, prices: bytes = b"", standing_prices: bytes = b"", **given: Any
    ) -> tuple[Event, ...]:
        command = OpenRun(
            session=session, owner_uid=7, given=given, defaults=self.defaults, prices=prices,
            standing_prices=standing_prices,
        )  # fmt: skip
        return self.emit(control.open_run(self.account, command))

    def open_for_others(
        self, session: bytes = ONE, *, lowered: dict[str, Any] | None = None, **given: Any
    ) -> tuple[Event, ...]:
        """Opens the run as a gateway does."""
        command = OpenRun(
            session=session, owner_uid=7, given=given, defaults=self.defaults, prices=b"", lowered=lowered or {},
            on_behalf=True,
        )  # fmt: skip
        return self.emit(control.open_run(self.account, command))

    def close(self, session: bytes = ONE, *, clean: bool = True, until_ns: int | None = None) -> None:
        until = self.now_ns if until_ns is None else until_ns
        self.emit(control.close_run(self.account, session, clean=clean, until_ns=until))

    def reserve(
        self, call: bytes = b"", *, model: str = "m", session: bytes = ONE, **quote: Any
    ) -> Admit | Refuse | Wait:
        call = call or next(_ids).to_bytes(16, "big")
        facts: dict[str, Any] = {"listed": True, "ceiling_nanodollars": 100, "metered_before": True}
        asked = Reserve(call=call, session=session, model=model, quote=Quote(**(facts | quote)))
        decided = admission.admit(self.account, asked, self.now_ns)
        self.emit(decided.events)
        return decided.reply

    def admitted(self, **asked: Any) -> bytes:
        """Reserves a call that has to be admitted, and gives its id."""
        call = next(_ids).to_bytes(16, "big")
        reply = self.reserve(call, **asked)
        assert isinstance(reply, Admit), reply
        return call

    def refused(self, **asked: Any) -> Refuse:
        reply = self.reserve(**asked)
        assert isinstance(reply, Refuse), reply
        return reply

    def waits(self, **asked: Any) -> bool:
        return isinstance(self.reserve(**asked), Wait)

    def report(self, cost: int = 0, **facts: Any) -> Report:
        defaults: dict[str, Any] = {"http_status": 200, "usage": Usage(input_tokens=1, output_tokens=1), "priced": True}
        return Report(cost_nanodollars=cost, **(defaults | facts))

    def settle(self, call: bytes, cost: int = 0, **facts: Any) -> tuple[Event, ...]:
        report = self.report(cost, **facts)
        return self.emit(closing.settle(self.account, self.calls[call], report, self.now_ns))

    def amend(self, call: bytes, cost: int = 0, **facts: Any) -> tuple[Event, ...]:
        report = self.report(cost, **facts)
        return self.emit(closing.amend(self.account, self.closed[call], report, self.now_ns))

    def call(self, cost: int = 0, *, asked: dict[str, Any] | None = None, **facts: Any) -> tuple[Event, ...]:
        """A call that goes through: reserved, answered, settled."""
        return self.settle(self.admitted(**(asked or {})), cost, **facts)

    def void(self, call: bytes) -> None:
        self.emit(closing.void(self.calls[call]))

    def abandon(self, call: bytes, known: Usage | None = None, known_cost: int = 0) -> tuple[Event, ...]:
        return self.emit(closing.abandon(self.account, self.calls[call], known, known_cost))

    def resolve(self, call: bytes, cost: int | None) -> None:
        self.emit(closing.resolve(self.calls[call], cost, 7))

    def kill(self, *, now: bool = False) -> tuple[Event, ...]:
        return self.emit(control.kill(self.account, now=now, actor_uid=7))

    def raise_limits(self, *, resume: bool = False, **given: Any) -> None:
        self.emit(control.raise_limits(self.account, given, resume=resume, actor_uid=7, now_ns=self.now_ns))

    def refold(self) -> Account:
        """The account from its journal alone."""
        account = create("r", 1, self.journal[0])
        for entry in self.journal[1:]:
            account = fold(account, entry)
        return account

    @property
    def stop_reason(self) -> str:
        return self.account.stop.reason.value if self.account.stop else ""


def running(defaults: dict[str, Any] | None = None, **limits: Any) -> Play:
    """A run that session ``ONE`` has open, with no limits but those given."""
    play = Play(defaults=defaults or {})
    play.open(**limits)
    return play


def with_limits(play: Play, **limits: Any) -> Play:
    """The same run under other limits in force, however they came to be."""
    state = play.account.limits
    play.account = replace(play.account, limits=replace(state, in_force=replace(state.in_force, **limits)))
    return play


def stops(events: tuple[Event, ...]) -> list[str]:
    """The reasons of the stops among events."""
    return [event.reason.value for event in events if isinstance(event, Stopped)]
