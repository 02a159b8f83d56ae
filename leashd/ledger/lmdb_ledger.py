"""The ledger in one LMDB file: every commit is one transaction, written and synced before it returns."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lmdb

from leashd.core.account import Account, Call, CallState, ClosedCall, ModelHistory
from leashd.ledger import codec
from leashd.ledger.protocol import Batch, CallKey, ClockRecord, LedgerError, LedgerUnavailableError, StoredEntry

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 1  # bumped when a release before this one could misread what this one writes
MAP_BYTES = 1 << 38  # 256 GiB of address space; the file grows as it is written, so a full disk is the only full
HEAD_BYTES = 8  # of the chain's hash: enough to find accidental damage, which is all that it is for
SESSION_BYTES = 8  # of a session's digest, in keys
MAX_KEY_BYTES = 511  # LMDB's
MAX_MODEL_KEY_BYTES = 200  # LMDB's keys end at 511 bytes, and a longer model name is kept by its hash

_NUMBER = struct.Struct(">I")
_JOURNAL_KEY = struct.Struct(">IQ")


_PASSING = tuple(
    os.strerror(code)
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
)
"""Errors that may pass while the daemon stays: a full or read-only disk, a quota, a sick device.

The binding gives no number with an error, only the system's own text at the end of its message.
"""


class LmdbLedger:
    """A ledger in the LMDB file at ``path``; only one process may open it (leashd holds a lock beside it)."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        with _translated():
            self._env = lmdb.open(
                self.path, subdir=False, map_size=MAP_BYTES, max_dbs=16, readahead=False, meminit=False, mode=0o600
            )
            names = (
                "meta", "accounts", "runs", "journal", "open_calls", "unresolved_calls", "closed_calls",
                "openers", "models", "prices",
            )  # fmt: skip
            self._db: dict[str, Any] = {name: self._env.open_db(name.encode()) for name in names}
        self._check_schema()

    def _check_schema(self) -> None:
        stored = self._get("meta", b"schema")
        if stored is None:
            with _translated(), self._env.begin(write=True) as txn:
                txn.put(b"schema", str(SCHEMA_VERSION).encode(), db=self._db["meta"])
        elif not stored.isdigit() or int(stored) != SCHEMA_VERSION:
            raise LedgerError(
                f"{self.path} has schema {stored.decode(errors='replace')}, and this leashd writes {SCHEMA_VERSION}: "
                "use the leashd that wrote it, or another --ledger"
            )

    def close(self) -> None:
        """Closes the file."""
        self._env.close()

    def account(self, run: str) -> Account | None:
        """One run's account."""
        key = run.encode()
        if not 0 < len(key) <= MAX_KEY_BYTES:
            return None  # no run can have such a name
        data = self._get("accounts", key)
        return None if data is None else codec.decode_account(data[HEAD_BYTES:])

    def accounts(self, after_run: str = "") -> Iterator[Account]:
        """The accounts whose names come after ``after_run``, by name."""
        for _, data in self._scan("accounts", start=after_run.encode() + b"\0"):
            yield codec.decode_account(data[HEAD_BYTES:])

    def run_names(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """The names of the runs that begin with ``prefix`` and come after ``after``, in order."""
        start = max(prefix.encode(), after.encode() + b"\0")
        for key, _ in self._scan("accounts", prefix.encode(), start=start):
            yield key.decode()

    def run_name(self, number: int) -> str | None:
        """The run that has this number."""
        data = self._get("runs", _NUMBER.pack(number))
        return None if data is None else data.decode()

    def next_number(self) -> int:
        """One more than the largest number given."""
        with _translated(), self._env.begin(db=self._db["runs"]) as txn, txn.cursor() as cursor:
            return _NUMBER.unpack(cursor.key())[0] + 1 if cursor.last() else 1

    def call(self, key: CallKey) -> Call | None:
        """A call that is open or unresolved."""
        data = self._get("open_calls", _open_key(key)) or self._get("unresolved_calls", _unresolved_key(key))
        return None if data is None else codec.decode_call(data)

    def open_calls(self, session: bytes = b"") -> Iterator[tuple[CallKey, Call]]:
        """Every open call, or one session's."""
        for key, data in self._scan("open_calls", session):
            yield _call_key(key), codec.decode_call(data)

    def open_call_keys(self, session: bytes = b"") -> Iterator[CallKey]:
        """The keys of every open call, or of one session's."""
        for key, _ in self._scan("open_calls", session):
            yield _call_key(key)

    def unresolved_calls(self, number: int, prefix: bytes = b"") -> Iterator[tuple[CallKey, Call]]:
        """The unresolved calls of a run whose id begins with ``prefix``."""
        for _, data in self._scan("unresolved_calls", _NUMBER.pack(number) + prefix):
            call = codec.decode_call(data)
            yield CallKey(call.session, number, call.call), call

    def closed_call(self, session: bytes, call: bytes) -> ClosedCall | None:
        """The outcome of a closed call that its session has not acknowledged."""
        data = self._get("closed_calls", session + call)
        return None if data is None else codec.decode_closed(data)

    def stale_closed_calls(self, before_ns: int, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to ``limit`` (session, call id) of outcomes kept since before ``before_ns``."""
        stale: list[tuple[bytes, bytes]] = []
        for key, data in self._scan("closed_calls"):
            if codec.decode_closed(data).closed_at_ns < before_ns:
                stale.append((key[:SESSION_BYTES], key[SESSION_BYTES:]))
            if len(stale) >= limit:
                break
        return stale

    def openers(self, session: bytes = b"") -> Iterator[tuple[bytes, int]]:
        """(session, run number) of every opener, or of one session's."""
        for key, _ in self._scan("openers", session):
            yield key[:SESSION_BYTES], _NUMBER.unpack_from(key, SESSION_BYTES)[0]

    def model(self, name: str) -> ModelHistory:
        """What the ledger knows of a model."""
        data = self._get("models", _model_key(name))
        return ModelHistory() if data is None else codec.decode_model(data)

    def price_table(self, table: bytes) -> bytes | None:
        """A stored price table by its id."""
        return self._get("prices", table)

    def journal(self, number: int, after_seq: int = 0) -> Iterator[StoredEntry]:
        """A run's entries after ``after_seq``, in order."""
        for key, data in self._scan("journal", _NUMBER.pack(number), start=_JOURNAL_KEY.pack(number, after_seq + 1)):
            seq = _JOURNAL_KEY.unpack(key)[1]
            yield StoredEntry(entry=codec.decode_entry(seq, data[HEAD_BYTES:]), head=data[:HEAD_BYTES])

    def clock(self) -> ClockRecord | None:
        """The clock as last committed."""
        data = self._get("meta", b"clock")
        return None if data is None else codec.decode_clock(data)

    def commit(self, batch: Batch) -> None:
        """Writes a batch durably, whole or not at all. Raises LedgerUnavailableError where it cannot now."""
        with _translated(), self._env.begin(write=True) as txn:
            self._write_entries(txn, batch)
            for key, call in batch.calls.items():
                self._write_call(txn, key, call)
            for (session, call_id), closed in batch.closed_calls.items():
                data = None if closed is None else codec.encode_record(closed)
                self._write(txn, "closed_calls", session + call_id, data)
            for (session, number), is_opener in batch.openers.items():
                self._write(txn, "openers", session + _NUMBER.pack(number), b"" if is_opener else None)
            for name, history in batch.models.items():
                self._write(txn, "models", _model_key(name), codec.encode_record(history))
            for table, text in batch.prices.items():
                self._write(txn, "prices", table, text)
            if batch.clock is not None:
                self._write(txn, "meta", b"clock", codec.encode_record(batch.clock))

    def _write_entries(self, txn: Any, batch: Batch) -> None:
        heads: dict[str, bytes] = {}
        for account, entry in batch.entries:
            head = heads.get(account.run)
            if head is None:
                stored = txn.get(account.run.encode(), db=self._db["accounts"])
                head = bytes(HEAD_BYTES) if stored is None else stored[:HEAD_BYTES]
                if stored is None:
                    self._write(txn, "runs", _NUMBER.pack(account.number), account.run.encode())
            payload = codec.encode_entry(entry)
            head = chained(head, payload)
            heads[account.run] = head
            key = _JOURNAL_KEY.pack(account.number, entry.seq)
            if not txn.put(key, head + payload, db=self._db["journal"], overwrite=False):
                raise LedgerError(f"entry {entry.seq} of run {account.run} was written before: two writers?")
        for run, account in batch.accounts.items():
            self._write(txn, "accounts", run.encode(), heads[run] + codec.encode_record(account))

    def _write_call(self, txn: Any, key: CallKey, call: Call | None) -> None:
        unresolved = call is not None and call.state is CallState.UNRESOLVED
        data = None if call is None else codec.encode_record(call)
        self._write(txn, "open_calls", _open_key(key), None if unresolved else data)
        self._write(txn, "unresolved_calls", _unresolved_key(key), data if unresolved else None)

    def _write(self, txn: Any, name: str, key: bytes, data: bytes | None) -> None:
        if data is None:
            txn.delete(key, db=self._db[name])
        else:
            txn.put(key, data, db=self._db[name])

    def _get(self, name: str, key: bytes) -> bytes | None:
        with _translated(), self._env.begin(db=self._db[name]) as txn:
            data: bytes | None = txn.get(key)
            return data

    def _scan(self, name: str, prefix: bytes = b"", *, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        with _translated(), self._env.begin(db=self._db[name]) as txn, txn.cursor() as cursor:
            if not (cursor.set_range(start or prefix) if (start or prefix) else cursor.first()):
                return
            for key, data in cursor:
                if not key.startswith(prefix):
                    return
                yield key, data


def chained(head: bytes, payload: bytes) -> bytes:
    """The head of a hash chain after one more entry."""
    return hashlib.blake2b(head + payload, digest_size=HEAD_BYTES).digest()


def _open_key(key: CallKey) -> bytes:
    return key.session + _NUMBER.pack(key.number) + key.call


def _call_key(key: bytes) -> CallKey:
    number_end = SESSION_BYTES + _NUMBER.size
    return CallKey(key[:SESSION_BYTES], _NUMBER.unpack_from(key, SESSION_BYTES)[0], key[number_end:])


def _unresolved_key(key: CallKey) -> bytes:
    return _NUMBER.pack(key.number) + key.call + key.session


def _model_key(name: str) -> bytes:
    key = name.encode()
    return key if 0 < len(key) <= MAX_MODEL_KEY_BYTES else b"\0" + hashlib.blake2b(key, digest_size=16).digest()


@contextmanager
def _translated() -> Iterator[None]:
    """LMDB's errors as the ledger's, once."""
    try:
        yield
    except OSError as error:
        raise LedgerUnavailableError(f"the ledger cannot be written: {error}") from error
    except lmdb.Error as error:
        if isinstance(error, lmdb.MapFullError) or str(error).endswith(_PASSING):
            raise LedgerUnavailableError(f"the ledger cannot be written: {error}") from error
        raise LedgerError(f"the ledger cannot be used: {error}") from error
