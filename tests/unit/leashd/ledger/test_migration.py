"""A ledger of an older schema becomes one of the present schema, whole or not at all, and loses nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from leashd.audit import audit
from leashd.ledger.lmdb_ledger import SCHEMA_VERSION, LmdbLedger
from leashd.ledger.protocol import LedgerError
from tests.unit.leashd.desk import Desk, call_id

# Written by the last leashd of schema 1, with every kind of entry that it had; the JSON is what it read back from it.
STORED = Path(__file__).parents[3] / "ledgers"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "leash.db"
    path.write_bytes(gzip.decompress((STORED / "schema-1.db.gz").read_bytes()))
    return path


@pytest.fixture
def migrated(old: Path) -> Iterator[LmdbLedger]:
    ledger = LmdbLedger(old)
    yield ledger
    ledger.close()


def expected() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((STORED / "schema-1.json").read_text())
    return read


def test_every_run_and_every_entry_is_what_the_older_release_had(migrated: LmdbLedger) -> None:
    assert {account.run for account in migrated.accounts()} == set(expected())
    for run, had in expected().items():
        account = migrated.account(run)
        assert account is not None
        assert [account.number, account.totals.calls, account.totals.token_cost_nanodollars] == [
            *(had[name] for name in ("number", "calls", "token_cost_nanodollars")),
        ]
        assert [account.open.calls, account.unresolved.calls, account.status.value, account.reason] == [
            *(had[name] for name in ("open", "unresolved", "status", "reason")),
        ]
        entries = [
            [stored.entry.seq, stored.entry.at_ns, type(stored.entry.event).__name__, stored.head.hex()]
            for stored in migrated.journal(account.number)
        ]
        assert entries == had["entries"]


def test_its_price_tables_are_those_that_it_had(migrated: LmdbLedger) -> None:
    account = migrated.account("a")
    assert account is not None
    table = migrated.price_table(account.prices)

    assert table is not None
    assert b"version" in table
    assert audit(migrated).difference is None


def test_it_is_done_once(old: Path) -> None:
    LmdbLedger(old).close()
    migrated = old.read_bytes()
    LmdbLedger(old).close()

    assert old.read_bytes() == migrated
    with lmdb.open(str(old), subdir=False, max_dbs=16) as env, env.begin() as txn:
        assert txn.get(b"schema", db=env.open_db(b"meta", txn=txn, create=False)) == b"%d" % SCHEMA_VERSION
        assert txn.get(b"journal") is None


def test_calls_go_on_in_it(old: Path) -> None:
    desk = Desk(old)
    desk.now_ns = 2 * desk.now_ns
    shim = desk.session(b"session1", held=(call_id(104),))
    before = desk.account("a")
    shim.settle(104, "a", tokens=3)
    shim.admitted(500, run="a")
    shim.settle(500, "a", tokens=4)

    assert desk.account("a").totals.calls == before.totals.calls + 2
    assert [stored.entry.seq for stored in desk.ledger.journal(1)] == list(range(1, desk.account("a").seq + 1))


@pytest.mark.parametrize(("damage", "what"), [("changed", "its hash differs"), ("removed", "where 7 belongs")])
def test_one_whose_chain_is_broken_is_refused_and_left_as_it_is(old: Path, damage: str, what: str) -> None:
    key = (1).to_bytes(4, "big") + (7).to_bytes(8, "big")
    with lmdb.open(str(old), subdir=False, max_dbs=16) as env, env.begin(write=True) as txn:
        journal = env.open_db(b"journal", txn=txn, create=False)
        entry = bytearray(txn.get(key, db=journal))
        entry[-1] ^= 1
        if damage == "changed":
            txn.put(key, bytes(entry), db=journal)
        else:
            txn.delete(key, db=journal)
    before = old.read_bytes()

    with pytest.raises(LedgerError, match=what):
        LmdbLedger(old)
    assert old.read_bytes() == before


def test_one_that_is_only_to_be_read_is_not_migrated(old: Path) -> None:
    before = old.read_bytes()

    with pytest.raises(LedgerError, match="schema 1: it is migrated when a leashd opens it"):
        LmdbLedger(old, read_only=True)
    assert old.read_bytes() == before
