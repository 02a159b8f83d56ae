"""What counting costs: a call, in a worker of a gateway with an admin listener, and a scrape of eight workers.

    python -m tests.bench.metrics [--calls 20000] [--scrapes 50]

The time of a call is that of everything that is counted of it, beside what else is done for it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from leash.usage import Usage
from leash.v1 import shim_pb2
from leash_shim.gateway.config import METRICS_DIRECTORY
from leash_shim.observer import Exchange

WORKERS = 8

# What is aimed at.
AIM_CALL_US = 50
AIM_SCRAPE_MS = 50

USAGE = Usage(input_tokens=1000, output_tokens=500, cached_input_tokens=200, reasoning_tokens=50)
ADMITTED = shim_pb2.Admitted(held_nanodollars=25_000_001)
CLOSED = shim_pb2.Closed(outcome="settled", cost_nanodollars=25_000_000)
PROBED = shim_pb2.Probed(open_runs=100, commits=1000, operations=5000, commits_by_size=[77] * 13)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--scrapes", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.environ[METRICS_DIRECTORY] = directory
        calls = counted(given.calls)
        for worker in range(1, WORKERS):
            for path in Path(directory).glob(f"*_{os.getpid()}.db"):
                shutil.copy(path, path.with_name(path.name.replace(str(os.getpid()), f"9999{worker}")))
        scrapes, size = asyncio.run(scraped(directory, given.scrapes))
    print(f"a call:   median {statistics.median(calls):5.1f} µs   best {min(calls):5.1f} (aim: under {AIM_CALL_US})")
    print(
        f"a scrape: median {statistics.median(scrapes):5.1f} ms   best {min(scrapes):5.1f} (aim: under {AIM_SCRAPE_MS})"
    )
    print(f"          {WORKERS} workers, {size / 1024:.0f} KiB")


def counted(calls: int) -> list[float]:
    """The times of a call, in microseconds, each the mean of a thousand."""
    from leash_shim.gateway.metrics import GatewayMetrics  # noqa: PLC0415 (once the directory is set)

    metrics = GatewayMetrics()
    times = []
    for _ in range(0, calls, 1000):
        exchanges = [
            Exchange(request_id=number.to_bytes(16, "big"), method="POST", path="/v1/messages", provider="anthropic")
            for number in range(1000)
        ]
        started = time.perf_counter()
        for exchange in exchanges:
            metrics.began(exchange)
            metrics.reserved(exchange, ADMITTED, 0.001)
            metrics.settled(exchange, USAGE)
            exchange.decision, exchange.status, exchange.ended_ns = "admitted", 200, exchange.started_ns + 1
            metrics.ended(exchange)
            metrics.closed(exchange.request_id, CLOSED, "settle", 0.002)
        times.append((time.perf_counter() - started) * 1000)
    return times


async def scraped(directory: str, scrapes: int) -> tuple[list[float], int]:
    """The times of a scrape, in milliseconds, and how many bytes it has."""
    from leash_shim.gateway.admin import AdminApp  # noqa: PLC0415 (as above)

    async def probe() -> shim_pb2.Probed:
        return PROBED

    app = AdminApp(probe=probe, is_draining=lambda: False, tokens=lambda: None, metrics_dir=directory, version="1.2.3")
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    times = []
    for _ in range(scrapes):
        started = time.perf_counter()
        await app({"type": "http", "method": "GET", "path": "/metrics", "headers": []}, receive, send)
        times.append((time.perf_counter() - started) * 1000)
    return times, len(sent[-1]["body"])


if __name__ == "__main__":
    main()
