"""N clients under a budget of K equal calls: exactly K are forwarded, whatever their order and whatever breaks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.property.audit import Asked
from tests.property.daemon import Fault
from tests.property.profiles import SECOND_NS, Given, Profile
from tests.property.provider import MODELS, Served, Tokens
from tests.property.rules import expect
from tests.property.seeds import seeds
from tests.property.shims import Declared, Phase, Shim, ShimCall
from tests.property.world import World

TOKENS = Tokens(input=100, output=50)
COST = MODELS["alpha"].cost(TOKENS)
MAX_STEPS = 4_000  # a crowd of thirty is served in some hundred
RUN = "run-0"
AGAIN = ("", "unavailable", "not_open", "budget_held")  # how a call may end whose client asks again

BUDGETS = {
    "cost": lambda calls: {"max_cost_nanodollars": calls * COST},
    "cost, strictly": lambda calls: {"max_cost_nanodollars": calls * COST, "strict": True},
    "calls": lambda calls: {"max_calls": calls},
    "both": lambda calls: {"max_cost_nanodollars": calls * COST, "max_calls": calls},
}


@dataclass(slots=True, eq=False)
class Client:
    """Somebody who wants one call, and asks until it is served or refused for good."""

    shim: Shim
    asked: Asked
    call: ShimCall | None = None
    refused: str = ""


class Crowd:
    """More clients than the budget has calls for, over several shims."""

    def __init__(self, world: World, clients: int, *, bounded: bool) -> None:
        self.world = world
        self.random = world.random
        shims = [world.add_shim() for _ in range(self.random.randint(1, 4))]
        bounds = (TOKENS.output,) if bounded else (None, 60, 500)
        asked = [Asked(model="alpha", input_bound=TOKENS.input, output_bound=bound) for bound in bounds]
        self.clients = [Client(self.random.choice(shims), self.random.choice(asked)) for _ in range(clients)]

    async def until_all_are_done(self) -> None:
        world, random = self.world, self.random
        await world.store_prices()
        for _ in range(MAX_STEPS):
            for client in self.clients:
                if random.random() < 0.5:
                    self._proceed(client)
            self._trouble()
            for link in world.links():
                world.uplink(link, None if random.random() < 0.6 else random.randint(0, 4))
            await world.flush()
            for link in world.links():
                world.downlink(link, None if random.random() < 0.6 else random.randint(0, 4))
            if all(self._is_done(client) for client in self.clients):
                return
        left = [client.call for client in self.clients if not self._is_done(client)]
        expect(holds=False, message=f"these wait for ever: {left}")

    def _is_done(self, client: Client) -> bool:
        call = client.call
        return bool(client.refused) or (call is not None and call.reached and call.phase is Phase.OVER)

    def _proceed(self, client: Client) -> None:
        shim, call = client.shim, client.call
        if not shim.stands or self._is_done(client):
            return
        if RUN not in shim.opened:
            shim.open_run(RUN, Declared(self.world.limits[RUN], next(iter(self.world.price_tables))))
        elif call is None or (call.phase is Phase.OVER and call.refused in AGAIN):
            client.call = self.world.new_call(RUN, client.asked)
            shim.reserve(client.call)
        elif call.phase is Phase.OVER:
            client.refused = call.refused
        elif call.phase is Phase.ADMITTED and self.random.random() < 0.1:
            shim.close(call, self.random.choice(("void", "cancel")))
        elif call.phase is Phase.ADMITTED:
            self.world.forward(call, Served(status=200, tokens=TOKENS, model="alpha", fingerprint=b""))
        elif call.phase is Phase.IN_FLIGHT:
            shim.close(call, "settle")

    def _trouble(self) -> None:
        """Whatever comes back within the grace: nobody's outcome gets lost, so each call is settled in the end."""
        world, random = self.world, self.random
        dice = random.random()
        for shim in world.shims:
            if shim.link is None:
                shim.connect()
        if dice < 0.05:
            world.sever(random.choice(world.shims))
        elif dice < 0.1:
            world.plant(random.choice(tuple(Fault)))
        elif dice < 0.15 and world.clock.at_ns % (100 * SECOND_NS) < SECOND_NS:
            world.clock.at_ns += random.randint(1, SECOND_NS // 100)


@pytest.mark.anyio
@pytest.mark.parametrize("seed", seeds(share=0.5))
@pytest.mark.parametrize("budget", BUDGETS)
async def test_exactly_k_of_n_calls_are_forwarded(tmp_path: Path, budget: str, seed: int) -> None:
    random = Random(f"{budget} {seed}")
    most = random.randint(1, 10)
    limits: Given = BUDGETS[budget](most) | {"hold_wait_ns": random.choice((0, 4, 30)) * SECOND_NS}
    profile = Profile(name=budget, limits=lambda _: limits, runs=(RUN,), twice=random.choice((0.0, 0.1)))
    world = World(tmp_path, seed, profile)
    try:
        crowd = Crowd(world, clients=random.randint(most + 1, 3 * most + 5), bounded=budget == "cost, strictly")
        await crowd.until_all_are_done()
        assert len(world.provider.log) == most, f"{len(world.provider.log)} of {most} were forwarded"
        reason = "max_calls" if budget == "calls" else "cost_budget"
        assert {client.refused for client in crowd.clients} == {"", reason}
        world.inspector.check_ledger()
    except BaseException as error:
        error.add_note(f"seed {seed} of {budget!r}, {most} calls; what happened:\n" + "\n".join(world.story))
        raise
    finally:
        await world.daemon.close()
