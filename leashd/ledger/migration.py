"""From an older schema to the present one, in one transaction: a ledger is of the one or of the other, never between.

Schema 1 had a record for each entry, under (run number, sequence): the head of the chain after it, and its encoding.
Schema 2 has them in segments, and price tables with a seal.
"""

from __future__ import annotations

import struct
from typing import Any

from leashd.ledger.protocol import LedgerDamagedError
from leashd.ledger.seal import sealed
from leashd.ledger.segments import HEAD_BYTES, Tail, segment_key

OLDEST_SCHEMA = 1

_OLD_KEY = struct.Struct(">IQ")


def migrate(txn: Any, env: Any, segments: Any, prices: Any) -> int:
    """Rewrites the journal of schema 1 into ``segments``, and seals ``prices``; how many entries that were.

    Raises LedgerDamagedError where the old chain is broken: nothing is changed then.
    """
    journal = env.open_db(b"journal", txn=txn, create=False)
    number = 0
    tail = Tail()
    entries = 0
    for key, data in txn.cursor(db=journal):
        run, seq = _OLD_KEY.unpack(key)
        payload = data[HEAD_BYTES:]
        if run != number:
            _put(txn, segments, number, tail)
            number, tail = run, Tail()
        if not tail.has_room(payload):
            _put(txn, segments, number, tail)
            tail = tail.following()
        if seq != tail.next_seq:
            raise LedgerDamagedError(f"run number {run} has entry {seq} where {tail.next_seq} belongs")
        tail.append(payload)
        if tail.head != data[:HEAD_BYTES]:
            raise LedgerDamagedError(
                f"entry {seq} of run number {run} is not the one that was written: its hash differs"
            )
        entries += 1
    _put(txn, segments, number, tail)
    txn.drop(journal, delete=True)
    for table, text in list(txn.cursor(db=prices)):
        txn.put(table, sealed(text), db=prices)
    return entries


def _put(txn: Any, segments: Any, number: int, tail: Tail) -> None:
    if tail.next_seq > tail.first_seq:
        # In the order of keys, so that pages are filled to the end.
        txn.put(segment_key(number, tail.first_seq), tail.data(), db=segments, append=True)
