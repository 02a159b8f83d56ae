"""Prune: the entries of runs that nobody uses go, what they came to stays, and calls go on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leash.v1 import shim_pb2
from tests.e2e.keeping.traffic import MAX_CALLS, Traffic, exported, leashctl, settle, verdict
from tests.e2e.raw_daemon import Place, Shim

CALLS = 60
TOTALS = (
    "calls",
    "input_tokens",
    "output_tokens",
    "token_cost",
    "total_cost",
    "status",
    "reason",
    "limits",
    "declared",
)


def finished(place: Place, run: str, calls: int = CALLS) -> None:
    shim = Shim(place)
    shim.open(run, max_calls=MAX_CALLS)
    settle(shim, run, calls)
    shim.ask(close_run=shim_pb2.CloseRun(run=run))
    shim.close()


def lines_of(lines: list[dict[str, Any]], run: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    mine = [line for line in lines if line.get("run") == run and line["type"] in ("entry", "run")]
    return mine[:-1], mine[-1]


def test_a_pruned_run_keeps_its_totals_and_goes_on(place: Place) -> None:
    daemon = place.serve()
    finished(place, "old")
    finished(place, "team/old")
    traffic = Traffic(place, "busy")
    try:
        traffic.wait_for(5)
        before = exported(place)
        dry = leashctl(place, "prune", "--older-than", "0s", "--dry-run")
        assert dry.stdout == f"2 of 3 runs would be pruned: {2 * (2 * CALLS + 2)} entries\n", dry.stderr
        assert lines_of(exported(place), "old") == lines_of(before, "old")

        pruned = leashctl(place, "prune", "--older-than", "0s", "--json")
        assert pruned.returncode == 0, pruned.stderr
        assert json.loads(pruned.stdout) == {
            "dry_run": False,
            "runs_seen": 3,
            "runs_pruned": 2,
            "entries_removed": 2 * (2 * CALLS + 2),
        }
        traffic.wait_for(1)
        whole = leashctl(place, "verify")
        assert (whole.returncode, whole.stdout.startswith("3 runs, ")) == (0, True), whole.stdout

        after = exported(place)
        [checkpoint], account = lines_of(after, "old")
        _, account_before = lines_of(before, "old")
        assert (checkpoint["kind"], checkpoint["seq"], "actor_uid" in checkpoint) == ("checkpoint", 2 * CALLS + 3, True)
        assert account["last_seq"] == checkpoint["seq"]
        for name in TOTALS:
            assert account[name] == account_before[name] == checkpoint["account"][name]
        assert len(lines_of(after, "busy")[0]) > 10

        # A second time there is nothing left to do.
        again = leashctl(place, "prune", "--older-than", "0s")
        assert again.stdout == "0 of 3 runs pruned: 0 entries\n"
    finally:
        traffic.stop()

    finished(place, "old", 5)
    entries, account = lines_of(exported(place), "old")
    assert [entry["seq"] for entry in entries] == list(range(2 * CALLS + 3, 2 * CALLS + 3 + 13))
    assert account["calls"] == CALLS + 5
    assert leashctl(place, "verify").returncode == 0
    assert daemon.terminate() == 0
    assert verdict(place.ledger)["whole"]


def test_a_run_in_use_or_of_late_is_left_alone(place: Place) -> None:
    place.serve()
    finished(place, "fresh", 1)
    shim = Shim(place)
    shim.open("open", max_calls=5)
    shim.open("unresolved", max_calls=5)
    shim.reserve(b"c" * 16, "unresolved")
    shim.ask(abandon=shim_pb2.Abandon(call_id=b"c" * 16, run="unresolved"))
    shim.ask(close_run=shim_pb2.CloseRun(run="unresolved"))

    assert leashctl(place, "prune", "--older-than", "90d").stdout == "0 of 3 runs pruned: 0 entries\n"
    assert leashctl(place, "prune", "--older-than", "0s").stdout == "1 of 3 runs pruned: 4 entries\n"
    shim.close()


@pytest.mark.long
def test_pruned_pages_are_used_again(place: Place) -> None:
    place.serve()
    for _ in range(3):
        finished(place, "r", 300)
        leashctl(place, "prune", "--older-than", "0s")
    size = place.ledger.stat().st_size
    for _ in range(3):
        finished(place, "r", 300)
        leashctl(place, "prune", "--older-than", "0s")
    assert place.ledger.stat().st_size <= size * 1.2


@pytest.mark.parametrize("arguments", [(), ("--older-than", "soon"), ("--older-than", "-1d")])
def test_how_old_has_to_be_said(place: Place, arguments: tuple[str, ...]) -> None:
    assert leashctl(place, "prune", *arguments).returncode == 2
