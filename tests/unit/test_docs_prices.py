"""What docs/prices.md shows is what leash does: its tables are read, its commands run, its worked examples priced."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from leash.prices import PriceTable, cost, find, parse_table
from leash.prices.leash_format import MODEL_KEYS
from leash.units import NANODOLLARS_PER_DOLLAR, parse_dollars
from leash.usage import Usage
from leashctl.main import leashctl
from leashctl.price_check import COUNTS
from leashctl.price_gaps import Gap

PAGE = (Path(__file__).parents[2] / "docs" / "prices.md").read_text()

_FIELDS = {flag: field for flag, field, _ in COUNTS}
_TERM = re.compile(r"(?P<count>[0-9]+) × (?P<dollars>\$?)(?P<each>[0-9.]+)")


class Example(NamedTuple):
    """One row of the worked table."""

    file: str
    model: str
    flags: str
    by_hand: str
    cost_nanodollars: int


class Shown(NamedTuple):
    """A command as the page shows it, and what it says that the command prints."""

    command: str
    output: str


def files() -> dict[str, str]:
    """The price tables that the page tells its reader to save, by the name to save each under."""
    return dict(re.findall(r"^<!-- file: (\S+) -->\n```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))


def tables() -> dict[str, PriceTable]:
    return {name: parse_table(text.encode()) for name, text in files().items()}


def examples() -> Iterator[Example]:
    _, _, section = PAGE.partition("## Worked examples")
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 5 and "`" in cells[1]:
            file, model = re.findall(r"`([^`]+)`", cells[1])
            yield Example(file, model, cells[2].strip("`"), cells[3], parse_dollars(cells[4].rstrip(" |")))


def commands() -> Iterator[Shown]:
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = shown.partition("\n")
            yield Shown(command, output.rstrip("\n") + "\n")


def usage_of(flags: str) -> Usage:
    words = shlex.split(flags)
    given = dict(zip(words[::2], words[1::2], strict=True))
    tier = given.pop("--tier", "")
    return Usage(**{_FIELDS[flag]: int(count) for flag, count in given.items()}, service_tier=tier)  # type: ignore[arg-type]


def nanodollars_by_hand(terms: str) -> int:
    """Tokens times dollars per million, and requests times dollars, rounded up once."""
    dollars = sum(
        int(term["count"]) * Fraction(Decimal(term["each"])) / (1 if term["dollars"] else 10**6)
        for term in _TERM.finditer(terms)
    )
    return ceil(dollars * NANODOLLARS_PER_DOLLAR)


def test_the_page_has_tables_commands_and_examples() -> None:
    assert set(files()) == {"prices.json", "litellm.json"}
    assert len(list(examples())) >= 22
    assert len(list(commands())) >= 5
    # A row that the pattern does not take in would go unchecked.
    _, _, section = PAGE.partition("## Worked examples")
    assert section.count("\n| ") - 1 == len(list(examples()))


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: f"{example.model} {example.flags}")
def test_an_example_costs_what_it_says(example: Example) -> None:
    found = find(tables()[example.file], example.model, "")
    assert found is not None
    priced = cost(found[1], usage_of(example.flags))
    assert priced.total_nanodollars == example.cost_nanodollars
    assert not priced.unpriced_tool
    assert nanodollars_by_hand(example.by_hand) == example.cost_nanodollars


@pytest.mark.parametrize("shown", list(commands()), ids=lambda shown: shown.command)
def test_a_command_prints_what_it_says(shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(shown.command)
    assert program == "leashctl"
    result = CliRunner().invoke(leashctl, arguments)
    assert result.exit_code == 0, result.output
    assert result.output == shown.output


def test_every_key_and_every_gap_is_explained() -> None:
    for key in (*MODEL_KEYS, *Gap):
        assert f"`{key}`" in PAGE, key
    for flag in _FIELDS:
        assert f"`{flag}`" in PAGE, flag
