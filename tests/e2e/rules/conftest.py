from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.rules.counting import CountingProvider, counting_provider
from tests.harness import PRICES, Gateway, Workspace

THREADS = 64  # more than any test has calls in flight


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for agents."""
    with ThreadPoolExecutor(THREADS) as created:
        yield created


@pytest.fixture
def provider() -> Iterator[CountingProvider]:
    """A provider that answers at once, but while it holds."""
    with counting_provider() as created:
        yield created


@pytest.fixture
def start(workspace: Workspace) -> Callable[..., Gateway]:
    """Starts a gateway with prices in front of a provider; without flags its budget is far away."""

    def started(provider: CountingProvider, *flags: str, workers: int = 2, admin: bool = False) -> Gateway:
        prices = workspace.write("prices.json", PRICES)
        limits = flags or ("--max-cost", "100", "--max-calls", "0")
        return workspace.gateway(
            *("--insecure", "--workers", str(workers), "--prices", str(prices), *limits),
            *("--upstream", provider.origin),
            admin=admin,
        )

    return started
