"""The terminal demo of the README shows what the demo prints today, and a word that it does not print is found."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness import PYTHON, REPOSITORY

_RECORD = REPOSITORY / "docs" / "record.py"
_PICTURE = REPOSITORY / "docs" / "demo.svg"


def test_one_spoiled_word_is_all_in_which_the_recording_differs_from_a_run_of_today(tmp_path: Path) -> None:
    spoiled = tmp_path / "demo.svg"
    spoiled.write_text(_PICTURE.read_text(encoding="utf-8").replace("cost_budget", "cost_bucket", 1), encoding="utf-8")
    command = [PYTHON, str(_RECORD), "--check", "--picture", str(spoiled)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert checked.returncode == 1, checked.stderr
    changed = [
        line for line in checked.stderr.splitlines() if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")
    ]
    refusal = "call 5: 429 leash stopped run demo-00000000: {} ($0.10 of $0.10 after 4 calls)"
    assert changed == [f"-{refusal.format('cost_bucket')}", f"+{refusal.format('cost_budget')}"], checked.stderr
