"""A daemon that a test talks to operation by operation, for stories that have to go in one exact way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leash.usage import Usage
from leashd.operations import AbandonCall, CancelCall, CloseRun, Hello, OpenRun, ReserveCall, SettleCall, VoidCall
from leashd.pricing import read_prices
from tests.property.daemon import Clock, Daemon

SECOND_NS = 1_000_000_000
DOLLAR = 1_000_000_000  # nanodollars
PRICES = b'{"m": {"input": 1000, "output": 1000}, "n": {"input": 1000, "output": 1000}}'  # a token costs $0.001
CENT_OF_TOKENS = 10


@dataclass(slots=True, eq=False)
class Talk:
    """One shim's stream, and what it was answered, by the order of asking."""

    daemon: Daemon
    session: bytes
    prices: bytes
    answers: dict[int, list[Any]] = field(default_factory=dict)
    pushed: list[Any] = field(default_factory=list)

    def push(self, push: Any) -> None:
        self.pushed.append(push)

    def replaced(self) -> None:
        pass

    def ask(self, operation: Any) -> list[Any]:
        """Submits an operation; the list that it returns gets what is answered."""
        answers: list[Any] = []
        self.answers[len(self.answers)] = answers
        self.daemon.submit(operation, answers.append)
        return answers

    def hello(self, *held: bytes) -> list[Any]:
        return self.ask(Hello(self.session, frozenset(held), self))

    def open(self, run: str, **limits: int) -> list[Any]:
        return self.ask(
            OpenRun(
                session=self.session,
                link=self,
                run=run,
                owner_uid=1000,
                given=limits,
                defaults={},
                prices_sha256=self.prices,
                pid=0,
            )
        )

    def close(self, run: str) -> list[Any]:
        return self.ask(CloseRun(self.session, self, run))

    def reserve(
        self, run: str, call: bytes, *, tokens: int | None = None, model: str = "m", choices: int = 1
    ) -> list[Any]:
        """Asks for a call whose ceiling is ``tokens`` output tokens; without them it has none."""
        return self.ask(
            ReserveCall(
                session=self.session,
                link=self,
                run=run,
                call=call,
                model=model,
                input_bound_tokens=0,
                output_bound_tokens=tokens,
                choices=choices,
                server_tools=False,
                service_tier="",
                unmeterable=False,
            )
        )

    def settle(self, run: str, call: bytes, tokens: int | Usage) -> list[Any]:
        """Closes a call that used so many output tokens."""
        return self.ask(
            SettleCall(
                session=self.session,
                link=self,
                run=run,
                call=call,
                http_status=200,
                usage=tokens if isinstance(tokens, Usage) else Usage(output_tokens=tokens),
                model="",
                fingerprint=b"",
            )
        )

    def abandon(self, run: str, call: bytes, known_tokens: int | None = None) -> list[Any]:
        known = None if known_tokens is None else Usage(output_tokens=known_tokens)
        return self.ask(AbandonCall(self.session, self, run, call, known))

    def void(self, run: str, call: bytes) -> list[Any]:
        return self.ask(VoidCall(self.session, self, run, call))

    def cancel(self, run: str, call: bytes) -> list[Any]:
        return self.ask(CancelCall(self.session, self, run, call))


@dataclass(slots=True)
class Stage:
    """A daemon with prices in its ledger, and shims that talk to it."""

    clock: Clock
    daemon: Daemon
    prices: bytes

    async def talk(self, session: bytes, *held: bytes) -> Talk:
        talk = Talk(self.daemon, session, self.prices)
        talk.hello(*held)
        await self.daemon.flush()
        return talk

    def account(self, run: str) -> Any:
        return self.daemon.ledger.account(run)

    def after(self, seconds: float) -> None:
        self.clock.at_ns += int(seconds * SECOND_NS)


@asynccontextmanager
async def stage(directory: Path) -> AsyncIterator[Stage]:
    """A fresh daemon; the model ``m`` has been metered in its ledger once, at a cost of $0.001."""
    clock = Clock()
    daemon = Daemon(directory, clock)
    try:
        stored = read_prices(PRICES)
        daemon.submit(stored, lambda _: None)
        await daemon.flush()
        ready = Stage(clock, daemon, stored.sha256)
        first = await ready.talk(b"metering")
        first.open("metering")
        first.reserve("metering", call_id(0))
        await daemon.flush()
        first.settle("metering", call_id(0), 1)
        first.close("metering")
        await daemon.flush()
        yield ready
    finally:
        await daemon.close()


def call_id(number: int) -> bytes:
    """The id of a call in a story."""
    return number.to_bytes(16, "big")
