"""DESIGN 2: two daemons never open one ledger."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from leashd.lock import LedgerLock, LedgerLockedError


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    LedgerLock(tmp_path / "leash.db").acquire()

    assert (tmp_path / "leash.db.pid").read_text().split() == [str(os.getpid())]
    assert (tmp_path / "leash.db.pid").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["leash.db", "leash", "a.b.c"])
def test_a_second_daemon_is_refused_with_the_first_ones_pid_and_what_to_do(tmp_path: Path, name: str) -> None:
    LedgerLock(tmp_path / name).acquire()

    began_s = time.monotonic()
    with pytest.raises(LedgerLockedError) as refused:
        LedgerLock(tmp_path / name).acquire()

    assert time.monotonic() - began_s < 1, "it does not wait for a daemon that stays"
    assert f"pid {os.getpid()}" in str(refused.value)
    assert f"{tmp_path / name} is open" in str(refused.value)
    assert "--ledger" in str(refused.value)


def test_two_ledgers_of_one_directory_are_two_locks(tmp_path: Path) -> None:
    LedgerLock(tmp_path / "a.db").acquire()
    LedgerLock(tmp_path / "b.db").acquire()


def test_one_that_is_leaving_is_waited_for(tmp_path: Path) -> None:
    first, second = LedgerLock(tmp_path / "leash.db"), LedgerLock(tmp_path / "leash.db")
    first.acquire()
    first.leaving()
    leave = threading.Timer(0.2, os.close, [first._descriptor])
    leave.start()
    second.acquire()
    leave.join()

    assert (tmp_path / "leash.db.pid").read_text().split() == [str(os.getpid())]


def test_even_a_killed_holder_releases_it(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, leashd.lock as lock\n"
        "lock.LedgerLock(pathlib.Path(sys.argv[1])).acquire()\n"
        "print('held', flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "leash.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LedgerLockedError, match=f"pid {holder.pid}"):
            LedgerLock(tmp_path / "leash.db").acquire()
        holder.kill()
        holder.wait()

    LedgerLock(tmp_path / "leash.db").acquire()


def test_one_that_is_released_leaves_its_file_or_takes_it_away(tmp_path: Path) -> None:
    for remove in (False, True):
        lock = LedgerLock(tmp_path / "leash.db")
        lock.acquire()
        lock.release(remove=remove)
        assert (tmp_path / "leash.db.pid").exists() is not remove


def test_a_file_that_was_taken_away_while_it_was_waited_for_locks_nothing(tmp_path: Path) -> None:
    first, second = LedgerLock(tmp_path / "leash.db"), LedgerLock(tmp_path / "leash.db")
    first.acquire()
    first.leaving()
    leave = threading.Timer(0.2, first.release, kwargs={"remove": True})
    leave.start()
    second.acquire()
    leave.join()

    with pytest.raises(LedgerLockedError, match=f"pid {os.getpid()}"):
        LedgerLock(tmp_path / "leash.db").acquire()
