"""What history costs: ``ps`` over runs of many calls beside runs of one, a restart on a full ledger beside an empty.

    python -m tests.bench.history [--runs 1000] [--calls 100] [--rounds 5]

The calls are reserved and settled by the real daemon, through the client that a shim uses. Times are in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from leash.client.control import ControlClient
from leash.client.paths import Endpoint, find_endpoint
from leash.client.session import ShimSession
from leash.v1 import shim_pb2, types_pb2
from tests.harness import LEASHCTL, MODEL, PRICES, Workspace

# Runs that make their calls at once: enough that the daemon's commits are full, well below the bound of its queue.
PARALLEL_RUNS = 64
PRICE_TEXT = json.dumps(PRICES).encode()


@dataclass(frozen=True, slots=True)
class Figures:
    """Times of one ledger, in milliseconds, and its size on disk."""

    ledger_bytes: int
    ps: list[float]
    listed: list[float]
    restart: list[float]
    first_call: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cases = {
        "empty": (0, 0),
        f"{options.runs} runs of 1 call": (options.runs, 1),
        f"{options.runs} runs of {options.calls} calls": (options.runs, options.calls),
    }
    for name, (runs, calls) in cases.items():
        workspace = Workspace.create()
        os.environ.update(workspace.environ)  # the client starts the daemon with this environment
        try:
            figures = asyncio.run(measure(workspace, runs=runs, calls=calls, rounds=options.rounds))
        finally:
            workspace.close()
        print(f"{name} ({figures.ledger_bytes / 1e6:.1f} MB)")
        report("ps, whole process", figures.ps)
        report("its request alone", figures.listed)
        report("restart until it answers", figures.restart)
        report("first call after that", figures.first_call)


async def measure(workspace: Workspace, *, runs: int, calls: int, rounds: int) -> Figures:
    """Fill a ledger and take every figure of it."""
    endpoint = find_endpoint(socket=None, db=str(workspace.ledger), environ=workspace.environ)
    async with opened(endpoint) as session:
        started = time.perf_counter()
        await fill(session, runs=runs, calls=calls)
        if runs:
            seconds = time.perf_counter() - started
            print(f"  {runs * calls} calls reserved and settled in {seconds:.1f} s, {runs * calls / seconds:.0f}/s")
        # While the session stands the runs are running ones, which ps shows.
        ps = [await timed_ps(workspace, runs) for _ in range(rounds)]
        listed = [await timed_list(endpoint, runs) for _ in range(rounds)]
    restart, first_call = [], []
    for round_number in range(rounds):
        workspace.stop_daemons()
        started = time.perf_counter()
        async with opened(endpoint) as session:
            answered = time.perf_counter()
            await one_call(session, await open_run(session, f"after-{round_number}"))
            first_call.append((time.perf_counter() - answered) * 1000)
        restart.append((answered - started) * 1000)
    return Figures(on_disk(workspace.ledger), ps, listed, restart, first_call)


@asynccontextmanager
async def opened(endpoint: Endpoint) -> AsyncIterator[ShimSession]:
    async with ShimSession(endpoint, client_version="bench") as session:
        yield session


async def fill(session: ShimSession, *, runs: int, calls: int) -> None:
    """Make every run and its calls, some runs at a time, the calls of one run one by one."""
    limiter = anyio.Semaphore(PARALLEL_RUNS)

    async def life(number: int) -> None:
        async with limiter:
            run = await open_run(session, f"run-{number:06d}")
            for _ in range(calls):
                await one_call(session, run)

    if runs:
        # The first call of a model goes alone under a cost budget; the others need not wait for it here.
        await one_call(session, await open_run(session, "run-first"))
    async with anyio.create_task_group() as group:
        for number in range(runs):
            group.start_soon(life, number)
    assert await session.drained(60)


async def open_run(session: ShimSession, run: str) -> str:
    prices = await session.put_prices(PRICE_TEXT)
    limits = types_pb2.Limits(max_cost_nanodollars=10**12, max_calls=0)
    await session.open_run(shim_pb2.OpenRun(run=run, limits=limits, prices_sha256=prices, kind="wrap"))
    return run


async def one_call(session: ShimSession, run: str) -> None:
    call_id = secrets.token_bytes(16)
    answer = await session.reserve(
        shim_pb2.Reserve(call_id=call_id, run=run, format="openai_chat", model=MODEL, choices=1)
    )
    assert isinstance(answer, shim_pb2.Admitted), answer
    session.settle(
        shim_pb2.Settle(
            call_id=call_id,
            run=run,
            http_status=200,
            usage=types_pb2.Usage(input_tokens=1000, output_tokens=500),
            model=MODEL,
            fingerprint=secrets.token_bytes(8),
        )
    )


async def timed_ps(workspace: Workspace, runs: int) -> float:
    started = time.perf_counter()
    listed = await anyio.run_process([LEASHCTL, "ps"], env=workspace.environ, stderr=subprocess.PIPE)
    elapsed_ms = (time.perf_counter() - started) * 1000
    assert listed.stdout.count(b"run-") >= runs
    return elapsed_ms


async def timed_list(endpoint: Endpoint, runs: int) -> float:
    async with ControlClient(endpoint) as control:
        await control.info()
        started = time.perf_counter()
        accounts = await control.list()
        elapsed_ms = (time.perf_counter() - started) * 1000
    assert len(accounts) >= runs
    return elapsed_ms


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


def report(name: str, times: list[float]) -> None:
    print(f"  {name:<26} median {statistics.median(times):7.1f} ms   best {min(times):7.1f}   worst {max(times):7.1f}")


if __name__ == "__main__":
    main()
