"""The whole ledger at one instant, for who looks at all of it: the audit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from leashd.core.account import Account, Call, CallState, ClosedCall, ModelHistory
from leashd.core.outbox import OutboxKey, Pending
from leashd.core.reactions import Reactions
from leashd.ledger import codec
from leashd.ledger.keys import NUMBER, SESSION_BYTES, model_key, open_key, read_outbox_key, unresolved_key
from leashd.ledger.protocol import CallKey, LedgerDamagedError
from leashd.ledger.seal import unsealed
from leashd.ledger.segments import HEAD_BYTES, first_seq, head_before, items, run_number, segment_key


class RawEntry(NamedTuple):
    """An entry as it lies in the journal; ``before`` is the head of the chain before it, for the first of a segment."""

    seq: int
    head: bytes
    payload: bytes
    before: bytes | None


class Snapshot:
    """Reads in one transaction. Records are decoded as they are met, so a damaged one raises LedgerError there."""

    def __init__(self, txn: Any, databases: dict[str, Any]) -> None:
        self._txn = txn
        self._db = databases

    def run_names(self) -> Iterator[tuple[int, str]]:
        """(number, name) of every run, by number."""
        for key, data in self._rows("runs"):
            number = NUMBER.unpack(key)[0]
            try:
                name = data.decode()
            except UnicodeDecodeError as error:
                raise LedgerDamagedError(f"the name of run number {number} is damaged") from error
            yield number, name

    def count(self, database: str) -> int:
        """How many records there are."""
        entries: int = self._txn.stat(self._db[database])["entries"]
        return entries

    def account(self, run: str) -> tuple[bytes, Account] | None:
        """A run's chain head and account."""
        data = self._txn.get(run.encode(), db=self._db["accounts"])
        return None if data is None else (data[:HEAD_BYTES], codec.decode_account(data[HEAD_BYTES:]))

    def first_seq(self, number: int) -> int:
        """The first entry that a run still has; 0 for none."""
        with self._txn.cursor(db=self._db["segments"]) as cursor:
            found = cursor.set_range(segment_key(number, 0)) and run_number(cursor.key()) == number
            return first_seq(cursor.key()) if found else 0

    def numbers_with_entries(self) -> Iterator[int]:
        """The numbers under which the journal has entries, by number."""
        with self._txn.cursor(db=self._db["segments"]) as cursor:
            found = cursor.first()
            while found:
                number = run_number(cursor.key())
                yield number
                found = cursor.set_range(segment_key(number + 1, 0))

    def entries(self, number: int) -> Iterator[RawEntry]:
        """Every entry of a run, in order."""
        prefix = NUMBER.pack(number)
        for key, segment in self._rows("segments", prefix):
            before: bytes | None = head_before(segment)
            for seq, (head, payload) in enumerate(items(segment), start=first_seq(key)):
                yield RawEntry(seq, head, payload, before)
                before = None

    def calls(self, state: CallState) -> Iterator[tuple[int, bytes, Call]]:
        """(run number, session, call) of every call that is open, or of every one that is unresolved."""
        for key, data in self._rows("open_calls" if state is CallState.OPEN else "unresolved_calls"):
            call = codec.decode_call(data)
            number = NUMBER.unpack_from(key, SESSION_BYTES if state is CallState.OPEN else 0)[0]
            its_key = CallKey(call.session, number, call.call)
            if key != (open_key(its_key) if state is CallState.OPEN else unresolved_key(its_key)):
                raise LedgerDamagedError(f"the call {call.call.hex()} is not kept where it is looked for")
            yield number, call.session, call

    def closed_calls(self) -> Iterator[tuple[bytes, bytes, ClosedCall]]:
        """(session, call id, outcome) of every closed call that is not acknowledged."""
        for key, data in self._rows("closed_calls"):
            yield key[:SESSION_BYTES], key[SESSION_BYTES:], codec.decode_closed(data)

    def openers(self) -> Iterator[tuple[bytes, int]]:
        """(session, run number) of every opener."""
        for key, _ in self._rows("openers"):
            yield key[:SESSION_BYTES], NUMBER.unpack_from(key, SESSION_BYTES)[0]

    def reactions(self) -> Iterator[tuple[int, Reactions]]:
        """(run number, where its notices go) of every run that has them go somewhere."""
        for key, data in self._rows("reactions"):
            yield NUMBER.unpack(key)[0], codec.decode_reactions(data)

    def outbox(self) -> Iterator[tuple[OutboxKey, Pending]]:
        """Every notice that is on its way or was given up."""
        for key, data in self._rows("outbox"):
            yield read_outbox_key(key), codec.decode_pending(data)

    def model(self, name: str) -> ModelHistory:
        """What the ledger knows of a model."""
        data = self._txn.get(model_key(name), db=self._db["models"])
        return ModelHistory() if data is None else codec.decode_model(data)

    def price_tables(self) -> Iterator[bytes]:
        """The ids of the price tables, each of which is looked at."""
        for table, stored in self._rows("prices"):
            unsealed(stored, f"the price table {table.hex()}")
            yield table

    def _rows(self, database: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        if database not in self._db:
            return  # the ledger of an older release, which is only read
        with self._txn.cursor(db=self._db[database]) as cursor:
            if not (cursor.set_range(prefix) if prefix else cursor.first()):
                return
            for key, data in cursor:
                if not key.startswith(prefix):
                    return
                yield key, data
