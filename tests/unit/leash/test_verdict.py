"""What an audit came to, in words and as a record."""

from __future__ import annotations

import pytest

from leash.verdict import Difference, Verdict, progress_line


@pytest.mark.parametrize(
    ("runs", "entries", "line"),
    [
        (0, 0, "0 runs, 0 entries: the ledger is whole"),
        (1, 1, "1 run, 1 entry: the ledger is whole"),
        (12, 3456, "12 runs, 3456 entries: the ledger is whole"),
    ],
)
def test_a_whole_ledger(runs: int, entries: int, line: str) -> None:
    verdict = Verdict(ledger="/l.db", runs=runs, entries=entries)
    assert verdict.lines() == [line]
    assert verdict.record() == {
        "ledger": "/l.db",
        "whole": True,
        "runs": runs,
        "entries": entries,
        "difference": None,
    }


@pytest.mark.parametrize(
    ("difference", "lines"),
    [
        (Difference(what="it is gone"), ["the ledger: it is gone"]),
        (Difference(what="it is gone", run="r"), ["run r: it is gone"]),
        (
            Difference(what="it differs", run="r", seq=3, stored="1", refolded="2"),
            ["run r, entry 3: it differs", "  stored:   1", "  refolded: 2"],
        ),
    ],
)
def test_a_difference_is_named(difference: Difference, lines: list[str]) -> None:
    verdict = Verdict(ledger="/l.db", runs=0, entries=2, difference=difference)
    assert verdict.lines() == lines
    record = verdict.record()
    assert record["whole"] is False
    assert record["difference"] == {
        "run": difference.run or None,
        "seq": difference.seq or None,
        "what": difference.what,
        "stored": difference.stored or None,
        "refolded": difference.refolded or None,
    }


def test_progress_has_a_percentage_where_there_is_one() -> None:
    assert progress_line(1, 50, 200) == "1 run, 50 entries refolded (25 %)"
    assert progress_line(0, 0, 0) == "0 runs, 0 entries refolded"
