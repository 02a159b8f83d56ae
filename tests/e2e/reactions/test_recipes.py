"""The recipes of docs/reactions.md, run as hooks are, with programs in the place of those that leave the host."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.harness import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reactions.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"<!-- file: (\S+) -->\n```sh\n(.*?)```", PAGE, flags=re.DOTALL))
EVENT = {
    "LEASH_EVENT": "stopped", "LEASH_EVENT_ID": "evt_1", "LEASH_RUN": "team/nightly-7", "LEASH_REASON": "cost_budget",
    "LEASH_TOTAL_COST": "5.01", "LEASH_CALLS": "18", "LEASH_AT": "2026-07-04T15:08:05Z",
}  # fmt: skip


def run(directory: Path, name: str, **event: str) -> list[str]:
    """The arguments of what the recipe called; none where it called nothing."""
    called = directory / "called"
    for program in ("curl", "notify-send"):
        path = directory / program
        path.write_text(f'#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done > {called}\n')
        path.chmod(0o700)
    for file in (".slack-webhook", ".pagerduty-key"):
        (directory / file).write_text(f"the-{file[1:]}\n")
    recipe = directory / name
    recipe.write_text(RECIPES[name])
    recipe.chmod(0o700)
    environ = {"PATH": f"{directory}:{os.environ['PATH']}", "HOME": str(directory), "XDG_RUNTIME_DIR": "/run/user/1"}
    subprocess.run((str(recipe),), check=True, env=environ | EVENT | event)
    return called.read_text().split("\0")[:-1] if called.exists() else []


def test_slack(tmp_path: Path) -> None:
    words = run(tmp_path, "slack.sh")

    assert words[-1] == "the-slack-webhook"
    assert json.loads(words[words.index("-d") + 1]) == {
        "text": "leash: team/nightly-7 stopped (cost_budget), $5.01 after 18 calls"
    }


def test_pagerduty(tmp_path: Path) -> None:
    words = run(tmp_path, "pagerduty.sh")
    sent = json.loads(words[words.index("-d") + 1])

    assert (sent["routing_key"], sent["event_action"], sent["dedup_key"]) == ("the-pagerduty-key", "trigger", "evt_1")
    assert sent["payload"]["summary"] == "team/nightly-7 stopped: cost_budget, $5.01"


def test_desktop(tmp_path: Path) -> None:
    assert run(tmp_path, "desktop.sh") == ["leash: team/nightly-7 stopped", "cost_budget, $5.01 after 18 calls"]


@pytest.mark.parametrize("name", ["slack.sh", "pagerduty.sh"])
def test_what_nobody_is_to_be_woken_for_calls_nothing(tmp_path: Path, name: str) -> None:
    assert run(tmp_path, name, LEASH_EVENT="finished") == []
