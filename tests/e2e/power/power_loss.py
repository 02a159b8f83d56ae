"""What may be on the disk where the power goes at some instant: what was synced, and any of the rest.

The unit is a sector, which a disk writes whole. Writes that were not synced may be there in part, in any order, or not
at all, and the file may have grown for them or not.
"""

from __future__ import annotations

import random
from pathlib import Path

from leashd.audit import audit
from leashd.core.account import CallState
from leashd.core.events import Reserved
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import LedgerError
from tests.e2e.power.answers import Admitted
from tests.e2e.power.ledger_writes import LedgerWrites, Write

SECTOR_BYTES = 512


def image(writes: LedgerWrites, line: int, rng: random.Random) -> bytes:
    """The file after a loss of power at a line of the trace."""
    data = bytearray()
    kept_of_ten = rng.choice([0, 1, 5, 9, 10])
    grown = rng.random() < 0.5
    for write in writes.writes:
        if write.entered > line:
            break
        durable_at = writes.durable_at(write)
        is_durable = durable_at is not None and durable_at <= line
        end = write.offset + len(write.data)
        for start in range(write.offset, end, SECTOR_BYTES):
            if is_durable or rng.randrange(10) < kept_of_ten:
                _put(data, start, write.data[start - write.offset : start - write.offset + SECTOR_BYTES])
        if grown and len(data) < end:
            data += bytes(end - len(data))
    return bytes(data)


def _put(data: bytearray, offset: int, part: bytes) -> None:
    if len(data) < offset:
        data += bytes(offset - len(data))
    data[offset : offset + len(part)] = part


def first_durable(writes: LedgerWrites) -> int:
    """The line from which on there is a ledger for sure."""
    metas = [write for write in writes.writes if write.is_meta]
    return min(at for at in map(writes.durable_at, metas) if at is not None)


def meta_sectors(writes: list[Write]) -> set[tuple[int, int]]:
    """The first and the last sector of each write of a meta page: one and the same, or it could be torn."""
    return {
        (write.offset // SECTOR_BYTES, (write.offset + len(write.data) - 1) // SECTOR_BYTES)
        for write in writes
        if write.is_meta
    }


def trouble(path: Path, answered: list[Admitted], line: int) -> str:
    """What is wrong with a ledger that was left by a loss of power; empty where nothing is."""
    try:
        ledger = LmdbLedger(path, alone=True)
    except LedgerError as error:
        return f"it does not open: {error}"
    try:
        report = audit(ledger)
        if report.difference is not None:
            return f"it contradicts itself: {report.difference}"
        with ledger.snapshot() as snapshot:
            numbers = [number for number, _ in snapshot.run_names()]
            open_calls = {call.call for _, _, call in snapshot.calls(CallState.OPEN)}
        entries = [stored.entry.event for number in numbers for stored in ledger.journal(number)]
        closed = {event.call for event in entries if hasattr(event, "call") and not isinstance(event, Reserved)}
        reserved = {event.call for event in entries if isinstance(event, Reserved)}
        lost = [answer for answer in answered if answer.line <= line and answer.call_id not in reserved]
        forgotten = reserved - closed - open_calls
    except LedgerError as error:
        return f"it cannot be read: {error}"
    finally:
        ledger.close()
    if lost:
        return f"{len(lost)} calls were admitted and are lost"
    return f"{len(forgotten)} calls are neither open nor closed" if forgotten else ""
