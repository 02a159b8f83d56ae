"""The part of the ledger that keeps what is to be told outside: where a run's notices go, and those on their way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from leashd.core.outbox import OutboxKey, Pending, QueueKey
from leashd.core.reactions import Reactions
from leashd.ledger import codec
from leashd.ledger.keys import NUMBER, next_queue_key, outbox_key, queue_key, read_outbox_key
from leashd.ledger.protocol import Batch


class OutboxRecords(ABC):
    """The records of reactions and of the outbox, over a ledger that reads and writes records by their keys."""

    def reactions(self, number: int) -> Reactions | None:
        """Where a run's notices go, as its openers had it; None where none of them said."""
        data = self._get("reactions", NUMBER.pack(number))
        return None if data is None else codec.decode_reactions(data)

    def pending(self, key: OutboxKey) -> Pending | None:
        """A notice that is on its way, or was given up."""
        data = self._get("outbox", outbox_key(key, dead=False)) or self._get("outbox", outbox_key(key, dead=True))
        return None if data is None else codec.decode_pending(data)

    def first_pending(self, queue: QueueKey) -> Pending | None:
        """The notice of a queue that goes out next."""
        found = next(self._scan("outbox", queue_key(queue, dead=False)), None)
        return None if found is None else codec.decode_pending(found[1])

    def outbox_queues(self) -> Iterator[QueueKey]:
        """Every queue with a notice that is to go out."""
        start: bytes | None = None
        while (found := next(self._scan("outbox", b"\0", start=start), None)) is not None:
            yield read_outbox_key(found[0]).queue
            start = next_queue_key(found[0])

    def outbox(self, *, dead: bool, after: OutboxKey | None = None) -> Iterator[tuple[OutboxKey, Pending]]:
        """The notices that are on their way, or those that were given up, from the first one or after one."""
        start = None if after is None else outbox_key(after, dead=dead) + b"\0"
        for key, data in self._scan("outbox", b"\1" if dead else b"\0", start=start):
            yield read_outbox_key(key), codec.decode_pending(data)

    def _write_outbox(self, txn: Any, batch: Batch) -> None:
        for number, reactions in batch.reactions.items():
            self._write(txn, "reactions", NUMBER.pack(number), codec.encode_record(reactions))
        for key, pending in batch.outbox.items():
            data = None if pending is None else codec.encode_record(pending)
            is_dead = pending is not None and pending.dead
            self._write(txn, "outbox", outbox_key(key, dead=False), None if is_dead else data)
            self._write(txn, "outbox", outbox_key(key, dead=True), data if is_dead else None)

    @abstractmethod
    def _get(self, name: str, key: bytes) -> bytes | None:
        """One record of a database."""

    @abstractmethod
    def _scan(self, name: str, prefix: bytes = b"", *, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The records of a database whose keys begin with ``prefix``, in order, from ``start`` on."""

    @abstractmethod
    def _write(self, txn: Any, name: str, key: bytes, data: bytes | None) -> None:
        """Puts a record, or deletes it."""
