"""The engine over a real ledger, one operation at a time: asked, decided, committed, and then told."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leash.usage import Usage
from leashd.core.account import Account
from leashd.core.admission import Admit
from leashd.core.events import Event
from leashd.engine import Engine
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.operations import (
    AbandonCall,
    Acknowledge,
    Answer,
    CallClosed,
    CancelCall,
    CloseRun,
    Disconnected,
    Failed,
    FailureCode,
    Hello,
    Kill,
    OpenRun,
    Operation,
    Probe,
    Push,
    Raise,
    Refused,
    Request,
    ReserveCall,
    Resolve,
    SettleCall,
    VoidCall,
)
from leashd.pricing import read_prices
from tests.unit.leashd.play import START

MODEL = "m"
# Dollars for a million tokens, so a nanodollar for each thousandth: a token of input costs 1, of output 2 microdollars.
PRICES = json.dumps(
    {MODEL: {"input": 1, "output": 2, "context": 1_000, "max_output": 500}, "free": {"input": 0, "output": 0}}
).encode()
MICRODOLLAR = 1_000


def call_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


@dataclass
class Stream:
    """The live stream of a session, as the engine sees it."""

    pushes: list[Push] = field(default_factory=list)
    is_replaced: bool = False

    def push(self, push: Push) -> None:
        self.pushes.append(push)

    def replaced(self) -> None:
        self.is_replaced = True


class Desk:
    """One daemon's engine and ledger. ``now_ns`` is the ledger's clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_ns = START
        self.answers: dict[int, Answer] = {}
        self._asked = 0
        self._start(START)

    def _start(self, alive_until_ns: int) -> None:
        self.ledger = LmdbLedger(self.path)
        self.engine = Engine(self.ledger, alive_until_ns=alive_until_ns, now_ns=self.now_ns)

    def restart(self, *, down_ns: int = 0) -> None:
        """The daemon is killed, and comes back after so long."""
        alive_until_ns = self.now_ns
        self.ledger.close()
        self.now_ns += down_ns
        self._start(alive_until_ns)

    def ask_later(self, operation: Operation) -> int:
        """Asks without waiting; ``answers`` has the answer by this number once it is told."""
        self._asked += 1
        number = self._asked

        def reply(answer: Answer) -> None:
            assert number not in self.answers, "an operation is answered once"
            self.answers[number] = answer

        self.engine.apply(Request(operation, reply), self.now_ns)
        return number

    def commit(self) -> None:
        """Ends the batch: time does its work, it is committed, and then told."""
        self.engine.tick(self.now_ns)
        batch, outbound = self.engine.take()
        if batch:
            self.ledger.commit(batch)
        for reply, answer in outbound.answers:
            reply(answer)
        for link, push in outbound.pushes:
            link.push(push)

    def ask(self, operation: Operation) -> Any:
        """The answer, or None where there is none yet."""
        number = self.ask_later(operation)
        self.commit()
        return self.answers.get(number)

    def pass_time(self, duration_ns: int) -> None:
        """Lets time pass, and time's own work be done at its end."""
        self.now_ns += duration_ns
        self.commit()

    # A shim's side

    def session(self, name: bytes = b"session1", *, held: tuple[bytes, ...] = ()) -> Shim:
        shim = Shim(self, name)
        shim.connect(*held)
        return shim

    def prices(self, text: bytes = PRICES) -> bytes:
        stored = read_prices(text)
        self.ask(stored)
        return stored.sha256

    # A person's side

    def kill(self, *runs: str, now: bool = False) -> Any:
        return self.ask(Kill(runs, now, 7))

    def raise_limits(self, run: str = "r", *, resume: bool = False, **given: int) -> Any:
        return self.ask(Raise(run, given, resume, 7))

    def resolve(self, prefix: bytes, cost: int | None, run: str = "r") -> Any:
        return self.ask(Resolve(run, prefix, cost, 7))

    # What is committed

    def account(self, run: str = "r") -> Account:
        account = self.ledger.account(run)
        assert account is not None
        return account

    def events(self, run: str = "r") -> list[Event]:
        return [stored.entry.event for stored in self.ledger.journal(self.account(run).number)]

    def kinds(self, run: str = "r") -> list[str]:
        return [type(event).__name__ for event in self.events(run)]


