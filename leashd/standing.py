"""What the daemon's configuration gives to runs whose opener gives none: limits, a price table, where notices go.

The rule: a run is not opened on less than is configured. Until the table is in the ledger, a run without one of its
own is not opened at all.
"""

from __future__ import annotations

import asyncio

import structlog

from leashd.asking import asked
from leashd.committer import Committer
from leashd.config import Config
from leashd.core.limits import Given
from leashd.operations import Failed, PricesStored, StorePrices

RETRY_S = 1.0  # between attempts to store a table in a ledger that takes no writes

_log = structlog.get_logger("leashd.config")


class PricesNotStoredError(Exception):
    """The configured price table is not in the ledger yet."""


class Standing:
    """What runs are given whose opener says nothing else. It may change while the daemon runs."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._limits: Given = {}
        self._table: StorePrices | None = None
        self._is_stored = True
        self._changed = asyncio.Event()

    def set(self, config: Config) -> None:
        """Takes what a configuration says; it holds for runs that are opened from now on."""
        self._limits = config.limits
        self._committer.engine.working.standing = config.reactions
        if config.prices_table != self._table:
            self._table = config.prices_table
            self._is_stored = self._table is None
        self._changed.set()

    def limits(self, defaults: Given, *, priced: bool) -> Given:
        """The limits of a new run for what its opener did not give: the configured ones, then the opener's own.

        A budget in dollars that nobody has asked for is left out where there are no prices: the first call would be
        refused, and stop the run.
        """
        if not priced:
            defaults = {name: value for name, value in defaults.items() if name != "max_cost_nanodollars"}
        return {**defaults, **self._limits}

    def prices_sha256(self, given: bytes) -> bytes:
        """The price table of a run: the opener's, or else the configured one. Raises PricesNotStoredError."""
        if given or self._table is None:
            return given
        if not self._is_stored:
            raise PricesNotStoredError("the configured price table is not in the ledger yet: try again")
        return self._table.sha256

    async def run(self) -> None:
        """Puts each configured table into the ledger, for as long as that takes."""
        while True:
            self._changed.clear()
            delay_s: float | None = None
            if not self._is_stored and not await self._store(self._table):
                delay_s = RETRY_S
            try:
                async with asyncio.timeout(delay_s):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _store(self, table: StorePrices | None) -> bool:
        assert table is not None
        answer = await asked(self._committer, table)
        if isinstance(answer, Failed):
            _log.error("prices_not_stored", error=answer.message)
            return False
        assert isinstance(answer, PricesStored)
        if table is self._table:
            self._is_stored = True
            _log.info("prices_stored", models=answer.models, sha256=table.sha256.hex()[:16])
        return True
