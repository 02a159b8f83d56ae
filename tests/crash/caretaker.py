"""A person who puts everything in order, as a process: ``python caretaker.py SEED``.

Whatever is unresolved is resolved, and whatever was stopped is raised. In a soak that is hundreds of calls, and a
command for each would take the machine for itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
from random import Random

from leash.client.control import ControlClient
from leash.client.errors import ClientError
from leash.client.paths import find_endpoint
from leash.v1 import types_pb2

MORE_NANODOLLARS = 120_000_000  # as much again as a gateway's runs have
MORE_CALLS = 40


async def put_in_order(random: Random) -> None:
    """Gives each unresolved call a cost that is at most what it holds, or releases it; then raises the stopped runs."""
    endpoint = find_endpoint(socket=None, db=os.environ["LEASH_DB"], environ=os.environ)
    async with ControlClient(endpoint) as client:
        for run in [account.run for account in await client.list(all=True) if account.unresolved_calls]:
            for call in (await client.get(run)).unresolved:
                cost = random.choice((None, call.held_nanodollars // 3, call.held_nanodollars))
                await client.resolve(run, call.call_id, cost)
        for account in await client.list(all=True):
            if account.status in (types_pb2.STATUS_STOPPED, types_pb2.STATUS_KILLED):
                limits = types_pb2.Limits(
                    max_cost_nanodollars=account.token_cost_nanodollars + MORE_NANODOLLARS,
                    max_calls=account.calls + MORE_CALLS,
                )
                await client.raise_limits(account.run, limits, resume=True)


if __name__ == "__main__":
    try:
        asyncio.run(put_in_order(Random(sys.argv[1])))
    except ClientError as error:
        sys.exit(str(error))  # a daemon that is just being killed, or a call that was settled meanwhile
