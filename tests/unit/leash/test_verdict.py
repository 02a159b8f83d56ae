"""What an audit came to, in words and as a record."""

from __future__ import annotations

import pytest

from leash.verdict import Contradiction, Verdict, progress_line


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
    ("contradiction", "lines"),
    [
        (Contradiction(what="it is gone"), ["the ledger: it is gone"]),
        (Contradiction(what="it is gone", run="r"), ["run r: it is gone"]),
        (
            Contradiction(what="it differs", run="r", seq=3, stored="1", refolded="2"),
            ["run r, entry 3: it differs", "  stored:   1", "  refolded: 2"],
        ),
    ],
)
def test_a_difference_is_named(contradiction: Contradiction, lines: list[str]) -> None:
    verdict = Verdict(ledger="/l.db", runs=0, entries=2, contradiction=contradiction)
    assert verdict.lines() == lines
    record = verdict.record()
    assert record["whole"] is False
    assert record["difference"] == {
        "run": contradiction.run or None,
        "seq": contradiction.seq or None,
        "what": contradiction.what,
        "stored": contradiction.stored or None,
        "refolded": contradiction.refolded or None,
    }


def test_progress_has_a_percentage_where_there_is_one() -> None:
    assert progress_line(1, 50, 200) == "1 run, 50 entries refolded (25 %)"
    assert progress_line(0, 0, 0) == "0 runs, 0 entries refolded"
