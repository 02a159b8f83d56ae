from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from leashd import standing as standing_module
from leashd.clock import LedgerClock
from leashd.committer import Committer
from leashd.config import Config
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import Batch, LedgerUnavailableError
from leashd.pricing import read_prices
from leashd.standing import PricesNotStoredError, Standing

TABLE = read_prices(b'{"m": {"input": 1, "output": 2}}')
OTHER = read_prices(b'{"m": {"input": 2, "output": 4}}')


class FullDisk(LmdbLedger):
    """A ledger on a disk that has no room until somebody makes some."""

    has_room = True

    def commit(self, batch: Batch) -> None:
        if not self.has_room:
            raise LedgerUnavailableError("the disk is full")
        super().commit(batch)


@pytest.fixture
async def live(tmp_path: Path, anyio_backend: Any) -> AsyncIterator[tuple[Standing, FullDisk]]:
    ledger = FullDisk(tmp_path / "leash.db")
    committer = Committer(ledger, LedgerClock(None))
    standing = Standing(committer)
    tasks = [asyncio.create_task(committer.run()), asyncio.create_task(standing.run())]
    yield standing, ledger
    committer.stop()
    await tasks[0]
    tasks[1].cancel()
    await asyncio.wait(tasks[1:])
    ledger.close()


async def until_stored(standing: Standing) -> bytes:
    async with asyncio.timeout(30):
        while True:
            try:
                return standing.prices_sha256(b"")
            except PricesNotStoredError:
                await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_an_openers_own_limits_and_prices_come_first(live: Any) -> None:
    standing, _ = live
    assert (standing.limits({"max_calls": 1}, priced=True), standing.prices_sha256(b"")) == ({"max_calls": 1}, b"")
    standing.set(Config(limits={"max_calls": 7}, prices_table=TABLE))

    assert standing.limits({"max_calls": 1, "deadline_ns": 2}, priced=True) == {"max_calls": 7, "deadline_ns": 2}
    assert standing.prices_sha256(b"own") == b"own"


@pytest.mark.anyio
async def test_a_default_budget_in_dollars_goes_with_prices_and_a_configured_one_always(live: Any) -> None:
    standing, _ = live
    default = {"max_cost_nanodollars": 5, "max_calls": 1}
    assert standing.limits(default, priced=True) == default
    assert standing.limits(default, priced=False) == {"max_calls": 1}
    standing.set(Config(limits={"max_cost_nanodollars": 7}))
    assert standing.limits(default, priced=False) == {"max_cost_nanodollars": 7, "max_calls": 1}


@pytest.mark.anyio
async def test_no_run_goes_without_a_table_that_is_not_in_the_ledger_yet(
    live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing_module, "RETRY_S", 0.01)
    standing, ledger = live
    ledger.has_room = False
    standing.set(Config(prices_table=TABLE))
    await asyncio.sleep(0.1)
    with pytest.raises(PricesNotStoredError):
        standing.prices_sha256(b"")

    ledger.has_room = True
    assert await until_stored(standing) == TABLE.sha256
    assert ledger.price_table(TABLE.sha256[:8]) is not None


@pytest.mark.anyio
async def test_a_changed_table_takes_the_place_of_the_one_before(live: Any) -> None:
    standing, _ = live
    standing.set(Config(prices_table=TABLE))
    assert await until_stored(standing) == TABLE.sha256
    standing.set(Config(prices_table=OTHER))
    assert await until_stored(standing) == OTHER.sha256
    standing.set(Config())
    assert standing.prices_sha256(b"") == b""
