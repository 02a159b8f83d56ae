"""The short run of the crash harness: two hundred kills at each of the named steps, and nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it finds its processes, and their orphans, in /proc")

KILLS = 200
LEAST_HITS = 10  # of each named step
LEAST_OPEN = 0.8  # the part of the kills that meet calls at the provider
SEED = 20

TIMEOUT_S = 600.0  # a quarter of it on an idle machine with two cores


@pytest.mark.timeout(2 * TIMEOUT_S)
def test_nothing_is_lost_whoever_is_killed_and_wherever(tmp_path: Path) -> None:
    file = tmp_path / "crash.json"
    command = [sys.executable, "-m", "tests.crash", "--kills", str(KILLS), "--seed", str(SEED), "--json", str(file)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    record = json.loads(file.read_text())
    assert record["kills"] >= KILLS
    assert record["with_open_calls"] >= LEAST_OPEN * record["kills"], done.stdout
    rarely = {step: hits for step, hits in record["hits"].items() if hits < LEAST_HITS}
    assert not rarely, done.stdout
    assert set(record["victims"]) == {"agent", "all", "leashd", "shim"}
    # The audit had something to look at.
    for figure, least in {"served": 2 * KILLS, "settled": KILLS, "unresolved": 50, "late_settles": 1}.items():
        assert record["figures"][figure] >= least, done.stdout
