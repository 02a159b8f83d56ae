"""Verify and backup of a ledger that is in use: calls go on, and what comes of it is whole."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
from collections.abc import Iterator

import lmdb
import pytest

from tests.e2e.keeping.traffic import LEASHCTL, Traffic, exported, leashctl, leashd, until, verdict
from tests.e2e.raw_daemon import WAIT_S, Place, Shim

RUNS = ("nightly", "hourly", "team/agent")


@pytest.fixture
def traffic(place: Place) -> Iterator[Traffic]:
    place.serve()
    started = Traffic(place, *RUNS)
    started.wait_for(20)
    yield started
    started.stop()


def test_a_ledger_in_use_is_verified_while_calls_go_on(place: Place, traffic: Traffic) -> None:
    before = dict(traffic.settled)
    whole = leashctl(place, "verify")
    traffic.wait_for(1)

    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.endswith("entries: the ledger is whole\n")
    assert whole.stdout.startswith("3 runs, ")
    entries = int(whole.stdout.split()[2])
    assert entries >= sum(2 * settled for settled in before.values())


def test_one_run_is_verified(place: Place, traffic: Traffic) -> None:
    one = leashctl(place, "verify", "agent", "--json")
    assert (one.returncode, json.loads(one.stdout)["whole"], json.loads(one.stdout)["runs"]) == (0, True, 1)
    assert json.loads(one.stdout)["ledger"] == str(place.ledger)

    unknown = leashctl(place, "verify", "nightli")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "did you mean nightly" in unknown.stderr


def test_a_backup_of_a_ledger_in_use_restores_to_a_whole_one(place: Place, traffic: Traffic) -> None:
    before = dict(traffic.settled)
    copy, restored = place.root / "copy.db", place.root / "elsewhere" / "leash.db"
    restored.parent.mkdir()
    backup = leashctl(place, "backup", str(copy))
    traffic.wait_for(5)
    after = dict(traffic.stop())

    assert (backup.returncode, backup.stdout) == (0, ""), backup.stderr
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    answer = leashd("restore", copy, "--ledger", restored)
    assert answer.returncode == 0, answer.stderr
    assert "not in it" in answer.stdout
    assert verdict(restored)["whole"]
    assert sorted(path.name for path in restored.parent.iterdir()) == ["leash.db"]

    other = Place(place.root / "elsewhere")
    daemon = other.serve()
    try:
        calls = {line["run"]: line["calls"] for line in exported(other) if line["type"] == "run"}
    finally:
        daemon.terminate()
    assert calls.keys() == before.keys()
    for run, settled in calls.items():
        assert before[run] <= settled < after[run]


def test_a_backup_replaces_a_file_only_when_told_to(place: Place) -> None:
    place.serve()
    copy = place.root / "copy.db"
    copy.write_text("precious")
    refused = leashctl(place, "backup", str(copy))
    assert (refused.returncode, copy.read_text()) == (1, "precious")
    assert "--force" in refused.stderr

    assert leashctl(place, "backup", str(copy), "--force").returncode == 0
    assert verdict(copy)["whole"]


def test_a_backup_goes_to_standard_output(place: Place) -> None:
    place.serve()
    copy = place.root / "copy.db"
    with copy.open("wb") as file:
        assert leashctl(place, "backup", "-", stdout=file).returncode == 0
    assert verdict(copy)["whole"]


def test_a_backup_for_which_there_is_no_room_leaves_nothing_behind(place: Place) -> None:
    place.serve()
    shim = Shim(place)
    shim.open()
    shim.close()
    target = place.root / "to"
    target.mkdir()

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, 8_192))

    full = leashctl(place, "backup", str(target / "copy.db"), preexec_fn=no_room)
    assert full.returncode == 1
    assert "copy.db cannot be written: File too large" in full.stderr
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("command", [("verify",), ("backup", "copy.db"), ("prune", "--older-than", "1d")])
def test_where_no_daemon_answers_that_is_what_is_said(place: Place, command: tuple[str, ...]) -> None:
    ended = leashctl(place, *command, cwd=place.root)
    assert ended.returncode == 1
    assert "no leashd answers" in ended.stderr
    assert list(place.root.iterdir()) == []


def test_a_daemon_that_is_told_to_end_does_not_wait_for_a_backup(place: Place) -> None:
    place.serve().terminate()
    with lmdb.open(str(place.ledger), subdir=False, max_dbs=16, map_size=1 << 30) as env:
        prices = env.open_db(b"prices")
        with env.begin(write=True, db=prices) as txn:
            for number in range(32):  # far more than is under way between the daemon, the client and its reader
                txn.put(bytes((number,)), os.urandom(1 << 20))
    daemon = place.serve()
    reading, writing = os.pipe()
    command = [LEASHCTL, "backup", "-", "--socket", str(place.socket)]
    backup = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    try:
        until(lambda: os.read(reading, 1), "the backup begins")
        assert backup.poll() is None
        assert daemon.terminate() == 0
        while os.read(reading, 1 << 20):
            pass
        _, said = backup.communicate(timeout=WAIT_S)
    finally:
        os.close(reading)
        backup.kill()
        backup.wait()
    assert backup.returncode == 1
    assert said.startswith("leash: leashd at ")
