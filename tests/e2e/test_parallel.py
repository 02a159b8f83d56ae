"""Many clients of one run at once: a limit is met exactly, and what is far from a limit is not serialised."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness import MODEL, PRICES, PYTHON, FakeProvider, Workspace

CLIENTS = 64
PROVIDER_DELAY = "200ms"

# The machine may do other things as well, so a figure of time is the best of a few, and its bound is loose.
ATTEMPTS = 3
MOST_TIMES_ONE_CALL = 5.0

# Makes sys.argv[1] calls at once, each on a connection of its own, and prints how they went and how long it took.
CLIENT = f"""\
import asyncio
import collections
import json
import os
import sys
import time

import aiohttp

URL = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
BODY = {{"model": "{MODEL}", "messages": [{{"role": "user", "content": "go on"}}]}}


async def call(session):
    async with session.post(URL, json=BODY) as answer:
        content = await answer.json()
        return answer.status, content.get("error", {{}}).get("code", "")


async def main():
    count = int(sys.argv[1])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        started = time.monotonic()
        outcomes = await asyncio.gather(*(call(session) for _ in range(count)))
        seconds = time.monotonic() - started
    counted = collections.Counter(f"{{status}} {{code}}".strip() for status, code in outcomes)
    print(json.dumps({{"outcomes": counted, "seconds": seconds}}))


asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Load:
    """A program of many parallel clients, with the provider behind it."""

    workspace: Workspace
    provider: FakeProvider
    program: str

    def under_wrap(self, *flags: str, clients: int = CLIENTS) -> tuple[int, dict[str, Any]]:
        """Run it; returns wrap's exit code and what the program printed."""
        done = self.workspace.leashctl(
            *("wrap", *flags, "--", PYTHON, self.program, str(clients)),
            environ={"OPENAI_BASE_URL": self.provider.base_url},
            timeout_s=90,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def load(workspace: Workspace, fake_provider: Callable[..., FakeProvider]) -> Load:
    workspace.write("prices.json", PRICES)
    provider = fake_provider("--delay", PROVIDER_DELAY)
    return Load(workspace, provider, str(workspace.write("client.py", CLIENT)))


def test_a_limit_of_ten_calls_lets_exactly_ten_through(load: Load) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        code, printed = load.under_wrap("--max-calls", "10")

        assert printed["outcomes"] == {"200": 10, "429 max_calls": CLIENTS - 10}
        assert load.provider.served() == 10 * attempt
        assert code == 3


def test_a_budget_of_ten_equal_calls_pays_for_exactly_ten(load: Load) -> None:
    # The model is new to the ledger the first time, and known the other times.
    for attempt in range(1, ATTEMPTS + 1):
        code, printed = load.under_wrap("--max-cost", "0.25", "--prices", "prices.json", "--max-calls", "0")

        assert printed["outcomes"] == {"200": 10, "429 cost_budget": CLIENTS - 10}
        assert load.provider.served() == 10 * attempt
        assert code == 3


def test_a_strict_budget_of_ten_ceilings_is_never_overshot(load: Load) -> None:
    # Output is bounded by the table; the input bound is the body's bytes and more, so that a ceiling is above the cost.
    bounded = {MODEL: PRICES[MODEL] | {"max_output": 500, "context": 2000}}
    load.workspace.write("bounded.json", bounded)
    flags = ("--max-cost", "0.25", "--prices", "bounded.json", "--max-calls", "0", "--strict", "--run", "strict")

    code, printed = load.under_wrap(*flags)

    # Each refused call was too dear for what is left, and a smaller one may still go: nothing has stopped the run.
    assert set(printed["outcomes"]) == {"200", "429 ceiling_exceeds_budget"}
    assert code == 0
    account = load.workspace.account("strict")
    assert account["total_cost"] <= 0.25
    assert account["open_calls"] == account["unresolved_calls"] == 0
    assert 0 < account["calls"] == load.provider.served() <= 10


@pytest.mark.long
def test_calls_are_not_serialised_with_no_limit_near(load: Load) -> None:
    flags = ("--max-cost", "0", "--max-calls", "0")

    assert_parallel(load, *flags)


def test_calls_are_not_serialised_under_a_wide_budget(load: Load) -> None:
    flags = ("--max-cost", "1000", "--prices", "prices.json", "--max-calls", "0")
    load.under_wrap(*flags, clients=1)

    assert_parallel(load, *flags)


def test_a_model_that_is_new_to_the_ledger_delays_the_others_by_one_call(load: Load) -> None:
    _, printed = load.under_wrap("--max-cost", "1000", "--prices", "prices.json", "--max-calls", "0")

    assert printed["outcomes"] == {"200": CLIENTS}
    # One after the other, the calls alone would take 12.8 seconds.
    assert printed["seconds"] < CLIENTS * 0.2 / 2


def assert_parallel(load: Load, *flags: str) -> None:
    ratios = []
    for _ in range(ATTEMPTS):
        _, one = load.under_wrap(*flags, clients=1)
        code, many = load.under_wrap(*flags)
        assert code == 0
        assert many["outcomes"] == {"200": CLIENTS}
        ratios.append(many["seconds"] / one["seconds"])
    assert min(ratios) <= MOST_TIMES_ONE_CALL, ratios
