"""Money is exact: each call's cost is rounded up once, from whatever figures, and their sum is the account's."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from leashd.pricing import read_prices
from tests.property.direct import call_id, stage
from tests.property.provider import MODELS, Tokens, price_list
from tests.property.seeds import seeds
from tests.property.shims import usage

CALLS = 400  # of each seed
MOST_TOKENS = 8_000_000_000  # a call of $100,000, where a float would be off by more than a nanodollar


@pytest.mark.anyio
@pytest.mark.parametrize("seed", seeds())
async def test_every_cost_is_exact(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        stored = read_prices(price_list(MODELS))
        shim.ask(stored)
        await world.daemon.flush()
        shim.prices = stored.sha256
        shim.open("r")
        models = [random.choice([*MODELS, "alpha", "alpha"]) for _ in range(CALLS)]
        for number, model in enumerate(models):
            shim.reserve("r", call_id(number), model=model)
        await world.daemon.flush()
        due, settled = 0, []
        for number, model in enumerate(models):
            most = random.choice((10, MOST_TOKENS, MOST_TOKENS))
            tokens = Tokens(
                input=most + random.randint(0, most),
                cached=random.randint(0, most),
                output=random.randint(0, most),
                searches=random.choice((0, 3)) if model == "tool" else 0,
            )
            cost = MODELS[model].cost(tokens)
            due += cost
            settled.append((shim.settle("r", call_id(number), usage(tokens)), cost, f"seed {seed}: {model}, {tokens}"))
        await world.daemon.flush()
        for answers, cost, story in settled:
            assert answers[0].cost_nanodollars == cost, story
        assert world.account("r").totals.token_cost_nanodollars == due, f"seed {seed}"
