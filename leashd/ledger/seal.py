"""A digest before a record that no chain of hashes covers, so that a damaged price table never prices a call."""

from __future__ import annotations

from leashd.ledger.protocol import LedgerDamagedError
from leashd.ledger.segments import EMPTY_HEAD, HEAD_BYTES, chained


def sealed(data: bytes) -> bytes:
    """The record as it is stored."""
    return chained(EMPTY_HEAD, data) + data


def unsealed(stored: bytes, what: str) -> bytes:
    """The record as it was written. Raises LedgerDamagedError, which names ``what`` it is."""
    data = stored[HEAD_BYTES:]
    if stored[:HEAD_BYTES] != chained(EMPTY_HEAD, data):
        raise LedgerDamagedError(f"{what} is not the one that was written: its hash differs")
    return data
