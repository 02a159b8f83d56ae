"""The power goes at any instant, in the middle of any writes: the ledger opens, and has all that was acknowledged."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.faults.site import Site
from tests.e2e.power import power_loss
from tests.e2e.power.answers import Admitted, admitted
from tests.e2e.power.ledger_writes import LedgerWrites
from tests.e2e.power.load import end_traced, serve_traced, work
from tests.e2e.power.test_write_order import NO_SYNC_OF_THE_LAST_WRITE
from tests.e2e.power.trace import read_trace
from tests.harness import Workspace

pytestmark = pytest.mark.long

SHIMS, CALLS = 4, 15
IMAGES = 300


@dataclass(frozen=True, slots=True)
class Traced:
    """What a daemon wrote and answered."""

    writes: LedgerWrites
    answers: list[Admitted]
    last_line: int


def _traced(planted: str = "") -> Traced:
    workspace = Workspace.create()
    try:
        site = Site(workspace)
        (workspace.root / "planted").mkdir()
        workspace.write("planted/sitecustomize.py", planted)
        trace = serve_traced(site, environ={"PYTHONPATH": str(workspace.root / "planted")} if planted else None)
        work(site, shims=SHIMS, calls=CALLS)
        end_traced(site, trace)
        calls = read_trace(trace)
        return Traced(LedgerWrites(calls, str(site.ledger)), admitted(calls), calls[-1].returned)
    finally:
        workspace.close()


@pytest.fixture(scope="module")
def traced() -> Traced:
    return _traced()


def _troubles(traced: Traced, path: Path, rng: random.Random, *, after: int) -> list[str]:
    troubles = []
    for _ in range(IMAGES):
        line = rng.randint(after, traced.last_line)
        path.write_bytes(power_loss.image(traced.writes, line, rng))
        if found := power_loss.trouble(path, traced.answers, line):
            troubles.append(f"line {line}: {found}")
    return troubles


def test_what_was_acknowledged_is_there_wherever_the_power_goes(traced: Traced, tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    assert len(traced.answers) == SHIMS * CALLS
    after = power_loss.first_durable(traced.writes)
    assert after < traced.answers[0].line

    assert _troubles(traced, tmp_path / "leash.db", random.Random(seed), after=after) == []


def test_no_meta_page_is_written_over_two_sectors(traced: Traced) -> None:
    sectors = power_loss.meta_sectors(traced.writes.writes)
    assert len(sectors) == 2
    assert all(first == last for first, last in sectors)


def test_a_daemon_that_syncs_too_little_is_found(tmp_path: Path) -> None:
    """Its pages are synced, so that what is left is in order, and lacks the end."""
    traced = _traced(NO_SYNC_OF_THE_LAST_WRITE)

    troubles = _troubles(traced, tmp_path / "leash.db", random.Random(1), after=traced.answers[0].line)
    assert any("are lost" in found for found in troubles)
