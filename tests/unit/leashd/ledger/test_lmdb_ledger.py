"""DESIGN 9: one transaction for each batch, a hash chain for each run, and what is read back."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from leashd.core.account import ClosedCall
from leashd.core.events import Entry, Warned
from leashd.core.fold import create, fold
from leashd.core.reasons import Reason
from leashd.ledger import codec
from leashd.ledger.lmdb_ledger import SCHEMA_VERSION, LmdbLedger
from leashd.ledger.protocol import Batch, CallKey, ClockRecord, LedgerError, LedgerUnavailableError
from leashd.ledger.segments import HEAD_BYTES, SEGMENT_BYTES, chained
from tests.unit.leashd.desk import Desk, Shim, call_id
from tests.unit.leashd.play import START


class Failing:
    """An environment that fails as LMDB does."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def begin(self, **_: object) -> None:
        raise self.error


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LmdbLedger]:
    opened = LmdbLedger(tmp_path / "leash.db")
    yield opened
    opened.close()


def test_a_new_ledger_is_empty(ledger: LmdbLedger) -> None:
    assert ledger.account("r") is None
    assert list(ledger.accounts()) == []
    assert (ledger.next_number(), ledger.run_name(1)) == (1, None)
    assert list(ledger.open_calls()) == []
    assert ledger.clock() is None


def test_the_file_is_its_users_own(ledger: LmdbLedger) -> None:
    assert Path(ledger.path).stat().st_mode & 0o777 == 0o600


def test_a_file_of_another_schema_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / "leash.db"
    LmdbLedger(path).close()
    with lmdb.open(str(path), subdir=False, max_dbs=16) as env, env.begin(write=True) as txn:
        txn.put(b"schema", b"%d" % (SCHEMA_VERSION + 1), db=env.open_db(b"meta", txn=txn))

    with pytest.raises(LedgerError, match=f"schema {SCHEMA_VERSION + 1}, and this leashd writes {SCHEMA_VERSION}"):
        LmdbLedger(path)


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "leash.db"
    path.write_bytes(b"no ledger" * 1_000)

    with pytest.raises(LedgerError):
        LmdbLedger(path)


def test_what_is_committed_is_there_after_a_restart(shim: Shim) -> None:
    shim.admitted(1, 2)
    shim.abandon(2)
    desk = shim.desk
    before, kinds = desk.account(), desk.kinds()
    desk.restart()

    assert desk.account() == before
    assert desk.kinds() == kinds
    assert [key.call for key, _ in desk.ledger.open_calls()] == [call_id(1)]
    assert [key.call for key, _ in desk.ledger.unresolved_calls(before.number)] == [call_id(2)]


def test_the_accounts_come_by_name_and_go_on_after_one(desk: Desk) -> None:
    shim = desk.session()
    for run in ("b", "c", "a", "ab", "t/a"):
        shim.open(run)

    assert [account.run for account in desk.ledger.accounts()] == ["a", "ab", "b", "c", "t/a"]
    assert [account.run for account in desk.ledger.accounts("ab")] == ["b", "c", "t/a"]


def test_each_run_has_a_number_of_its_own_that_outlives_a_restart(desk: Desk) -> None:
    desk.session().open("a")
    desk.session(b"session2").open("b")
    desk.restart()
    desk.session(b"session3").open("c")

    assert [desk.account(run).number for run in "abc"] == [1, 2, 3]
    assert [desk.ledger.run_name(number) for number in (1, 2, 3)] == ["a", "b", "c"]


def test_the_journal_is_read_in_order_from_any_place(shim: Shim) -> None:
    shim.admitted(1)
    shim.settle(1)
    ledger, number = shim.desk.ledger, shim.desk.account().number

    assert [stored.entry.seq for stored in ledger.journal(number)] == [1, 2, 3]
    assert [stored.entry.seq for stored in ledger.journal(number, after_seq=2)] == [3]
    assert list(ledger.journal(number, after_seq=3)) == []
    assert list(ledger.journal(number + 1)) == []


def test_a_journal_of_many_segments_is_read_in_order_from_any_place(desk: Desk) -> None:
    shim = desk.session()
    for run in ("before", "r", "then"):
        shim.open(run)
        for call in range(1, 100):
            shim.admitted(call, run=run)
            shim.settle(call, run)
            shim.acknowledge(call)
    number = desk.account("r").number

    assert chained_entries(desk) == 199
    size = sum(len(codec.encode_entry(stored.entry)) for stored in desk.ledger.journal(number))
    assert size > 2 * SEGMENT_BYTES
    for after in range(-1, 201):
        sequences = [stored.entry.seq for stored in desk.ledger.journal(number, after)]
        assert sequences == list(range(max(after, 0) + 1, 200)), after


