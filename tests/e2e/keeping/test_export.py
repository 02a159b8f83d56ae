"""The export: every entry of each run, and the account that is the sum of exactly those."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from leash.v1 import shim_pb2, types_pb2
from tests.e2e.keeping.traffic import LEASHCTL, Traffic, exported, leashctl, settle
from tests.e2e.raw_daemon import WAIT_S, Place, Shim

CALL = b"0123456789abcdef"


def by_run(lines: list[dict[str, Any]]) -> dict[str, tuple[list[dict[str, Any]], dict[str, Any]]]:
    """The entries and the account of each run; the account's line follows its entries."""
    runs: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {}
    entries: list[dict[str, Any]] = []
    for line in lines[1:-1]:
        if line["type"] == "entry":
            entries.append(line)
        else:
            assert {entry["run"] for entry in entries} == {line["run"]}
            runs[line["run"]] = (entries, line)
            entries = []
    assert entries == []
    return runs


def test_an_export_under_load_has_each_run_whole(place: Place) -> None:
    place.serve()
    traffic = Traffic(place, "a", "b", "team/c")
    try:
        traffic.wait_for(30)
        lines = exported(place)
        traffic.wait_for(1)
    finally:
        traffic.stop()

    header, end = lines[0], lines[-1]
    assert (header["type"], header["format"], header["ledger"]) == ("header", 1, str(place.ledger))
    assert (header["run"], header["own_runs_only"]) == (None, False)
    runs = by_run(lines)
    assert list(runs) == ["a", "b", "team/c"]
    assert (end["type"], end["runs"], end["entries"]) == ("end", 3, sum(len(entries) for entries, _ in runs.values()))
    for entries, account in runs.values():
        assert [entry["seq"] for entry in entries] == list(range(1, account["last_seq"] + 1))
        kinds = Counter(entry["kind"] for entry in entries)
        assert account["calls"] == kinds["settled"] >= 30
        assert account["open_calls"] == kinds["reserved"] - kinds["settled"]
        assert account["input_tokens"] == sum(entry["input_tokens"] for entry in entries if entry["kind"] == "settled")


@pytest.mark.long
def test_a_run_longer_than_a_page_is_exported_whole(place: Place) -> None:
    place.serve()
    traffic = Traffic(place, "long", "short")
    try:
        while traffic.settled["long"] <= 1_050:  # more than 2,048 entries
            traffic.wait_for(50)
    finally:
        settled = traffic.stop()

    [(entries, account)] = by_run(exported(place, "long")).values()
    assert len(entries) == account["last_seq"] == 2 * settled["long"] + 2
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))


def test_an_auditor_finds_what_became_of_each_call(place: Place) -> None:
    place.serve()
    shim = Shim(place)
    shim.open("r", max_calls=100)
    settle(shim, "r")
    shim.reserve(CALL)
    shim.ask(abandon=shim_pb2.Abandon(call_id=CALL, run="r", known=types_pb2.Usage(input_tokens=3)))
    assert leashctl(place, "resolve", "r", CALL.hex()[:8], "--cost", "0.25").returncode == 0
    assert shim.settle(CALL).WhichOneof("kind") == "closed"
    assert leashctl(place, "kill", "r").returncode == 0
    assert leashctl(place, "raise", "r", "--resume").returncode == 0
    shim.ask(close_run=shim_pb2.CloseRun(run="r"))
    shim.close()

    [(entries, account)] = by_run(exported(place, "r")).values()
    opened, reserved, settled = entries[:3]
    assert (opened["kind"], opened["new_episode"], opened["declared"]["max_calls"]) == ("opened", True, 100)
    assert (reserved["kind"], reserved["session"], reserved["basis"]) == ("reserved", opened["session"], "unbudgeted")
    assert (settled["call"], settled["reserved_seq"], settled["ended_hold"]) == (reserved["call"], 2, 0)
    abandoned, resolved, late = (entry for entry in entries[3:] if entry.get("call") == CALL.hex() and entry["seq"] > 4)
    assert (abandoned["kind"], abandoned["input_tokens"], abandoned["held_cost"]) == ("abandoned", 3, 0)
    assert (resolved["kind"], resolved["cost"], "actor_uid" in resolved) == ("resolved", 0.25, True)
    assert (late["kind"], late["amends"], late["amended_cost"], late["cost"]) == ("settled", True, 0.25, 0)
    stopped, raised, closed = entries[-3:]
    assert (stopped["kind"], stopped["reason"]) == ("stopped", "kill_switch")
    assert (raised["kind"], raised["lifted"]) == ("raised", True)
    assert (closed["kind"], closed["session"], closed["until"] >= raised["at"]) == ("closed", opened["session"], True)
    assert (account["status"], account["calls"], account["unresolved"], account["openers"]) == ("finished", 2, [], 0)
    assert account["declared"]["max_calls"] == 100


