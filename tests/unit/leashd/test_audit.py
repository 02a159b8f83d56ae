"""The audit finds whatever contradicts the journal, says where, and nothing where there is nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lmdb
import pytest

from leash.usage import Usage
from leashd.audit import Progress, Report, audit
from leashd.core.account import Account, Stop
from leashd.core.reasons import Reason
from leashd.ledger import codec
from leashd.ledger.keys import NUMBER
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import LedgerDamagedError
from leashd.ledger.segments import HEAD_BYTES, Tail, items, segment_key
from leashd.operations import Prune
from tests.unit.leashd.desk import Desk, call_id

RUN = "b"
NUMBER_OF_RUN = 2
CALLS = 150  # settled ones: several segments


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with three runs; the one in the middle has calls in every state."""
    desk = Desk(tmp_path / "leash.db")
    shim = desk.session()
    for run in ("a", RUN, "c"):
        shim.open(run, prices=desk.prices(), max_cost_nanodollars=10**9)
    shim.admitted(1, run=RUN)
    shim.settle(1, RUN, tokens=1)
    for call in range(2, CALLS + 1):  # in pairs, so that every reserve is an even entry and its settle the next one
        desk.ask_later(shim.asks(call, RUN))
        desk.ask_later(shim.settles(call, RUN, tokens=call))
    desk.commit()
    abandoned, resolved, voided, left_open = range(CALLS + 1, CALLS + 5)
    shim.admitted(abandoned, resolved, voided, left_open, run=RUN)
    shim.abandon(abandoned, RUN, known=Usage(input_tokens=3))
    shim.abandon(resolved, RUN)
    desk.resolve(call_id(resolved), 500, RUN)
    shim.settle(resolved, RUN, tokens=9)
    shim.void(voided, RUN)
    desk.kill("c")
    shim.close("c")
    desk.ledger.close()
    return tmp_path / "leash.db"


def found(path: Path, **how: Any) -> Report:
    ledger = LmdbLedger(path, read_only=True)
    try:
        return audit(ledger, **how)
    finally:
        ledger.close()


@contextmanager
def tampering(path: Path) -> Iterator[Callable[[str], Any]]:
    """A transaction on the file; what it yields opens a database of it."""
    with lmdb.open(str(path), subdir=False, max_dbs=16) as env, env.begin(write=True) as txn:
        yield lambda name: _Table(txn, env.open_db(name.encode(), txn=txn, create=False))


class _Table:
    def __init__(self, txn: Any, database: Any) -> None:
        self.cursor = txn.cursor(db=database)
        self._txn = txn
        self._database = database

    def get(self, key: bytes) -> bytes:
        data: bytes = self._txn.get(key, db=self._database)
        return data

    def put(self, key: bytes, data: bytes) -> None:
        self._txn.put(key, data, db=self._database)

    def delete(self, key: bytes) -> None:
        assert self._txn.delete(key, db=self._database)

    def keys(self) -> list[bytes]:
        return [bytes(key) for key in self.cursor.iternext(values=False)]