def test_both_ends_of_a_journal_are_found_and_no_other_runs(desk: Desk) -> None:
    shim = desk.session()
    for run in ("a", "b", "c"):
        shim.open(run)
    for call in range(200):
        shim.admitted(call, run="b")
    ends = [desk.ledger.journal_ends(desk.account(run).number) for run in "abc"]

    assert [(first, last.entry.seq) for first, last in filter(None, ends)] == [(1, 1), (1, 201), (1, 1)]
    assert desk.ledger.journal_ends(4) is None


def test_the_journals_of_many_runs_do_not_mix(desk: Desk) -> None:
    shim = desk.session()
    for run in ("a", "b"):
        shim.open(run)
    for call in range(10):
        run = "ab"[call % 2]
        shim.admitted(call, run=run)
        shim.settle(call, run)

    for run in ("a", "b"):
        account = desk.account(run)
        entries = [stored.entry for stored in desk.ledger.journal(account.number)]
        refolded = create(run, account.number, entries[0])
        for entry in entries[1:]:
            refolded = fold(refolded, entry)
        assert refolded == account


def chained_entries(desk: Desk) -> int:
    """How many entries the run has, each of which has to be hashed over the one before it."""
    head, entries = bytes(HEAD_BYTES), 0
    for stored in desk.ledger.journal(desk.account().number):
        head, entries = chained(head, codec.encode_entry(stored.entry)), entries + 1
        assert stored.head == head
    return entries


def test_each_entry_is_hashed_over_the_one_before_it(shim: Shim) -> None:
    shim.admitted(1)
    shim.settle(1)

    assert chained_entries(shim.desk) == 3
    assert {len(stored.head) for stored in shim.desk.ledger.journal(1)} == {8}


def test_the_chain_goes_on_over_several_entries_of_one_batch_and_over_a_restart(shim: Shim) -> None:
    desk = shim.desk
    for call in (1, 2, 3):
        desk.ask_later(shim.asks(call))
    desk.commit()
    desk.restart()
    shim.connect(call_id(1), call_id(2), call_id(3))
    shim.settle(1)

    assert chained_entries(desk) == 5


def test_an_entry_is_never_written_over(shim: Shim) -> None:
    account = shim.desk.account()
    entry = Entry(seq=account.seq, at_ns=1, event=Warned(reason=Reason.COST_BUDGET))
    batch = Batch(entries=[(account, entry)], accounts={"r": account})

    with pytest.raises(LedgerError, match="entry 1 of run r does not follow 1"):
        shim.desk.ledger.commit(batch)
    assert shim.desk.kinds() == ["Opened"]


def test_a_batch_is_written_whole_or_not_at_all(shim: Shim) -> None:
    desk = shim.desk
    account = desk.account()
    good = Entry(seq=account.seq + 1, at_ns=1, event=Warned(reason=Reason.COST_BUDGET))
    bad = Entry(seq=account.seq, at_ns=1, event=Warned(reason=Reason.COST_BUDGET))
    batch = Batch(entries=[(account, good), (account, bad)], clock=ClockRecord("b", 1, 1))

    with pytest.raises(LedgerError):
        desk.ledger.commit(batch)
    assert desk.kinds() == ["Opened"]
    assert desk.ledger.clock() is None


def test_a_call_is_open_then_unresolved_then_gone(shim: Shim) -> None:
    ledger, number = shim.desk.ledger, shim.desk.account().number
    key = CallKey(shim.name, number, call_id(1))
    shim.admitted(1)
    assert list(ledger.open_calls()) == [(key, ledger.call(key))]
    shim.abandon(1)
    call = ledger.call(key)
    assert call is not None
    assert list(ledger.open_calls()) == []

    assert list(ledger.unresolved_calls(number, call_id(1)[:4])) == [(key, call)]
    assert list(ledger.unresolved_calls(number, b"\xff")) == []
    shim.void(1)
    assert ledger.call(key) is None


def test_open_calls_are_found_by_session_each_in_its_own_run(desk: Desk) -> None:
    one, two = desk.session(b"session1"), desk.session(b"session2")
    for shim, run in ((one, "a"), (two, "a"), (two, "b")):
        shim.open(run)
        shim.admitted(1, run=run)

    assert [key for key, _ in desk.ledger.open_calls(b"session2")] == [
        CallKey(b"session2", desk.account(run).number, call_id(1)) for run in ("a", "b")
    ]
    assert len(list(desk.ledger.open_calls())) == 3


