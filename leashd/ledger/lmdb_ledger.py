"""The ledger in one LMDB file: every commit is one transaction, written and synced before it returns."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lmdb
import structlog

from leashd.core.account import Account, Call, CallState, ClosedCall, ModelHistory
from leashd.core.events import Checkpoint
from leashd.ledger import codec
from leashd.ledger.extent import check_extent
from leashd.ledger.keys import MAX_KEY_BYTES, NUMBER, SESSION_BYTES, call_key, model_key, open_key, unresolved_key
from leashd.ledger.migration import OLDEST_SCHEMA, migrate
from leashd.ledger.outbox_records import OutboxRecords
from leashd.ledger.protocol import (
    Batch,
    CallKey,
    ClockRecord,
    LedgerDamagedError,
    LedgerError,
    LedgerOutdatedError,
    LedgerUnavailableError,
    StoredEntry,
)
from leashd.ledger.seal import sealed, unsealed
from leashd.ledger.segments import HEAD_BYTES, Tail, first_seq, items, run_number, segment_key
from leashd.ledger.snapshot import Snapshot

SCHEMA_VERSION = 2  # bumped when a release before this one could misread what this one writes
MAP_BYTES = 1 << 38  # 256 GiB of address space; the file grows as it is written, so a full disk is the only full


EXTENT_ATTEMPTS = 3  # a daemon may commit while the size and the list of free pages are read, hardly three times
EXTENT_PAUSE_S = 0.1

_DATABASES = (
    "meta", "accounts", "runs", "segments", "open_calls", "unresolved_calls", "closed_calls",
    "openers", "models", "prices",
)  # fmt: skip
_LATER_DATABASES = ("reactions", "outbox")  # a ledger of an older release has none of them, and is read without

_log = structlog.get_logger("leashd.ledger")

_PASSING = tuple(
    os.strerror(code)
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
)
"""Errors that may pass while the daemon stays: a full or read-only disk, a quota, a sick device.

