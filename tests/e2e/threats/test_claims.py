"""Each claim of docs/security.md has a test that is there, or says that leash does nothing; no test is unclaimed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness import REPOSITORY

PAGE = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def names_in(path: Path) -> set[str]:
    return set(re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip()[:60] for row in ROWS])
def test_each_claim_has_a_test_or_says_that_there_is_no_defence(row: str) -> None:
    tried, does, named = (cell.strip() for cell in re.split(r" \| |\|$", row.removeprefix("| "))[:3])
    assert tried
    assert does.endswith((".", ".**"))
    found = NAMED.findall(named)
    assert found or "not defended" in does.lower()
    assert NAMED.sub("", named).strip(" ,") == ""
    for path, name in found:
        assert name in names_in(REPOSITORY / "tests" / path), f"{path}::{name}"


def test_each_attack_that_is_tested_is_on_the_page() -> None:
    claimed = set(NAMED.findall(PAGE))
    own = Path(__file__)
    for path in own.parent.glob("test_*.py"):
        if path != own:
            names = {(str(path.relative_to(REPOSITORY / "tests")), name) for name in names_in(path)}
            assert names <= claimed, names - claimed


def test_there_is_a_table_for_each_attacker() -> None:
    assert len(ROWS) > 60
    assert PAGE.count("|---|---|---|") == 6
