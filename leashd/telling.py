"""What the deliverer and people ask of the outbox, over the working state of the engine. All of it is here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from leashd.core.outbox import DEAD_KEPT_NS, OutboxKey, retried
from leashd.ledger.protocol import Ledger
from leashd.operations import Answer, Done, DropNotices, NoticesChanged, RecordAttempt, Reply, RetryNotices
from leashd.working import Working

SWEPT = 512  # notices given up that are looked at in one sweep, some 10 ms, so that it never holds a reserve up


class Telling:
    """Keeps the outbox: what an attempt has come to, and what people do about notices."""

    def __init__(self, working: Working, ledger: Ledger) -> None:
        self._working = working
        self._ledger = ledger
        self._swept: OutboxKey | None = None  # the last one that a sweep has looked at; None to begin anew
        self.handlers: Mapping[type[Any], Callable[[Any, Reply, int], Answer]] = {
            RecordAttempt: self._record,
            RetryNotices: self._retry,
            DropNotices: self._drop,
        }

    def takes_away(self, number: int, given: Mapping[str, Any]) -> bool:
        """Whether an opener would have the notices of a run no longer go where they go by now."""
        before = self._working.reactions(number)
        after = replace(before, **given)
        signed_before, signed_after = ((each.webhook, each.webhook_secret_file) for each in (before, after))
        run_before, run_after = ((each.hook, each.hook_timeout_ns) for each in (before, after))
        return bool((before.webhook and signed_after != signed_before) or (before.hook and run_after != run_before))

    def declare(self, number: int, given: Mapping[str, Any]) -> None:
        """An opener says where the notices of a run go; what it does not name stays."""
        before = self._working.reactions(number)
        after = replace(before, **given)
        if after != before:
            self._working.batch.reactions[number] = after

    def sweep(self, now_ns: int) -> None:
        """Forgets notices that were given up long ago, among the next few: however many there are, it takes as long."""
        looked_at = list(islice(self._ledger.outbox(dead=True, after=self._swept), SWEPT))
        self._swept = looked_at[-1][0] if len(looked_at) == SWEPT else None
        for key, pending in looked_at:
            if pending.given_up_at_ns < now_ns - DEAD_KEPT_NS:
                self._working.batch.outbox[key] = None

    def _record(self, operation: RecordAttempt, _reply: Reply, _now_ns: int) -> Answer:
        stored, after = self._working.pending(operation.key), operation.pending
        if stored is None:
            return Done()  # somebody has dropped it meanwhile
        if after is None or after.retried_at_ns == stored.retried_at_ns:
            self._working.batch.outbox[operation.key] = after
        return Done()  # else somebody wants it to be tried again, whatever an attempt of before has come to

    def _retry(self, operation: RetryNotices, _reply: Reply, now_ns: int) -> Answer:
        notices = 0
        for key in operation.keys:
            if (pending := self._working.pending(key)) is not None:
                self._working.batch.outbox[key] = retried(pending, now_ns)
                notices += 1
        return NoticesChanged(notices)

    def _drop(self, operation: DropNotices, _reply: Reply, _now_ns: int) -> Answer:
        notices = 0
        for key in operation.keys:
            if self._working.pending(key) is not None:
                self._working.batch.outbox[key] = None
                notices += 1
        return NoticesChanged(notices)
