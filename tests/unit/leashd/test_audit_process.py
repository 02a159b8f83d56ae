"""The audit in a process of its own, and what it comes to where the process does not say it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from leash.verdict import Difference
from leashd import audit_process
from leashd.audit_process import State, Way, died, states
from tests.unit.leashd.desk import Desk, Shim


def test_a_whole_ledger_is_read_beside_its_daemon(desk: Desk, shim: Shim) -> None:
    shim.reserve(1)
    shim.settle(1)
    *_, last = states(desk.path, Way.BESIDE)
    assert (last.done, last.runs, last.entries, last.difference, last.trouble) == (True, 1, 3, None, "")
    *_, last = states(desk.path, Way.BESIDE, "r")
    assert (last.done, last.entries) == (True, 3)


def test_an_unknown_run_is_trouble(desk: Desk, shim: Shim) -> None:
    *_, last = states(desk.path, Way.BESIDE, "q")
    assert (last.done, last.unknown_run, last.trouble) == (True, True, "no run q")


@pytest.mark.parametrize("run", ["--help", "--way=alone", "-x"])
def test_what_looks_like_a_flag_is_an_unknown_run(desk: Desk, shim: Shim, run: str) -> None:
    [state] = states(desk.path, Way.BESIDE, run)
    assert state.trouble == f"no run {run}"


def test_a_module_in_the_directory_where_it_begins_is_not_run(
    desk: Desk, shim: Shim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("leashd", "msgspec", "click"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    *_, last = states(desk.path, Way.BESIDE)
    assert (last.done, last.trouble) == (True, "")


def test_a_file_that_is_empty_is_no_ledger_and_does_not_become_one(tmp_path: Path) -> None:
    (tmp_path / "leash.db").touch()
    for way in Way:
        *_, last = states(tmp_path / "leash.db", way)
        assert "it is empty" in last.trouble
    assert (tmp_path / "leash.db").stat().st_size == 0


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT])
def test_pages_that_end_their_reader_are_damaged(number: signal.Signals) -> None:
    state = died(State(runs=2, entries=9), -number, b"")
    assert (state.done, state.runs, state.trouble) == (True, 2, "")
    assert isinstance(state.difference, Difference)
    assert number.name in state.difference.what
    assert "9 entries" in state.difference.what


@pytest.mark.parametrize(("code", "how"), [(-signal.SIGKILL, "SIGKILL"), (1, "exit code 1"), (0, "exit code 0")])
def test_another_end_says_nothing_of_the_ledger(code: int, how: str) -> None:
    state = died(State(), code, b"MemoryError\n")
    assert (state.done, state.difference) == (True, None)
    assert state.trouble == f"the audit's process has failed ({how}): MemoryError"


def test_the_process_ends_with_who_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "import itertools\nfor n in itertools.count(): print('{\"entries\":%d}' % n, flush=True)"
    monkeypatch.setattr(audit_process, "command", lambda *_arguments: [sys.executable, "-c", endless])
    reading = states(tmp_path, Way.ALONE)
    assert next(reading) == State()
    assert next(reading) == State(entries=1)
    reading.close()  # it returns, since the process was ended and waited for
