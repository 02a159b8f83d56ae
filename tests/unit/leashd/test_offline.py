"""A ledger in the hands of a command: nobody else has it, and nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leashd.lock import LedgerLock
from leashd.offline import OfflineError, held, taken


def test_a_ledger_is_locked_for_as_long_as_it_is_held(tmp_path: Path) -> None:
    ledger = tmp_path / "leash.db"
    ledger.touch()
    with taken(ledger):
        assert (tmp_path / "leash.db.pid").read_text().split() == [str(os.getpid())]
        with pytest.raises(OfflineError, match=f"pid {os.getpid()}.*leashctl verify"), taken(ledger):
            pass
    assert list(tmp_path.iterdir()) == [ledger]
    LedgerLock(ledger).acquire()


def test_the_file_of_a_daemons_lock_stays(tmp_path: Path) -> None:
    ledger = tmp_path / "leash.db"
    ledger.touch()
    lock = LedgerLock(ledger)
    lock.acquire()
    lock.release(remove=False)
    with taken(ledger):
        pass
    assert (tmp_path / "leash.db.pid").exists()


def test_where_there_is_no_ledger_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(OfflineError, match="there is no ledger"), taken(tmp_path / "leash.db"):
        pass
    with pytest.raises(OfflineError, match="cannot be used"), held(tmp_path / "no" / "leash.db", tmp_path.stat()):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_between_gives_it_back(tmp_path: Path) -> None:
    ledger = tmp_path / "leash.db"
    ledger.touch()
    with pytest.raises(ZeroDivisionError), taken(ledger):
        raise ZeroDivisionError
    with taken(ledger):
        pass
