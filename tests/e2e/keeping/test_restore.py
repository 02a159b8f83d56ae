"""Restore: what was there is kept, what takes its place is whole, and nobody who is at work is disturbed."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from leash.v1 import shim_pb2
from tests.e2e.keeping.traffic import leashctl, leashd, settle, verdict
from tests.e2e.raw_daemon import Place, Shim
from tests.harness import LEASHCTL, Workspace, wait_until

LEDGERS = Path(__file__).parents[2] / "ledgers"
PROGRAM = ("python3", "-c", "pass")


def backed_up(place: Place, calls: int) -> Path:
    """A backup of a ledger with some calls, and no daemon."""
    daemon = place.serve()
    shim = Shim(place)
    shim.open("r", max_calls=1_000)
    settle(shim, "r", calls)
    shim.ask(close_run=shim_pb2.CloseRun(run="r"))
    shim.close()
    copy = place.root / f"copy-{secrets.token_hex(2)}.db"
    assert leashctl(place, "backup", str(copy)).returncode == 0
    assert daemon.terminate() == 0
    return copy


def calls(place: Place) -> int:
    daemon = place.serve()
    listed = leashctl(place, "inspect", "r", "--json")
    daemon.terminate()
    assert listed.returncode == 0, listed.stderr
    return int(listed.stdout.partition('"calls": ')[2].partition(",")[0])


def test_a_restore_brings_back_what_was_then_and_keeps_what_was_there(place: Place) -> None:
    copy = backed_up(place, 3)
    backed_up(place, 4)
    left = place.root / ".leash.db.restore-0badcafe"  # by a restore that was killed
    left.write_bytes(b"half a copy")
    answer = leashd("restore", copy, "--ledger", place.ledger)
    assert answer.returncode == 0, answer.stderr

    assert not left.exists()
    [kept] = place.root.glob("leash.db.before-restore-*")
    assert f"kept as {kept}" in answer.stdout
    assert (verdict(kept)["whole"], verdict(place.ledger)["whole"]) == (True, True)
    assert stat.S_IMODE(place.ledger.stat().st_mode) == 0o600
    assert calls(place) == 3
    again = leashd("restore", kept, "--ledger", place.ledger)
    assert again.returncode == 0, again.stderr
    assert calls(place) == 7


def test_a_reader_of_the_ledger_that_was_there_does_not_empty_the_one_that_takes_its_place(place: Place) -> None:
    copy = backed_up(place, 3)
    backed_up(place, 4)
    with lmdb.open(str(place.ledger), subdir=False, max_dbs=16, map_size=1 << 30) as env:
        while env.info()["last_txnid"] % 2:  # LMDB keeps its newest two commits apart by this, and a copy has but one
            with env.begin(write=True) as txn:
                txn.put(b"schema", b"2", db=env.open_db(b"meta", txn=txn))
    # As an audit does whose daemon was killed: it has LMDB's lock file open for a moment longer.
    reads = (
        "import sys, lmdb; env = lmdb.open(sys.argv[1], subdir=False, readonly=True)\n"
        "with env.begin(): print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", reads, str(place.ledger)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        answer = leashd("restore", copy, "--ledger", place.ledger)
        assert answer.returncode == 0, answer.stderr
        assert calls(place) == 3
        assert reader.poll() is None
        reader.communicate()


def test_a_backup_that_is_not_whole_changes_nothing(place: Place) -> None:
    copy = backed_up(place, 3)
    damaged = place.root / "damaged.db"
    shutil.copy(copy, damaged)
    with lmdb.open(str(damaged), subdir=False, max_dbs=16, map_size=1 << 30, lock=False) as env:
        accounts = env.open_db(b"accounts")
        with env.begin(write=True, db=accounts) as txn:
            assert txn.delete(b"r")
    text = place.root / "text"
    text.write_text("no ledger\n" * 1_000)
    empty = place.root / "empty"
    empty.touch()
    before = sorted(path.name for path in place.root.iterdir())
    ledger = place.ledger.read_bytes()
    for bad, why in ((damaged, "run r: its account is gone"), (text, "not an LMDB file"), (empty, "it is empty")):
        answer = leashd("restore", bad, "--ledger", place.ledger)
        assert (answer.returncode, why in answer.stderr) == (1, True), answer.stderr
        assert f"{bad} is not restored, and nothing was changed" in answer.stderr
    assert leashd("restore", place.root / "nowhere", "--ledger", place.ledger).returncode == 2
    assert leashd("restore", place.ledger, "--ledger", place.ledger).returncode == 2
    assert place.ledger.read_bytes() == ledger
    assert sorted(path.name for path in place.root.iterdir()) == before


def test_a_backup_of_an_older_schema_is_migrated_on_the_way(tmp_path: Path) -> None:
    old, ledger = tmp_path / "old.db", tmp_path / "leash.db"
    stored = gzip.decompress((LEDGERS / "schema-1.db.gz").read_bytes())
    old.write_bytes(stored)
    only_read = leashd("verify", "--ledger", old)
    assert (only_read.returncode, "has schema 1" in only_read.stderr) == (1, True)

    answer = leashd("restore", old, "--ledger", ledger)
    assert answer.returncode == 0, answer.stderr
    runs = json.loads((LEDGERS / "schema-1.json").read_text())
    assert (verdict(ledger)["whole"], verdict(ledger)["runs"]) == (True, len(runs))
    assert old.read_bytes() == stored
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leash.db", "old.db"]


def test_a_ledger_that_a_daemon_has_open_is_not_replaced(place: Place) -> None:
    copy = backed_up(place, 1)
    daemon = place.serve()
    answer = leashd("restore", copy, "--ledger", place.ledger)
    assert (answer.returncode, f"pid {daemon.pid}" in answer.stderr) == (1, True)
    assert list(place.root.glob(".leash.db.restore-*")) == []

    told = leashctl(place, "restore", str(copy))
    assert told.returncode == 1
    assert f"leashd restore {copy} --ledger {place.ledger}" in told.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only an administrator can give a file to somebody")
def test_what_an_administrator_restores_stays_its_owners(place: Place) -> None:
    copy = backed_up(place, 1)
    home = place.root / "home"
    home.mkdir()
    shutil.copy(copy, home / "leash.db")
    for path in (home, home / "leash.db"):
        os.chown(path, 4711, 4712)
    assert leashd("verify", "--ledger", home / "leash.db").returncode == 0
    assert leashd("restore", copy, "--ledger", home / "leash.db").returncode == 0
    assert leashd("restore", copy, "--ledger", home / "new.db").returncode == 0
    names = {path.name: path.stat().st_uid for path in home.iterdir()}
    assert {"leash.db", "new.db"} < names.keys()
    assert set(names.values()) == {4711}


def test_a_person_restores_a_ledger_whose_daemon_is_idle(workspace: Workspace) -> None:
    def run(name: str) -> None:
        assert workspace.leashctl("wrap", "--run", name, "--", *PROGRAM).returncode == 0

    run("first")
    copy = workspace.root / "copy.db"
    backup = workspace.leashctl("backup", str(copy))
    assert backup.returncode == 0, backup.stderr
    run("second")
    [pid] = workspace.daemon_pids()

    restored = workspace.leashctl("restore", "copy.db")
    assert restored.returncode == 0, restored.stderr
    assert pid not in workspace.daemon_pids()
    assert "not in it" in restored.stdout
    assert workspace.account("first")["run"] == "first"
    unknown = workspace.leashctl("inspect", "second")
    assert (unknown.returncode, "no run second" in unknown.stderr) == (1, True)
    assert workspace.leashctl("verify").returncode == 0


def test_a_daemon_that_programs_are_connected_to_is_not_ended(workspace: Workspace) -> None:
    program = workspace.start(LEASHCTL, "wrap", "--run", "busy", "--", "python3", "-c", "import sys; sys.stdin.read()")
    wait_until(lambda: workspace.daemon_pids() and workspace.leashctl("inspect", "busy").returncode == 0, "it is open")
    copy = workspace.root / "copy.db"
    assert workspace.leashctl("backup", str(copy)).returncode == 0
    [pid] = workspace.daemon_pids()

    refused = workspace.leashctl("restore", str(copy))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "1 program is connected" in refused.stderr
    assert workspace.daemon_pids() == [pid]
    assert program.stdin is not None
    program.stdin.close()
    assert program.wait(timeout=20) == 0
