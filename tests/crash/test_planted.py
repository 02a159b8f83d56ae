"""The harness fails where it should: with each of these bugs planted, the audit names it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.plants import KILLS, NONE
from tests.crash.round import Result
from tests.harness import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it finds its processes, and their orphans, in /proc")

TIMEOUT_S = 150.0  # a tenth of it on an idle machine

# What the audit has to say of each, of one of the calls at least.
NAMED = {
    "answered_before_commit": "and the ledger has no call",
    "settled_twice": "the call is settled already",
    "open_calls_forgotten": "was served, and voided",
    "hold_released_early": "keeps 0 of a hold",
}


def played(plant: str, directory: Path) -> Result:
    file = directory / "result.json"
    command = [sys.executable, "-m", "tests.crash.plants", plant, str(file)]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=TIMEOUT_S)
    return Result.of_json(file.read_text())


@pytest.mark.timeout(2 * TIMEOUT_S)
@pytest.mark.parametrize("plant", sorted(KILLS))
def test_a_planted_bug_is_found(plant: str, tmp_path: Path) -> None:
    result = played(plant, tmp_path)
    shutil.rmtree(result.directory, ignore_errors=True)
    assert any(NAMED[plant] in violation for violation in result.violations), result.violations


@pytest.mark.timeout(2 * TIMEOUT_S)
def test_without_one_the_same_kills_find_nothing(tmp_path: Path) -> None:
    result = played(NONE, tmp_path)
    assert not result.violations, (result.directory, result.violations)
    assert len(result.kills) == sum(map(len, KILLS.values()))
