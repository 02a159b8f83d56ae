"""DESIGN 4.2, the ledger's clock: boot time within a boot, else max(wall clock, last committed)."""

from __future__ import annotations

import time

import pytest

from leashd import clock
from leashd.clock import LedgerClock
from leashd.ledger.protocol import ClockRecord
from tests.unit.leashd.play import HOUR, SECOND, START


class Host:
    """The clocks of a host, set by hand."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.boot, self.boot_ns, self.wall_ns = "boot-1", 100 * SECOND, START
        patch.setattr(clock, "_boot_ns", lambda: self.boot_ns)
        patch.setattr(clock, "_boot_id", lambda: self.boot)
        patch.setattr(time, "time_ns", lambda: self.wall_ns)

    def pass_time(self, duration_ns: int) -> None:
        self.boot_ns += duration_ns
        self.wall_ns += duration_ns


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_a_new_ledger_begins_at_the_wall_clock(host: Host) -> None:
    assert LedgerClock(None).now_ns() == host.wall_ns


def test_it_runs_with_the_boot_clock(host: Host) -> None:
    ledger = LedgerClock(None)
    host.pass_time(HOUR)

    assert ledger.now_ns() == START + HOUR


@pytest.mark.parametrize("step_ns", [-100 * HOUR, 100 * HOUR])
def test_a_step_of_the_wall_clock_moves_nothing_within_a_boot(host: Host, step_ns: int) -> None:
    ledger = LedgerClock(None)
    host.wall_ns += step_ns
    assert ledger.now_ns() == START

    record = ledger.record(START)
    host.pass_time(SECOND)
    assert LedgerClock(record).now_ns() == START + SECOND, "nor over a restart of the daemon"


def test_the_time_for_which_the_daemon_was_away_has_passed_too(host: Host) -> None:
    record = LedgerClock(None).record(START)
    host.pass_time(HOUR)

    assert LedgerClock(record).now_ns() == START + HOUR


@pytest.mark.parametrize(("wall_ns", "begins_ns"), [(START + HOUR, START + HOUR), (START - HOUR, START)])
def test_after_a_reboot_it_is_the_wall_clock_or_the_last_commit_whichever_is_later(
    host: Host, wall_ns: int, begins_ns: int
) -> None:
    record = LedgerClock(None).record(START)
    host.boot, host.boot_ns, host.wall_ns = "boot-2", SECOND, wall_ns

    assert LedgerClock(record).now_ns() == begins_ns


@pytest.mark.parametrize("boot", ["", "boot-1"])
def test_a_boot_clock_that_began_anew_is_another_boot_whatever_it_is_called(host: Host, boot: str) -> None:
    host.boot = boot
    record = LedgerClock(None).record(START)
    host.boot_ns, host.wall_ns = SECOND, START - HOUR

    assert LedgerClock(record).now_ns() == START


def test_a_host_that_names_no_boot_never_runs_backwards(host: Host) -> None:
    host.boot = ""
    record = LedgerClock(None).record(START)
    host.pass_time(SECOND)
    host.wall_ns -= HOUR

    assert LedgerClock(record).now_ns() == START


def test_what_is_recorded_is_the_instant_that_was_given(host: Host) -> None:
    ledger = LedgerClock(None)
    now_ns = ledger.now_ns()
    host.pass_time(HOUR)

    assert ledger.record(now_ns) == ClockRecord(boot_id="boot-1", ledger_ns=START, boot_ns=100 * SECOND)


def test_the_real_clock_goes_forward() -> None:
    ledger = LedgerClock(None)
    first = ledger.now_ns()
    again = LedgerClock(ledger.record(first))

    assert first <= again.now_ns() <= ledger.now_ns()
    assert abs(first - time.time_ns()) < 10 * SECOND
