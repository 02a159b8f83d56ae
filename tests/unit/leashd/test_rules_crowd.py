"""DESIGN 4.2: no livelock. Many who try again at the edge of a budget all end in bounded time.

As many as the budget is for are forwarded, and no more; those who waited in vain are told so once, and ask again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from leashd.core.admission import Admit
from leashd.operations import AbandonCall, CancelCall, Refused
from tests.unit.leashd.desk import MICRODOLLAR, MODEL, Desk, Shim, call_id
from tests.unit.leashd.play import SECOND
from tests.unit.leashd.room import BUDGET, known, said, sized


@dataclass
class Client:
    """One that asks until it is served or refused for good; after a transient refusal it asks again in a second."""

    asks_at_ns: int
    number: int = 0
    asked_at_ns: int = 0
    call: int = 0
    ends_at_ns: int = 0
    ended: str = ""


@dataclass
class Crowd:
    """Clients of one run, each on its own step of one clock; some of their calls are lost."""

    desk: Desk
    shims: list[Shim]
    asks: dict[str, Any]
    tokens: int
    lost: frozenset[int] = frozenset()  # which of the forwarded calls, counted from 1
    lasts_ns: int = 2 * SECOND
    clients: list[Client] = field(default_factory=list)
    forwarded: int = 0
    held: int = 0  # transient refusals
    most_open: int = 0
    _calls: int = 10_000

    def until_all_ended(self, clients: int, *, at_most_ns: int) -> list[str]:
        """How each ended. AssertionError where some go on for longer."""
        self.clients = [Client(self.desk.now_ns) for _ in range(clients)]
        until_ns = self.desk.now_ns + at_most_ns
        while not all(client.ended for client in self.clients):
            assert self.desk.now_ns <= until_ns, (
                f"{sum(not client.ended for client in self.clients)} go round and round"
            )
            for place, client in enumerate(self.clients):
                self._step(self.shims[place % len(self.shims)], client)
            self.desk.commit()
            for client in self.clients:
                self._hear(client)
            self.most_open = max(self.most_open, self.desk.account().open.calls)
            self.desk.now_ns += SECOND // 2
        return [client.ended for client in self.clients]

    def _step(self, shim: Shim, client: Client) -> None:
        if client.ends_at_ns and client.ends_at_ns <= self.desk.now_ns:
            if client.ended == "lost":
                return
            self.desk.ask_later(shim.settles(client.call, tokens=self.tokens))
            client.ended = "served"
        elif not (client.number or client.ended) and client.asks_at_ns <= self.desk.now_ns:
            self._calls += 1
            client.call, client.asked_at_ns = self._calls, self.desk.now_ns
            client.number = self.desk.ask_later(shim.asks(client.call, **self.asks))

    def _hear(self, client: Client) -> None:
        answer = self.desk.answers.get(client.number)
        if answer is None or client.ended or client.ends_at_ns:
            return
        if isinstance(answer, Admit):
            self.forwarded += 1
            client.ends_at_ns = self.desk.now_ns + self.lasts_ns
            if self.forwarded in self.lost:
                client.ended = "lost"
                shim = self.shims[self.clients.index(client) % len(self.shims)]
                self.desk.ask_later(AbandonCall(shim.name, shim.link, "r", call_id(client.call), None))
            return
        assert isinstance(answer, Refused), answer
        if answer.refuse.transient:
            wait_ns = self.desk.account().limits.in_force.hold_wait_ns
            assert self.desk.now_ns - client.asked_at_ns >= wait_ns
            assert (said(answer), answer.refuse.retry_after_seconds) == ("budget_held", 1)
            self.held += 1
            client.number, client.asks_at_ns = 0, self.desk.now_ns + SECOND
        else:
            client.ended = said(answer)


K = 10
COST = 100
CROWDS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "calls": ({"max_calls": K}, sized(0), "max_calls"),
    "small ceilings": ({"max_cost_nanodollars": K * COST * MICRODOLLAR}, sized(COST), "cost_budget"),
    "large ceilings": ({"max_cost_nanodollars": K * COST * MICRODOLLAR}, sized(5 * COST), "cost_budget"),
    "no ceiling": (
        {"max_cost_nanodollars": K * COST * MICRODOLLAR},
        {"input_bound_tokens": None, "output_bound_tokens": None, "server_tools": True},
        "cost_budget",
    ),
    "strict": ({"max_cost_nanodollars": K * COST * MICRODOLLAR, "strict": True}, sized(COST), "cost_budget"),
    "both limits": (
        {"max_cost_nanodollars": 2 * K * COST * MICRODOLLAR, "max_calls": K},
        sized(5 * COST),
        "max_calls",
    ),
}


@pytest.mark.parametrize("wait_s", [0, 1, 5, 30])
@pytest.mark.parametrize("limit", CROWDS)
def test_of_many_who_try_again_as_many_as_the_budget_is_for_are_forwarded_and_all_end_in_bounded_time(
    desk: Desk, limit: str, wait_s: int
) -> None:
    limits, asks, reason = CROWDS[limit]
    first = known(desk, **limits, hold_wait_ns=wait_s * SECOND)
    second = desk.session(b"session2")
    second.open(prices=desk.prices())
    crowd = Crowd(desk, [first, second], asks, COST)
    ends = crowd.until_all_ended(40, at_most_ns=(2 * K + wait_s + 5) * 2 * SECOND)

    assert (crowd.forwarded, ends.count("served"), ends.count(reason)) == (K, K, 40 - K)
    account = desk.account()
    assert (account.totals.calls, account.open.calls) == (K, 0)
    assert desk.kinds().count("Stopped") == 1
    assert wait_s or crowd.held, "some had to try again"


@pytest.mark.parametrize("limit", ["calls", "small ceilings", "strict", "both limits"])
def test_where_calls_are_lost_the_others_end_and_a_person_who_resolves_lets_more_go(desk: Desk, limit: str) -> None:
    limits, asks, _ = CROWDS[limit]
    shim = known(desk, **limits, hold_wait_ns=2 * SECOND)
    crowd = Crowd(desk, [shim], asks, COST, lost=frozenset({2, 5, K}))
    ends = crowd.until_all_ended(40, at_most_ns=(2 * K + 10) * 2 * SECOND)
    assert (crowd.forwarded, ends.count("lost")) == (K, 3)
    assert ends.count("unresolved_calls") == 40 - K, "no boundary stopped the run"
    assert desk.account().stop is None

    for stored in list(desk.ledger.unresolved_calls(desk.account().number, b"")):
        call = stored[1]
        desk.resolve(call.call, None)
    crowd.lost = frozenset()
    ends = crowd.until_all_ended(40, at_most_ns=(2 * K + 10) * 2 * SECOND)
    assert ends.count("served") == 3
    assert desk.account().totals.calls == K


@pytest.mark.parametrize("seed", range(5))
def test_calls_of_every_size_that_hang_up_and_get_lost_end_all_the_same(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    shim = known(desk, max_cost_nanodollars=4 * BUDGET, strict=bool(seed % 2), hold_wait_ns=4 * SECOND)
    waiting: dict[int, tuple[int, int]] = {}
    is_open: dict[int, int] = {}
    call = 10_000
    while desk.now_ns < 1_700_000_000 * SECOND + 120 * SECOND:
        if call < 10_200:
            for _ in range(chance.randrange(4)):
                call += 1
                waiting[call] = desk.ask_later(shim.asks(call, **sized(chance.choice((5, 50, 500))))), desk.now_ns
        for gone in [one for one in waiting if chance.random() < 0.05]:
            desk.ask_later(CancelCall(shim.name, shim.link, "r", call_id(gone)))
            del waiting[gone]
        for ended in [one for one, at_ns in is_open.items() if at_ns <= desk.now_ns]:
            desk.ask_later(shim.settles(ended, tokens=chance.randrange(1, 6)))
            del is_open[ended]
        desk.commit()
        for one, (number, since_ns) in list(waiting.items()):
            assert desk.now_ns - since_ns <= 4 * SECOND + SECOND // 2, "nobody waits for longer"
            if isinstance(desk.answers.get(number), Admit):
                is_open[one] = desk.now_ns + chance.randrange(1, 6) * SECOND
            if number in desk.answers:
                del waiting[one]
        desk.now_ns += SECOND // 2

    assert not waiting
    account = desk.account()
    assert (account.open.calls, account.open.nanodollars, account.unresolved.calls) == (0, 0, 0)
    assert account.totals.calls > 50
    assert desk.engine.next_tick_ns() is None
    assert MODEL in account.dearest_nanodollars