def test_openers_are_found_by_session(desk: Desk) -> None:
    one, two = desk.session(b"session1"), desk.session(b"session2")
    one.open("a")
    one.open("b")
    two.open("b")

    assert list(desk.ledger.openers(b"session1")) == [(b"session1", 1), (b"session1", 2)]
    assert len(list(desk.ledger.openers())) == 3
    one.close("a")
    assert list(desk.ledger.openers(b"session1")) == [(b"session1", 2)]


def test_old_outcomes_are_found_a_bounded_number_at_a_time(ledger: LmdbLedger) -> None:
    outcomes = {
        (b"session1", call_id(n)): ClosedCall(outcome="voided", cost_nanodollars=0, closed_at_ns=n) for n in range(10)
    }
    ledger.commit(Batch(closed_calls=dict(outcomes)))

    assert ledger.stale_closed_calls(5, 100) == list(outcomes)[:5]
    assert len(ledger.stale_closed_calls(5, 3)) == 3


@pytest.mark.parametrize("name", ["", "gpt-5", "m" * 200, "m" * 201, "é" * 512])
def test_a_model_of_any_name_is_kept(desk: Desk, name: str) -> None:
    shim = desk.session()
    shim.open()
    shim.admitted(1, model=name)
    shim.settle(1)

    assert desk.ledger.model(name).metered
    assert not desk.ledger.model(name + "x").metered


def test_the_clock_is_kept_with_every_commit(ledger: LmdbLedger) -> None:
    record = ClockRecord(boot_id="boot", ledger_ns=START, boot_ns=5)
    ledger.commit(Batch(prices={b"table001": b"text"}, clock=record))

    assert ledger.clock() == record
    assert ledger.price_table(b"table001") == b"text"


def said(code: int) -> str:
    """What the binding says of an error of the system."""
    return f"mdb_txn_commit: {os.strerror(code)}"


PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


@pytest.mark.parametrize(
    "error",
    [
        lmdb.DiskError(said(errno.ENOSPC)),
        lmdb.ReadonlyError(said(errno.EACCES)),
        lmdb.MapFullError("mdb_put: MDB_MAP_FULL: Environment mapsize limit reached"),
        OSError("no room"),
        *(lmdb.Error(said(code)) for code in PASSING),
    ],
)
def test_a_disk_that_is_full_or_read_only_is_a_passing_state(
    ledger: LmdbLedger, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_env", Failing(error))
        with pytest.raises(LedgerUnavailableError):
            ledger.commit(Batch(prices={b"t": b""}))
    ledger.commit(Batch(prices={b"t": b""}))


@pytest.mark.parametrize(
    "error",
    [
        lmdb.CorruptedError("mdb_get: MDB_CORRUPTED: Located page was wrong type"),
        lmdb.InvalidParameterError(said(errno.EINVAL)),
        lmdb.BadTxnError("mdb_put: MDB_BAD_TXN: Transaction must abort, has a child, or is invalid"),
    ],
)
def test_an_error_that_no_wait_changes_is_no_passing_state(
    ledger: LmdbLedger, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(ledger, "_env", Failing(error))
    with pytest.raises(LedgerError) as raised:
        ledger.commit(Batch(prices={b"t": b""}))
    assert not isinstance(raised.value, LedgerUnavailableError)
    monkeypatch.undo()


def test_a_file_that_may_not_grow_is_a_passing_state_and_nothing_of_the_batch_is_kept(ledger: LmdbLedger) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(ledger.path).stat().st_size, hard))
    try:
        with pytest.raises(LedgerUnavailableError):
            ledger.commit(Batch(prices={b"t": b"a" * 1_000_000}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert ledger.price_table(b"t") is None
    ledger.commit(Batch(prices={b"t": b"a" * 1_000_000}))
    assert ledger.price_table(b"t") is not None


def test_journal_and_account_sizes_do_not_grow_with_the_history(shim: Shim) -> None:
    for call in range(1, 30):
        shim.admitted(call)
        shim.settle(call)
    early = len(codec.encode_record(shim.desk.account()))
    for call in range(30, 120):
        shim.admitted(call)
        shim.settle(call)

    assert len(codec.encode_record(shim.desk.account())) <= early + 8