class Shim:
    """One shim session."""

    def __init__(self, desk: Desk, name: bytes) -> None:
        self.desk = desk
        self.name = name
        self.link = Stream()

    def connect(self, *held: bytes) -> Any:
        """A new stream, with the calls that the shim says it holds."""
        self.link = Stream()
        return self.desk.ask(Hello(self.name, frozenset(held), self.link))

    def disconnect(self) -> None:
        self.desk.ask(Disconnected(self.name, self.link))

    def open_for_others(self, run: str = "r", **more: Any) -> Any:
        """Opens a run as a gateway does: ``more`` are fields of the operation."""
        fields: dict[str, Any] = {"given": {}, "defaults": {}, "prices_sha256": b"", "pid": 0} | more
        return self.desk.ask(OpenRun(session=self.name, link=self.link, run=run, owner_uid=7, on_behalf=True, **fields))

    def open(self, run: str = "r", *, prices: bytes = b"", pid: int = 0, **given: int) -> Any:
        return self.desk.ask(
            OpenRun(
                session=self.name, link=self.link, run=run, owner_uid=7, given=given, defaults={},
                prices_sha256=prices, pid=pid,
            )
        )  # fmt: skip

    def close(self, run: str = "r", *, unfinished: bool = False) -> Any:
        return self.desk.ask(CloseRun(self.name, self.link, run, unfinished))

    def probe(self) -> Any:
        return self.desk.ask(Probe(self.name, self.link))

    def asks(self, call: int, run: str = "r", *, model: str = MODEL, **facts: Any) -> ReserveCall:
        bounds: dict[str, Any] = {"input_bound_tokens": 100, "output_bound_tokens": 100, "choices": 1}
        others: dict[str, Any] = {"server_tools": False, "service_tier": "", "unmeterable": False}
        return ReserveCall(
            session=self.name, link=self.link, run=run, call=call_id(call), model=model, **(bounds | others | facts)
        )

    def reserve(self, call: int, run: str = "r", **facts: Any) -> Any:
        return self.desk.ask(self.asks(call, run, **facts))

    def admitted(self, *calls: int, run: str = "r", **facts: Any) -> None:
        for call in calls:
            answer = self.reserve(call, run, **facts)
            assert isinstance(answer, Admit), answer

    def waits(self, call: int, run: str = "r", **facts: Any) -> int:
        """Reserves a call that has to wait, and gives the number of its answer."""
        number = self.desk.ask_later(self.asks(call, run, **facts))
        self.desk.commit()
        assert number not in self.desk.answers, self.desk.answers
        return number

    def refused(self, call: int, run: str = "r", **facts: Any) -> str:
        """The reason why a call is refused."""
        answer = self.reserve(call, run, **facts)
        assert isinstance(answer, Refused), answer
        return answer.refuse.reason.value

    def settles(
        self, call: int, run: str = "r", *, tokens: int = 0, http_status: int = 200, metered: bool = True
    ) -> SettleCall:
        """``tokens`` of input, each of which costs a microdollar."""
        usage = Usage(input_tokens=tokens) if metered else None
        return SettleCall(
            session=self.name, link=self.link, run=run, call=call_id(call), http_status=http_status, usage=usage,
            model=MODEL, fingerprint=b"",
        )  # fmt: skip

    def settle(self, call: int, run: str = "r", **facts: Any) -> Any:
        return self.desk.ask(self.settles(call, run, **facts))

    def void(self, call: int, run: str = "r") -> Any:
        return self.desk.ask(VoidCall(self.name, self.link, run, call_id(call)))

    def abandon(self, call: int, run: str = "r", *, known: Usage | None = None) -> Any:
        return self.desk.ask(AbandonCall(self.name, self.link, run, call_id(call), known))

    def cancel(self, call: int, run: str = "r") -> Any:
        return self.desk.ask(CancelCall(self.name, self.link, run, call_id(call)))

    def acknowledge(self, *calls: int) -> Any:
        return self.desk.ask(Acknowledge(self.name, self.link, tuple(call_id(call) for call in calls)))


def outcome(answer: Any) -> tuple[str, int, bool]:
    assert isinstance(answer, CallClosed), answer
    return answer.outcome, answer.cost_nanodollars, answer.repeated


def priced(desk: Desk, **limits: Any) -> Shim:
    """A shim session with a run that has a price table. The model was metered before, so that it goes in parallel."""
    prices = desk.prices()
    before = desk.session(b"earlier_")
    before.open("earlier", prices=prices)
    before.admitted(900, run="earlier")
    before.settle(900, "earlier", tokens=1)
    before.acknowledge(900)
    before.close("earlier")
    shim = desk.session()
    shim.open(prices=prices, **limits)
    return shim


def failure(answer: object) -> FailureCode:
    assert isinstance(answer, Failed), answer
    return answer.code
