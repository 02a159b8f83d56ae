"""A crowd of runs that make calls, with no provider and no agent: what there is to look at.

As a program: ``python crowd.py RUNS CALLS_PER_SECOND SECONDS`` does so with the daemon that the environment chooses.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import sys

import anyio

from leash.client.paths import find_endpoint
from leash.client.session import ShimSession
from leash.units import NANODOLLARS_PER_DOLLAR
from leash.v1 import shim_pb2, types_pb2

PRICES = {"small-model": {"input": 1, "output": 4}, "large-model": {"input": 10, "output": 30}}
MODELS = tuple(PRICES)


async def crowd(runs: int, calls_per_second: float, seconds: float, *, seed: int = 7) -> None:
    """Opens runs and makes calls of them, most of them of a few, for some time; prints when all are open."""
    chance = random.Random(seed)
    endpoint = find_endpoint(socket=None, db=None, environ=os.environ)
    async with ShimSession(endpoint, client_version="0") as session:
        prices = await session.put_prices(json.dumps(PRICES).encode())
        names = [f"agent-{number:04}" for number in range(runs)]
        for number, name in enumerate(names):
            limits = types_pb2.Limits(
                max_cost_nanodollars=(1 + number % 7) * NANODOLLARS_PER_DOLLAR // 4,
                warn_at_ppm=800_000,
                max_calls=5_000,
            )
            await session.open_run(
                shim_pb2.OpenRun(run=name, limits=limits, prices_sha256=prices, kind="gateway", pid=os.getpid())
            )
        print("open", flush=True)
        with anyio.move_on_after(seconds):
            while True:
                name = names[min(int(chance.expovariate(6 / runs)), runs - 1)]
                await call(session, name, chance)
                await anyio.sleep(1 / calls_per_second)
        await session.drained(5)


async def call(session: ShimSession, run: str, chance: random.Random) -> None:
    """Makes one call of a run, where it is admitted."""
    identity, model = secrets.token_bytes(16), chance.choice(MODELS)
    reserve = shim_pb2.Reserve(
        call_id=identity, run=run, format="openai_chat", model=model, input_bound_tokens=4_000, output_bound_tokens=900
    )
    if not isinstance(await session.reserve(reserve), shim_pb2.Admitted):
        return
    await anyio.sleep(chance.expovariate(50))
    usage = types_pb2.Usage(
        input_tokens=chance.randrange(500, 4_000),
        output_tokens=chance.randrange(50, 900),
        cached_input_tokens=chance.randrange(0, 500),
    )
    session.settle(shim_pb2.Settle(call_id=identity, run=run, http_status=200, usage=usage, model=model))


if __name__ == "__main__":
    anyio.run(crowd, int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
