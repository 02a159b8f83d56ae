"""Pruning: what nobody has used for long enough loses its entries, when a person asks, or by itself.

In parts, each of its own transaction, so that a ledger of many runs holds nobody up.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from itertools import islice

import structlog

from leash.units import format_duration
from leashd.asking import asked
from leashd.committer import Committer
from leashd.ledger.protocol import Ledger
from leashd.operations import Answer, Failed, Prune, Pruned

PRUNED_TOGETHER = 256  # runs in one operation at most, so that a prune of thousands holds nobody up
BETWEEN_LOOKS_S = 3_600.0  # an hour more or less does not matter to what is kept for days
BETWEEN_PARTS_S = 0.05  # some milliseconds of work are followed by so much in which calls have the daemon to themselves

_log = structlog.get_logger("leashd.retention")


class PruneFailedError(Exception):
    """The ledger took no writes; what was pruned before stays so."""


async def pruned_in_parts(
    ledger: Ledger, ask: Callable[[Prune], Awaitable[Answer]], *, before_ns: int, actor_uid: int, dry_run: bool = False
) -> AsyncGenerator[Pruned, None]:
    """Prunes every run that nobody has used since ``before_ns``; what each part came to. Raises PruneFailedError."""
    after = ""
    while runs := tuple(islice(ledger.run_names(after=after), PRUNED_TOGETHER)):
        answer = await ask(Prune(runs, before_ns, actor_uid, dry_run=dry_run))
        if isinstance(answer, Failed):
            raise PruneFailedError(answer.message)
        assert isinstance(answer, Pruned)
        after = runs[answer.seen - 1]
        yield answer


class Retention:
    """Prunes by itself, once an hour, what is older than is configured."""

    def __init__(self, committer: Committer, ledger: Ledger) -> None:
        self._committer = committer
        self._ledger = ledger
        self._kept_ns = 0
        self._changed = asyncio.Event()

    def set(self, kept_ns: int) -> None:
        """Keeps entries for so long from now on; zero for ever."""
        if kept_ns != self._kept_ns:
            self._kept_ns = kept_ns
            self._changed.set()

    async def run(self) -> None:
        """Looks after the ledger for as long as the daemon runs."""
        while True:
            self._changed.clear()
            if self._kept_ns:
                await self._prune()
            try:
                async with asyncio.timeout(BETWEEN_LOOKS_S if self._kept_ns else None):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _prune(self) -> None:
        kept_ns = self._kept_ns
        runs = entries = 0
        parts = pruned_in_parts(
            self._ledger,
            lambda prune: asked(self._committer, prune),
            before_ns=self._committer.now_ns() - kept_ns,
            actor_uid=os.getuid(),
        )
        try:
            async with aclosing(parts):
                async for pruned in parts:
                    runs, entries = runs + pruned.runs, entries + pruned.entries
                    if kept_ns != self._kept_ns:
                        break
                    await asyncio.sleep(BETWEEN_PARTS_S)
        except PruneFailedError as error:
            _log.warning("prune_failed", error=str(error))
        if runs:
            _log.info("pruned", older_than=format_duration(kept_ns), runs=runs, entries=entries)
