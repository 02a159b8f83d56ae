"""Copies of the ledger's file that were taken while calls are made: each is consistent, and has what was acknowledged.

As a crash leaves it, the file of a stopped process is one. ``leashctl backup`` is the way that needs no stop.
"""

from __future__ import annotations

import random
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.faults.causes import hung
from tests.e2e.faults.site import Site
from tests.e2e.power import power_loss
from tests.e2e.power.answers import Admitted
from tests.harness import wait_until

pytestmark = pytest.mark.long

SHIMS = 3
STOPPED_COPIES, BACKUPS = 25, 6


class Load:
    """Shims that reserve and settle until they are told to end; ``acknowledged`` grows as answers come in."""

    def __init__(self, site: Site) -> None:
        self.acknowledged: list[bytes] = []
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(site, number)) for number in range(SHIMS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _work(self, site: Site, number: int) -> None:
        shim, run = site.shim(), f"run-{number}"
        shim.open(run, max_calls=1_000_000)
        while not self._ends.is_set():
            call = secrets.token_bytes(16)
            assert shim.reserve(call, run).HasField("admitted")
            self.acknowledged.append(call)
            if secrets.randbelow(5):
                shim.settle(call, run)
        shim.close()


@contextmanager
def _loaded(site: Site) -> Iterator[Load]:
    site.serve()
    load = Load(site)
    try:
        wait_until(lambda: len(load.acknowledged) > 50, "calls are made")
        yield load
    finally:
        load.end()


def _check(copy: Path, acknowledged: list[bytes]) -> None:
    assert power_loss.trouble(copy, [Admitted(call, 0) for call in acknowledged], 0) == ""


def _check_by_a_daemon(site: Site, copy: Path, acknowledged: list[bytes]) -> None:
    """A daemon serves the copy in the place of the ledger, and the audit has nothing against it."""
    assert site.end_daemon() == 0
    shutil.copyfile(copy, site.ledger)
    site.serve()
    audited = site.leashctl("verify")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    counted = 0
    for number in range(SHIMS):
        account = site.account(f"run-{number}")
        counted += account["calls"] + account["open_calls"] + account["unresolved_calls"]
    assert counted >= len(acknowledged) > 0


def test_a_copy_of_the_file_of_a_stopped_daemon_has_all_that_was_acknowledged(site: Site) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    copies: list[tuple[Path, list[bytes]]] = []
    with _loaded(site) as load:
        for number in range(STOPPED_COPIES):
            time.sleep(rng.random() / 10)
            acknowledged = list(load.acknowledged)
            with hung(site.pid):
                copy = site.workspace.root / f"copy-{number}.db"
                shutil.copyfile(site.ledger, copy)
            copies.append((copy, acknowledged))

    _check_by_a_daemon(site, *copies[-1])
    for copy, acknowledged in copies:
        _check(copy, acknowledged)


def test_a_backup_of_a_daemon_at_work_has_all_that_was_acknowledged_before_it_began(site: Site) -> None:
    backups: list[tuple[Path, list[bytes]]] = []
    with _loaded(site) as load:
        for number in range(BACKUPS):
            acknowledged = list(load.acknowledged)
            backup = site.workspace.root / f"backup-{number}.db"
            made = site.leashctl("backup", str(backup))
            assert made.returncode == 0, made.stderr
            backups.append((backup, acknowledged))

    _check_by_a_daemon(site, *backups[-1])
    for backup, acknowledged in backups:
        _check(backup, acknowledged)