The binding gives no number with an error, only the system's own text at the end of its message.
"""

_DAMAGE = (
    lmdb.InvalidError, lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.BadTxnError, lmdb.IncompatibleError,
    lmdb.CursorFullError,
)  # fmt: skip
"""What LMDB says of a file that is none of its own, or whose pages do not fit together."""


class LmdbLedger(OutboxRecords):
    """A ledger in the LMDB file at ``path``; only one process may open it (leashd holds a lock beside it)."""

    def __init__(self, path: Path, *, read_only: bool = False, alone: bool = False) -> None:
        """Opens it, and makes or migrates it unless it is only to be read. Raises LedgerError.

        ``alone`` is for who knows that no other process has it open, and is to leave no LMDB lock file behind.
        """
        self.path = str(path)
        self._copying = threading.Lock()  # of two copies at once each would slow the other, and hold its pages longer
        with _translated():
            self._env = lmdb.open(
                self.path,
                subdir=False,
                map_size=MAP_BYTES,
                max_dbs=16,
                readahead=False,
                meminit=False,
                mode=0o600,
                readonly=read_only,
                lock=not alone,
            )
        self._db: dict[str, Any] = {}
        try:
            with _translated():
                self._open(read_only=read_only)
        except BaseException:
            self._env.close()
            raise

    def _open(self, *, read_only: bool) -> None:
        self._check_extent(attempts=EXTENT_ATTEMPTS if read_only else 1)
        with self._env.begin(write=not read_only) as txn:
            stored = self._schema(txn)
            if stored is None and self._env.info()["last_pgno"] > 1:  # pages beside the two that every file has
                raise LedgerDamagedError("it has pages, and nothing that says what they are")
            if stored is None and read_only:
                raise LedgerError(f"{self.path} is no ledger: it is empty")
            if stored not in (None, SCHEMA_VERSION) and read_only:
                raise LedgerOutdatedError(f"{self.path} has schema {stored}: it is migrated when a leashd opens it")
            migrated = 0 if read_only else self._prepare(txn, stored)
        if migrated:
            _log.info("ledger_migrated", path=self.path, schema=SCHEMA_VERSION, before=stored, entries=migrated)
        if read_only:  # outside of the transaction: one that only reads leaves nothing open behind it
            for name in _DATABASES:
                self._db[name] = self._env.open_db(name.encode(), create=False)
            for name in _LATER_DATABASES:
                with suppress(lmdb.NotFoundError):
                    self._db[name] = self._env.open_db(name.encode(), create=False)

    def _prepare(self, txn: Any, stored: int | None) -> int:
        """Makes the databases, or brings them to this schema; how many entries were migrated."""
        for name in _DATABASES + _LATER_DATABASES:
            self._db[name] = self._env.open_db(name.encode(), txn=txn)
        if stored == SCHEMA_VERSION:
            return 0
        txn.put(b"schema", str(SCHEMA_VERSION).encode(), db=self._db["meta"])
        return 0 if stored is None else migrate(txn, self._env, self._db["segments"], self._db["prices"])

    def _check_extent(self, *, attempts: int) -> None:
        """Raises LedgerDamagedError for a file that was cut short; beside a daemon that writes, only if it stays so."""
        page_bytes: int = self._env.stat()["psize"]
        for attempt in range(1, attempts + 1):
            try:
                check_extent(Path(self.path), page_bytes=page_bytes, pages=self._env.info()["last_pgno"] + 1)
            except LedgerDamagedError:
                if attempt == attempts:
                    raise
                time.sleep(EXTENT_PAUSE_S)
            else:
                return

    def _schema(self, txn: Any) -> int | None:
        """The schema of the file; None for a new one. Raises LedgerError for one that is not known."""
        if txn.get(b"meta") is None:
            return None
        stored = txn.get(b"schema", db=self._env.open_db(b"meta", txn=txn, create=False))
        if stored is None:
            return None
        if not stored.isdigit() or not OLDEST_SCHEMA <= int(stored) <= SCHEMA_VERSION:
            raise LedgerError(
                f"{self.path} has schema {stored.decode(errors='replace')}, and this leashd writes {SCHEMA_VERSION}: "
                "use the leashd that wrote it, or another --ledger"
            )
        return int(stored)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """The ledger as it is now, whatever is committed meanwhile; its pages stay in the file until it is left."""
        with _translated(), self._env.begin() as txn:
            yield Snapshot(txn, self._db)

    def copy_to(self, descriptor: int) -> None:
        """Writes a consistent copy of the file, compacted, to a descriptor. It blocks: for a thread of its own."""
        with self._copying, _translated():
            self._env.copyfd(descriptor, compact=True)

    def forget_dead_readers(self) -> None:
        """Lets pages be used again that only a process which was killed while it read them still holds."""
        with suppress(lmdb.Error):  # it was closed meanwhile
            self._env.reader_check()

    def size_bytes(self) -> int:
        """Of the file as it is used, without what it has of free pages at its end."""
        info = self._env.info()
        used: int = (info["last_pgno"] + 1) * self._env.stat()["psize"]
        return used

    def close(self) -> None:
        """Closes the file, once nobody copies it any more."""
        with self._copying:
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
        data = self._get("runs", NUMBER.pack(number))
        return None if data is None else data.decode()

    def next_number(self) -> int:
        """One more than the largest number given."""
        with _translated(), self._env.begin(db=self._db["runs"]) as txn, txn.cursor() as cursor:
            return NUMBER.unpack(cursor.key())[0] + 1 if cursor.last() else 1

    def call(self, key: CallKey) -> Call | None:
        """A call that is open or unresolved."""
        data = self._get("open_calls", open_key(key)) or self._get("unresolved_calls", unresolved_key(key))
        return None if data is None else codec.decode_call(data)

    def open_calls(self, session: bytes = b"") -> Iterator[tuple[CallKey, Call]]:
        """Every open call, or one session's."""
        for key, data in self._scan("open_calls", session):
            yield call_key(key), codec.decode_call(data)

    def open_call_keys(self, session: bytes = b"") -> Iterator[CallKey]:
        """The keys of every open call, or of one session's."""
        for key, _ in self._scan("open_calls", session):
            yield call_key(key)

    def unresolved_calls(self, number: int, prefix: bytes = b"") -> Iterator[tuple[CallKey, Call]]:
        """The unresolved calls of a run whose id begins with ``prefix``."""
        for _, data in self._scan("unresolved_calls", NUMBER.pack(number) + prefix):
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
            yield key[:SESSION_BYTES], NUMBER.unpack_from(key, SESSION_BYTES)[0]

    def model(self, name: str) -> ModelHistory:
        """What the ledger knows of a model."""
        data = self._get("models", model_key(name))
        return ModelHistory() if data is None else codec.decode_model(data)

    def price_table(self, table: bytes) -> bytes | None:
        """A stored price table by its id."""
        stored = self._get("prices", table)
        return None if stored is None else unsealed(stored, f"the price table {table.hex()}")

    def journal(self, number: int, after_seq: int = 0) -> Iterator[StoredEntry]:
        """A run's entries after ``after_seq``, in order; those before its checkpoint are gone."""
        for seq, head, payload in self._items(number, after_seq):
            yield StoredEntry(entry=codec.decode_entry(seq, payload), head=head)

    def journal_ends(self, number: int) -> tuple[int, StoredEntry] | None:
        """The sequence of the first entry that a run still has, and its newest entry."""
        with _translated(), self._env.begin(db=self._db["segments"]) as txn, txn.cursor() as cursor:
            if not cursor.set_range(segment_key(number, 0)) or run_number(cursor.key()) != number:
                return None
            first = first_seq(cursor.key())
            tail = _tail(cursor, number)
            assert tail is not None
            return first, next(self.journal(number, tail.next_seq - 2))

    def _items(self, number: int, after_seq: int) -> Iterator[tuple[int, bytes, bytes]]:
        """(sequence, head after it, encoding) of a run's entries after ``after_seq``."""
        with _translated(), self._env.begin(db=self._db["segments"]) as txn, txn.cursor() as cursor:
            # The entry may be within the segment before the first that begins later.
            prefix = NUMBER.pack(number)
            if not cursor.set_range(segment_key(number, after_seq + 2)):
                cursor.last()
            else:
                cursor.prev()
            if not cursor.key().startswith(prefix) and not cursor.set_range(prefix):
                return
            for key, segment in cursor:
                if not key.startswith(prefix):
                    return
                for seq, (head, payload) in enumerate(items(segment), start=first_seq(key)):
                    if seq > after_seq:
                        yield seq, head, payload

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
                self._write(txn, "openers", session + NUMBER.pack(number), b"" if is_opener else None)
            for name, history in batch.models.items():
                self._write(txn, "models", model_key(name), codec.encode_record(history))
            for table, text in batch.prices.items():
                self._write(txn, "prices", table, sealed(text))
            self._write_outbox(txn, batch)
            if batch.clock is not None:
                self._write(txn, "meta", b"clock", codec.encode_record(batch.clock))

    def _write_entries(self, txn: Any, batch: Batch) -> None:
        tails: dict[str, Tail] = {}
        for account, entry in batch.entries:
            tail = tails.get(account.run) or self._stored_tail(txn, account)
            payload = codec.encode_entry(entry)
            if entry.seq != tail.next_seq:
                raise LedgerError(f"entry {entry.seq} of run {account.run} does not follow {tail.next_seq - 1}")
            if isinstance(entry.event, Checkpoint):
                self._remove_segments(txn, account.number)
                tail = tail.following()
            elif not tail.has_room(payload):
                self._write_segment(txn, account.number, tail)
                tail = tail.following()
            tail.append(payload)
            tails[account.run] = tail
        for run, account in batch.accounts.items():
            tail = tails[run]
            self._write_segment(txn, account.number, tail)
            self._write(txn, "accounts", run.encode(), tail.head + codec.encode_record(account))

    def _stored_tail(self, txn: Any, account: Account) -> Tail:
        with txn.cursor(db=self._db["segments"]) as cursor:
            tail = _tail(cursor, account.number)
        if tail is None:
            self._write(txn, "runs", NUMBER.pack(account.number), account.run.encode())
        return tail or Tail()

    def _write_segment(self, txn: Any, number: int, tail: Tail) -> None:
        self._write(txn, "segments", segment_key(number, tail.first_seq), tail.data())

    def _remove_segments(self, txn: Any, number: int) -> None:
        prefix = NUMBER.pack(number)
        with txn.cursor(db=self._db["segments"]) as cursor:
            found = cursor.set_range(prefix)
            while found and cursor.key().startswith(prefix):
                found = cursor.delete()

    def _write_call(self, txn: Any, key: CallKey, call: Call | None) -> None:
        unresolved = call is not None and call.state is CallState.UNRESOLVED
        data = None if call is None else codec.encode_record(call)
        self._write(txn, "open_calls", open_key(key), None if unresolved else data)
        self._write(txn, "unresolved_calls", unresolved_key(key), data if unresolved else None)

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


def _tail(cursor: Any, number: int) -> Tail | None:
    """The last segment of a run."""
    found = cursor.prev() if cursor.set_range(NUMBER.pack(number + 1)) else cursor.last()
    return Tail.stored(*cursor.item()) if found and cursor.key().startswith(NUMBER.pack(number)) else None


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
        if isinstance(error, lmdb.PanicError):
            raise LedgerError(
                "the last write of a commit failed, and only a new start tells what is on the disk: start leashd "
                f"again ({error})"
            ) from error
        if isinstance(error, _DAMAGE):
            raise LedgerDamagedError(f"the ledger cannot be read: {error}") from error
        raise LedgerError(f"the ledger cannot be used: {error}") from error
