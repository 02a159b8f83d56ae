"""What was changed in a ledger behind the daemon's back is found offline, and named; a damaged file is, too."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import lmdb
import pytest

from leash.v1 import shim_pb2
from leashd.core.account import Account
from leashd.ledger import codec
from leashd.ledger.keys import NUMBER
from leashd.ledger.segments import _HEADER, _LENGTH_BYTES, HEAD_BYTES, first_seq, items, run_number
from tests.e2e.keeping.traffic import leashctl, leashd, settle, verdict
from tests.e2e.raw_daemon import Place, Shim

CALLS = 100  # for each run: some segments
PAGE_BYTES = 4_096


@pytest.fixture(scope="module")
def original() -> Iterator[Path]:
    """A ledger with three runs, one of them with an open call that became unresolved."""
    place = Place(Path(tempfile.mkdtemp(prefix="lk-", dir="/tmp")).resolve())
    try:
        daemon = place.serve()
        for run in ("first", "second", "team/third"):
            shim = Shim(place)
            shim.open(run, max_calls=1_000)
            settle(shim, run, CALLS)
            shim.reserve(b"\x07" * 16, run)
            if run == "second":
                shim.ask(abandon=shim_pb2.Abandon(call_id=b"\x07" * 16, run=run))
            else:
                shim.settle(b"\x07" * 16, run)
            shim.ask(close_run=shim_pb2.CloseRun(run=run))
            shim.close()
        assert daemon.terminate() == 0
        yield place.ledger
    finally:
        place.close()


class Tampered:
    """A copy of the ledger, and hands in it."""

    def __init__(self, ledger: Path) -> None:
        self.ledger = ledger

    def __enter__(self) -> Self:
        self._env = lmdb.open(str(self.ledger), subdir=False, max_dbs=16, map_size=1 << 30, lock=False)
        return self

    def __exit__(self, *_error: object) -> None:
        self._env.close()

    def number(self, run: str) -> int:
        return next(NUMBER.unpack(key)[0] for key, name in self.rows("runs") if name == run.encode())

    def rows(self, database: str) -> list[tuple[bytes, bytes]]:
        with self._env.begin(db=self._env.open_db(database.encode(), create=False)) as txn, txn.cursor() as cursor:
            return list(cursor)

    def put(self, database: str, key: bytes, data: bytes | None) -> None:
        with self._env.begin(write=True, db=self._env.open_db(database.encode(), create=False)) as txn:
            assert txn.delete(key) if data is None else txn.put(key, data)

    def segments(self, run: str) -> list[tuple[bytes, bytes]]:
        number = self.number(run)
        return [(key, data) for key, data in self.rows("segments") if run_number(key) == number]

    def change_entry(self, run: str, seq: int, change: Any) -> None:
        """Puts what ``change`` makes of its encoding in place of an entry; None takes the whole entry out."""
        key, segment = next((key, data) for key, data in reversed(self.segments(run)) if first_seq(key) <= seq)
        stored = list(items(segment))
        head, payload = stored[seq - first_seq(key)]
        at = segment.index(head + payload)
        changed = change(payload)
        if changed is not None:
            segment = segment[: at + HEAD_BYTES] + changed + segment[at + HEAD_BYTES + len(payload) :]
        else:
            before, last, count = _HEADER.unpack_from(segment)
            segment = segment[: at - _LENGTH_BYTES] + segment[at + HEAD_BYTES + len(payload) :]
            segment = _HEADER.pack(before, last, count - 1) + segment[_HEADER.size :]
        self.put("segments", key, segment)

    def change_account(self, run: str, change: Any) -> None:
        data = dict(self.rows("accounts"))[run.encode()]
        account: Account = codec.decode_account(data[HEAD_BYTES:])
        self.put("accounts", run.encode(), data[:HEAD_BYTES] + codec.encode_record(change(account)))


@pytest.fixture
def tampered(original: Path, tmp_path: Path) -> Tampered:
    shutil.copy(original, tmp_path / "leash.db")
    return Tampered(tmp_path / "leash.db")


def found(tampered: Tampered) -> dict[str, Any]:
    """The difference that is named."""
    said = verdict(tampered.ledger)
    assert not said["whole"]
    difference: dict[str, Any] = said["difference"]
    return difference


def test_what_nobody_has_touched_is_whole(tampered: Tampered) -> None:
    said = verdict(tampered.ledger)
    assert (said["whole"], said["runs"], said["difference"]) == (True, 3, None)
    answer = leashd("verify", "--ledger", tampered.ledger)
    assert answer.stdout == f"3 runs, {said['entries']} entries: the ledger is whole\n"
    assert sorted(path.name for path in tampered.ledger.parent.iterdir()) == ["leash.db"]


@pytest.mark.parametrize(("run", "seq"), [("first", 2), ("second", 101), ("team/third", 180)])
def test_a_changed_byte_is_found_in_its_entry(tampered: Tampered, run: str, seq: int) -> None:
    def flip(payload: bytes) -> bytes:
        return payload[:-1] + bytes((payload[-1] ^ 1,))

    with tampered:
        tampered.change_entry(run, seq, flip)
    difference = found(tampered)

    assert (difference["run"], difference["seq"]) == (run, seq)
    assert "chain of hashes" in difference["what"]
    answer = leashd("verify", "--ledger", tampered.ledger)
    assert answer.stdout.startswith(f"run {run}, entry {seq}: ")
    assert f"  stored:   {difference['stored']}\n" in answer.stdout


def test_a_removed_entry_breaks_the_chain(tampered: Tampered) -> None:
    with tampered:
        tampered.change_entry("second", 101, lambda _payload: None)
    difference = found(tampered)
    assert (difference["run"], difference["seq"]) == ("second", 101)


def test_a_removed_stretch_is_named(tampered: Tampered) -> None:
    with tampered:
        key, segment = tampered.segments("second")[1]
        count = len(list(items(segment)))
        tampered.put("segments", key, None)
    difference = found(tampered)
    assert (difference["run"], difference["seq"]) == ("second", first_seq(key))
    assert f"{first_seq(key)} to {first_seq(key) + count - 1} is gone" in difference["what"]


def test_the_last_entries_do_not_go_unnoticed(tampered: Tampered) -> None:
    with tampered:
        key, _ = tampered.segments("first")[-1]
        tampered.put("segments", key, None)
    difference = found(tampered)
    assert (difference["run"], difference["seq"]) == ("first", None)
    assert difference["stored"] != difference["refolded"]


def test_a_removed_run_is_named(tampered: Tampered) -> None:
    with tampered:
        tampered.put("accounts", b"second", None)
    assert found(tampered) == {
        "run": "second",
        "seq": None,
        "what": "its account is gone",
        "stored": None,
        "refolded": None,
    }


def test_a_run_of_which_nothing_is_left_is_missed(tampered: Tampered) -> None:
    with tampered:
        number = tampered.number("second")
        for key, _ in tampered.segments("second"):
            tampered.put("segments", key, None)
        tampered.put("accounts", b"second", None)
        tampered.put("runs", NUMBER.pack(number), None)
    assert found(tampered)["what"] == f"the run with number {number} is gone"


def test_a_journal_that_is_gone_is_missed(tampered: Tampered) -> None:
    with tampered:
        for key, _ in tampered.segments("team/third"):
            tampered.put("segments", key, None)
    difference = found(tampered)
    assert (difference["run"], difference["what"]) == ("team/third", "its journal is gone")


def test_an_account_that_was_made_cheaper_is_found(tampered: Tampered) -> None:
    with tampered:
        tampered.change_account("first", lambda account: replace(account, totals=replace(account.totals, calls=1)))
    difference = found(tampered)
    assert (difference["run"], difference["seq"]) == ("first", None)
    assert "totals" in difference["what"]
    assert "calls=1," in difference["stored"]
    assert f"calls={CALLS + 1}," in difference["refolded"]


def test_an_unresolved_call_that_was_made_to_vanish_is_found(tampered: Tampered) -> None:
    with tampered:
        [(key, _)] = tampered.rows("unresolved_calls")
        tampered.put("unresolved_calls", key, None)
    difference = found(tampered)
    assert difference["run"] == "second"
    assert "07" * 16 in difference["what"]


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_file_that_was_cut_short_is_told_in_a_sentence(tampered: Tampered, kept: float) -> None:
    size = tampered.ledger.stat().st_size
    with tampered.ledger.open("r+b") as file:
        file.truncate(int(size * kept) // PAGE_BYTES * PAGE_BYTES)
    answer = leashd("verify", "--ledger", tampered.ledger)
    assert answer.returncode == 1
    assert "cut short" in answer.stdout + answer.stderr


def test_a_file_that_is_no_ledger_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("dear ledger\n" * 1_000)
    (tmp_path / "empty").touch()
    for name in ("text", "empty", "nowhere"):
        answer = leashd("verify", "--ledger", tmp_path / name)
        assert answer.returncode == 1
        assert (answer.stdout + answer.stderr).count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "text"]
    assert leashd("verify").returncode == 2


@pytest.mark.parametrize("seed", range(12))
def test_pages_of_noise_never_end_it_without_a_word(tampered: Tampered, seed: int) -> None:
    chance = random.Random(seed)
    pages = tampered.ledger.stat().st_size // PAGE_BYTES
    page = chance.randrange(2, pages)
    with tampered.ledger.open("r+b") as file:
        file.seek(page * PAGE_BYTES + (16 if seed % 2 else 0))  # with and without a page's own header
        file.write(chance.randbytes(PAGE_BYTES - 16))
    answer = leashd("verify", "--ledger", tampered.ledger)
    assert answer.returncode in (0, 1), f"seed {seed}: {answer}"  # a page that was free is nobody's loss
    assert answer.stdout, f"seed {seed}: {answer.stderr}"


def test_a_ledger_that_is_in_use_is_left_to_its_daemon(place: Place) -> None:
    daemon = place.serve()
    answer = leashd("verify", "--ledger", place.ledger)
    assert answer.returncode == 1
    assert f"pid {daemon.pid}" in answer.stderr
    assert "leashctl verify" in answer.stderr
    assert leashctl(place, "verify").returncode == 0