def test_every_field_is_in_the_documentation(place: Place) -> None:
    place.serve()
    shim = Shim(place)
    shim.open("r", max_calls=3, warn_at_ppm=500_000)
    settle(shim, "r", 3)
    assert shim.reserve(CALL).refused.reason == types_pb2.REASON_MAX_CALLS
    shim.ask(close_run=shim_pb2.CloseRun(run="r"))
    shim.open("s", max_calls=3)
    shim.reserve(CALL, "s")
    shim.ask(void=shim_pb2.Void(run="s", call_id=CALL))
    shim.ask(close_run=shim_pb2.CloseRun(run="s"))
    before = exported(place)
    assert leashctl(place, "prune", "--older-than", "0s").returncode == 0
    lines = [*before, *exported(place)]
    shim.close()

    kinds = {line["kind"] for line in lines if line["type"] == "entry"}
    assert kinds == {"opened", "reserved", "settled", "warned", "stopped", "voided", "closed", "checkpoint"}
    documented = (Path(__file__).parents[3] / "docs" / "ledger.md").read_text()
    fields = {name for line in lines for name in line} | {line["type"] for line in lines} | kinds
    assert [name for name in fields if f"`{name}`" not in documented] == []


def test_an_export_to_a_file_appears_whole_or_not_at_all(place: Place) -> None:
    place.serve()
    shim = Shim(place)
    shim.open("r", max_calls=5)
    shim.close()
    file = place.root / "journal.jsonl"
    file.write_text("the one before")

    unknown = leashctl(place, "export", "q", "--output", str(file))
    assert (unknown.returncode, file.read_text()) == (1, "the one before")
    assert "there is no run q" in unknown.stderr

    assert leashctl(place, "export", "--output", str(file)).stdout == ""
    assert json.loads(file.read_text().splitlines()[-1])["type"] == "end"
    assert [path for path in place.root.iterdir() if path.suffix == ".part"] == []


def test_a_reader_who_has_seen_enough_ends_an_export_quietly(place: Place) -> None:
    place.serve()
    traffic = Traffic(place, "r")
    traffic.wait_for(300)  # more than a pipe holds
    traffic.stop()
    command = [LEASHCTL, "export", "--socket", str(place.socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        assert json.loads(export.stdout.readline())["type"] == "header"
        export.stdout.close()
        assert export.stderr.read() == ""
        assert export.wait() == 1


def test_one_interruption_ends_an_export_that_nobody_reads(place: Place) -> None:
    place.serve()
    traffic = Traffic(place, "r")
    traffic.wait_for(300)  # more than a pipe holds
    traffic.stop()
    command = [LEASHCTL, "export", "--socket", str(place.socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        export.stdout.read(1)
        export.send_signal(signal.SIGINT)
        assert export.wait(WAIT_S) == 128 + signal.SIGINT
        assert export.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_output_that_is_full_is_said_in_a_sentence(place: Place) -> None:
    place.serve()
    for output in ("/dev/full", "-"):
        with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
            ended = leashctl(place, "export", "--output", output, stdout=full)
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
        assert "cannot be written: No space left on device" in ended.stderr
    assert Path("/dev/full").is_char_device()
