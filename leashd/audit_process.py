"""The audit in a process of its own.

It takes no time from the daemon's calls, and damaged pages that end who reads them end nobody else.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from leash import programs
from leash.verdict import Difference, Verdict
from leashd.audit import Progress, audit
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import LedgerDamagedError, LedgerError, LedgerOutdatedError

_NICENESS = 10  # calls come first
_LAST_BYTES = 2_000  # of what the process had to say, where it failed

# What ends a process that reads damaged pages, by a bad address or by LMDB's own checks.
_DAMAGE_SIGNALS = {-number for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)}


class Way(StrEnum):
    """How the process opens the ledger."""

    BESIDE = "beside"  # a daemon has it open
    ALONE = "alone"  # nobody has it open
    MIGRATING = "migrating"  # nobody has it open, and it may first be brought to this leashd's schema


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line that the process writes: how far it is, and, where ``done``, what it came to.

    ``trouble`` says why the ledger could not be looked at.
    """

    runs: int = 0
    entries: int = 0
    total_entries: int = 0
    done: bool = False
    difference: Difference | None = None
    trouble: str = ""
    unknown_run: bool = False
    as_of_ns: int = 0  # the ledger's time


_encode = msgspec.json.Encoder().encode
read_state: Callable[[bytes], State] = msgspec.json.Decoder(State).decode
"""A line that the process has written. Raises msgspec.DecodeError."""


def command(ledger: Path | str, way: Way, run: str = "") -> list[str]:
    """The command line of the process, which neither the directory where it begins nor the name of a run steers."""
    options = ["--ledger", str(ledger), "--way", way]
    return programs.command("leashd", "verify", *options, "--", *([run] if run else []))


def states(ledger: Path, way: Way, run: str = "") -> Iterator[State]:
    """Runs the process, and gives what it writes; the last one is done. It ends with whoever leaves this."""
    with subprocess.Popen(  # noqa: S603 - this interpreter, and paths as arguments
        command(ledger, way, run), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        state = State()
        try:
            for line in process.stdout:
                state = read_state(line)
                yield state
            said = process.stderr.read()
        except BaseException:
            process.kill()
            raise
    if not state.done:
        yield died(state, process.returncode, said)


def died(last: State, returncode: int, said: bytes) -> State:
    """What it comes to where the process has ended without having said so."""
    if returncode in _DAMAGE_SIGNALS:
        what = (
            f"the file's pages are damaged: {signal.Signals(-returncode).name} has ended the process that read them, "
            f"after {last.entries} entries"
        )
        return State(runs=last.runs, entries=last.entries, done=True, difference=Difference(what))
    how = signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"
    tail = said[-_LAST_BYTES:].decode(errors="replace").strip()
    return State(done=True, trouble=f"the audit's process has failed ({how})" + (f": {tail}" if tail else ""))


def verdict(state: State, ledger: Path) -> Verdict:
    """What the process came to, for people and scripts. The state is one that is done, and without trouble."""
    return Verdict(ledger=str(ledger), runs=state.runs, entries=state.entries, difference=state.difference)


def look(ledger: Path, way: Way, run: str, write: Callable[[bytes], Any]) -> None:
    """The process itself: audits the ledger, and writes each state as a line."""

    def tell(state: State) -> None:
        write(_encode(state) + b"\n")

    if way is Way.BESIDE:
        os.nice(_NICENESS)
    try:
        opened = _opened(ledger, way)
    except LedgerDamagedError as error:
        tell(State(done=True, difference=Difference(str(error))))
        return
    except LedgerError as error:
        tell(State(done=True, trouble=str(error)))
        return
    tell(_audited(opened, run, tell))


def _opened(ledger: Path, way: Way) -> LmdbLedger:
    if not ledger.stat().st_size:
        raise LedgerError(f"{ledger} is no ledger: it is empty")
    try:
        return LmdbLedger(ledger, read_only=True, alone=way is not Way.BESIDE)
    except LedgerOutdatedError:
        if way is not Way.MIGRATING:
            raise
    LmdbLedger(ledger, alone=True).close()
    return LmdbLedger(ledger, read_only=True, alone=True)


def _audited(ledger: LmdbLedger, run: str, tell: Callable[[State], None]) -> State:
    def progress(at: Progress) -> None:
        tell(State(runs=at.runs, entries=at.entries, total_entries=at.total_entries))

    try:
        clock = ledger.clock()
        report = audit(ledger, run=run, progress=progress)
    except KeyError:
        return State(done=True, unknown_run=True, trouble=f"no run {run}")
    except LedgerError as error:
        return State(done=True, difference=Difference(str(error)))
    return State(
        runs=report.runs,
        entries=report.entries,
        done=True,
        difference=report.difference,
        as_of_ns=clock.ledger_ns if clock is not None else 0,
    )