def rewritten(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Writes the entries of the run anew, with a whole chain: as somebody would who knows how it is made."""
    with tampering(path) as table:
        segments, accounts = table("segments"), table("accounts")
        keys = [key for key in segments.keys() if key.startswith(NUMBER.pack(NUMBER_OF_RUN))]  # noqa: SIM118 - no dict
        payloads = [payload for key in keys for _, payload in items(segments.get(key))]
        for key in keys:
            segments.delete(key)
        tail = Tail()
        for payload in change(payloads):
            if not tail.has_room(payload):
                segments.put(segment_key(NUMBER_OF_RUN, tail.first_seq), tail.data())
                tail = tail.following()
            tail.append(payload)
        segments.put(segment_key(NUMBER_OF_RUN, tail.first_seq), tail.data())
        accounts.put(RUN.encode(), tail.head + accounts.get(RUN.encode())[HEAD_BYTES:])


def with_account(path: Path, **changes: Any) -> None:
    with tampering(path) as table:
        stored = table("accounts").get(RUN.encode())
        account = replace(codec.decode_account(stored[HEAD_BYTES:]), **changes)
        table("accounts").put(RUN.encode(), stored[:HEAD_BYTES] + codec.encode_record(account))


def test_a_whole_ledger_is_whole(path: Path) -> None:
    entries = 3 + CALLS * 2 + 4 + 2 + 1 + 1 + 1 + 2
    assert found(path) == Report(runs=3, entries=entries)
    assert found(path, run=RUN) == Report(runs=1, entries=entries - 4)


def test_an_unknown_run_is_unknown(path: Path) -> None:
    with pytest.raises(KeyError):
        found(path, run="nobody")


def test_it_tells_how_far_it_is(path: Path) -> None:
    told: list[Progress] = []
    report = found(path, progress=told.append)

    assert told[-1] == Progress(report.runs, report.entries, report.entries)


@pytest.mark.parametrize("at", [1, 40, 300])
def test_one_changed_bit_of_an_entry_breaks_the_chain_there(path: Path, at: int) -> None:
    with tampering(path) as table:
        segments = table("segments")
        seq = 0
        for key in segments.keys():  # noqa: SIM118 - no dict
            segment = bytearray(segments.get(key))
            if not key.startswith(NUMBER.pack(NUMBER_OF_RUN)):
                continue
            for _, payload in items(bytes(segment)):
                seq += 1
                if seq == at:
                    where = bytes(segment).index(payload)
                    segment[where + len(payload) - 1] ^= 1
                    segments.put(key, bytes(segment))
    difference = found(path).difference

    assert difference is not None
    assert (difference.run, difference.seq) == (RUN, at)
    assert "the chain of hashes breaks here" in difference.what


def test_a_removed_segment_is_missed(path: Path) -> None:
    with tampering(path) as table:
        segments = table("segments")
        of_run = [key for key in segments.keys() if key.startswith(NUMBER.pack(NUMBER_OF_RUN))]  # noqa: SIM118
        assert len(of_run) >= 3
        segments.delete(of_run[1])
    difference = found(path).difference

    assert difference is not None
    assert difference.run == RUN
    assert difference.seq > 1
    assert "is gone" in difference.what


def test_a_removed_first_segment_is_missed_since_no_checkpoint_stands_for_it(path: Path) -> None:
    with tampering(path) as table:
        table("segments").delete(segment_key(NUMBER_OF_RUN, 1))
    difference = found(path).difference

    assert difference is not None
    assert (difference.run, difference.seq) == (RUN, 1)


def test_removed_newest_entries_are_missed_since_the_account_knows_of_them(path: Path) -> None:
    with tampering(path) as table:
        segments = table("segments")
        segments.delete(max(key for key in segments.keys() if key.startswith(NUMBER.pack(NUMBER_OF_RUN))))  # noqa: SIM118
    difference = found(path).difference

    assert difference is not None
    assert difference.run == RUN
    assert "differs" in difference.what


def test_an_entry_that_is_taken_out_with_a_new_chain_is_missed(path: Path) -> None:
    rewritten(path, lambda payloads: [*payloads[:31], *payloads[33:]])
    difference = found(path).difference

    assert difference is not None
    assert (difference.run, difference.what) == (RUN, "the account's seq differs")


def test_a_call_that_is_settled_twice_is_seen(path: Path) -> None:
    rewritten(path, lambda payloads: [*payloads[:3], payloads[2], *payloads[3:]])
    difference = found(path).difference

    assert difference is not None
    assert (difference.run, difference.seq) == (RUN, 4)
    assert "without having been reserved, or twice" in difference.what


@pytest.mark.parametrize(
    "changes",
    [{"seq": 5}, {"owner_uid": 0}, {"stop": None, "last_call_at_ns": 1}, {"dearest_nanodollars": {}}],
    ids=str,
)
def test_an_account_that_says_otherwise_is_named_with_both_values(path: Path, changes: dict[str, Any]) -> None:
    with_account(path, **changes)
    difference = found(path).difference

    assert difference is not None
    assert difference.run == RUN
    assert any(difference.what == f"the account's {name} differs" for name in changes)
    assert difference.stored != difference.refolded


def test_every_field_of_an_account_is_compared(path: Path) -> None:
    names = set(Account.__dataclass_fields__) - {"run", "number"}
    ledger = LmdbLedger(path, read_only=True)
    kept = ledger.account(RUN)
    ledger.close()
    assert kept is not None
    other = replace(
        kept, owner_uid=8, created_at_ns=1, seq=9, prices=b"other", last_close_clean=True, episode_started_at_ns=5,
        last_call_at_ns=6, dearest_nanodollars={"x": 1}, warned={"deadline": 1}, window=((1, 1),), openers=(),
        limits=replace(kept.limits, declared=kept.limits.in_force, in_force=replace(kept.limits.in_force, max_calls=9)),
        totals=replace(kept.totals, calls=1), open=replace(kept.open, calls=7), compute=replace(kept.compute, rest=1),
        unresolved=replace(kept.unresolved, calls=9), stall=replace(kept.stall, replies=5),
        stop=Stop(Reason.STALL, 1, 2, 3), would_stop=(Reason.STALL,),
    )  # fmt: skip
    for name in names:
        with_account(path, **{name: getattr(other, name)})
        difference = found(path).difference
        assert difference is not None, name
        assert difference.what == f"the account's {name} differs"
        with_account(path, **{name: getattr(kept, name)})
    assert found(path).difference is None


@pytest.mark.parametrize(
    ("database", "what"),
    [
        ("open_calls", "is open or unresolved, and not kept as such"),
        ("unresolved_calls", "is open or unresolved, and not kept as such"),
        ("openers", "the sessions that have it open differs"),
        ("prices", "price table"),
        ("models", "what is known of the model m"),
        ("runs", "how many runs have an account"),
        ("accounts", "its account is gone"),
    ],
)
def test_what_is_kept_beside_a_journal_is_missed(path: Path, database: str, what: str) -> None:
    with tampering(path) as table:
        there = table(database)
        there.delete(there.keys()[-1])
    difference = found(path).difference

    assert difference is not None
    assert what in difference.what


def test_a_run_that_was_taken_out_altogether_leaves_a_gap(path: Path) -> None:
    with tampering(path) as table:
        table("runs").delete(NUMBER.pack(NUMBER_OF_RUN))
        table("accounts").delete(RUN.encode())
        for name in ("segments", "unresolved_calls"):
            there = table(name)
            for key in [key for key in there.keys() if key.startswith(NUMBER.pack(NUMBER_OF_RUN))]:  # noqa: SIM118
                there.delete(key)
    difference = found(path).difference

    assert difference is not None
    assert difference.what == "the run with number 2 is gone"


def test_an_outcome_that_says_otherwise_is_named(path: Path) -> None:
    with tampering(path) as table:
        there = table("closed_calls")
        key = b"session1" + call_id(CALLS + 2)
        kept = codec.decode_closed(there.get(key))
        there.put(key, codec.encode_record(replace(kept, cost_nanodollars=1)))
    difference = found(path).difference

    assert difference is not None
    assert difference.what == f"the outcome of call {call_id(CALLS + 2).hex()} differs"


@pytest.mark.parametrize("database", ["accounts", "segments", "open_calls", "unresolved_calls", "closed_calls"])
def test_a_record_that_cannot_be_read_is_a_difference_and_no_traceback(path: Path, database: str) -> None:
    with tampering(path) as table:
        there = table(database)
        key = there.keys()[0]
        there.put(key, there.get(key)[:12] + b"\xc1")
    difference = found(path).difference

    assert difference is not None
    assert "damaged" in difference.what


@pytest.mark.parametrize("database", ["runs", "accounts", "open_calls", "unresolved_calls", "closed_calls"])
def test_a_name_that_is_no_text_is_a_difference_and_no_traceback(path: Path, database: str) -> None:
    with tampering(path) as table:
        there = table(database)
        key = there.keys()[0]
        data = bytearray(there.get(key))
        data[{"runs": 0, "accounts": HEAD_BYTES + 5}.get(database, 3)] = 0xFF
        there.put(key, bytes(data))
    difference = found(path).difference

    assert difference is not None
    assert "damaged" in difference.what


@pytest.mark.parametrize("database", ["open_calls", "unresolved_calls"])
def test_a_call_under_another_key_than_its_own_is_missed(path: Path, database: str) -> None:
    with tampering(path) as table:
        there = table(database)
        key = there.keys()[0]
        data = there.get(key)
        there.delete(key)
        at = -1 if database == "open_calls" else NUMBER.size
        there.put(key[:at] + bytes((key[at] ^ 1,)) + key[at:][1:], data)
    difference = found(path).difference

    assert difference is not None
    assert "is not kept where it is looked for" in difference.what


def test_a_checkpoint_that_is_not_where_it_was_written_is_missed(path: Path) -> None:
    desk = Desk(path)
    desk.now_ns *= 2
    assert desk.ask(Prune(("c",), before_ns=desk.now_ns, actor_uid=7)).runs == 1
    number = desk.account("c").number
    desk.ledger.close()
    with tampering(path) as table:
        segments = table("segments")
        [key] = [key for key in segments.keys() if key.startswith(NUMBER.pack(number))]  # noqa: SIM118 - no dict
        segment = segments.get(key)
        segments.delete(key)
        segments.put(segment_key(number, 70), segment)
    difference = found(path).difference

    assert difference is not None
    assert difference.what == "the journal goes on with entry 70: 1 to 69 is gone"


def test_a_price_table_that_says_otherwise_is_named_and_prices_nothing(path: Path) -> None:
    with tampering(path) as table:
        there = table("prices")
        (key,) = there.keys()
        changed = bytearray(there.get(key))
        changed[-1] ^= 1
        there.put(key, bytes(changed))
    difference = found(path).difference

    assert difference is not None
    assert difference.what == f"the price table {key.hex()} is not the one that was written: its hash differs"
    with pytest.raises(LedgerDamagedError, match="its hash differs"):
        LmdbLedger(path).price_table(key)


def test_a_pruned_run_is_audited_from_its_checkpoint_and_goes_on(path: Path) -> None:
    desk = Desk(path)
    desk.now_ns *= 2
    assert desk.ask(Prune(("c",), before_ns=desk.now_ns, actor_uid=7)).entries == 3
    shim = desk.session()
    shim.open("c")
    desk.raise_limits("c", resume=True)
    shim.admitted(900, run="c")
    shim.settle(900, "c")
    desk.ledger.close()

    assert found(path, run="c") == Report(runs=1, entries=5)
    with tampering(path) as table:
        there = table("segments")
        key = segment_key(3, 4)
        segment = bytearray(there.get(key))
        segment[0] ^= 1  # of the chain before the checkpoint
        there.put(key, bytes(segment))
    difference = found(path, run="c").difference
    assert difference is not None
    assert (difference.run, difference.seq) == ("c", 4)


def test_sessions_that_use_the_same_id_at_once_are_no_contradiction(path: Path) -> None:
    desk = Desk(path)
    one, other = desk.session(b"sharing1"), desk.session(b"sharing2")
    for shim in (one, other):
        shim.open(RUN)
        shim.admitted(9_000, run=RUN)
    assert audit(desk.ledger).difference is None
    other.abandon(9_000, run=RUN)
    assert audit(desk.ledger).difference is None
    one.settle(9_000, run=RUN, tokens=3)
    assert audit(desk.ledger).difference is None
    other.settle(9_000, run=RUN, tokens=5)
    assert audit(desk.ledger).difference is None
    desk.ledger.close()


@pytest.mark.parametrize("state", ["open", "unresolved"])
def test_a_call_of_such_an_id_that_is_gone_is_missed(path: Path, state: str) -> None:
    desk = Desk(path)
    for name in (b"sharing1", b"sharing2"):
        shim = desk.session(name)
        shim.open(RUN)
        shim.admitted(9_000, run=RUN)
        if state == "unresolved":
            shim.abandon(9_000, run=RUN)
    desk.ledger.close()
    with tampering(path) as table:
        calls = table(f"{state}_calls")
        calls.delete(next(key for key in calls.keys() if call_id(9_000) in key))  # noqa: SIM118 - no dict
    difference = found(path).difference

    assert difference is not None
    assert difference.what == f"how many calls {call_id(9_000).hex()} are open or unresolved differs"


@pytest.mark.parametrize("pass_ns", [0, 1])
def test_an_id_that_a_session_uses_in_two_runs_is_no_contradiction(path: Path, pass_ns: int) -> None:
    desk = Desk(path)
    shim = desk.session(b"sharing1")
    for run in (RUN, "another"):
        shim.open(run)
        shim.admitted(9_000, run=run)
    shim.settle(9_000, run=RUN, tokens=3)
    desk.pass_time(pass_ns)
    shim.settle(9_000, run="another", tokens=5)
    assert audit(desk.ledger).difference is None
    desk.ledger.close()
