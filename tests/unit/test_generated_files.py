"""The files that are made from the program are as it would make them today, and are what they claim to be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness import PYTHON, REPOSITORY

# The macros of man(7) that the pages are made of.
MACROS = frozenset((".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".RS", ".RE", ".EX", ".EE"))
PAGES = ("leash.1", "leashctl.1", "leashd.8")


def test_they_are_as_they_are_made_today(tmp_path: Path) -> None:
    made = subprocess.run(
        [PYTHON, "docs/make.py", "all", "--output", str(tmp_path)],
        check=True,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    ).stdout.split()
    paths = sorted(Path(path).relative_to(tmp_path) for path in made)
    committed = [
        path for folder in ("man", "completions") for path in (REPOSITORY / folder).rglob("*") if path.is_file()
    ]
    assert paths == sorted(path.relative_to(REPOSITORY) for path in [*committed, REPOSITORY / "docs/cli.md"])
    stale = [str(path) for path in paths if (tmp_path / path).read_bytes() != (REPOSITORY / path).read_bytes()]
    assert stale == [], "the program has changed: run `python docs/make.py all`"


@pytest.mark.parametrize("page", PAGES)
def test_a_manual_page_has_its_sections_and_no_other_macros(page: str) -> None:
    text = (REPOSITORY / "man" / page).read_text(encoding="utf-8")
    lines = text.splitlines()
    name, _, section = page.partition(".")
    assert f'.TH {name.upper()} {section} "" leash "leash manual"' in lines
    assert {".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH OPTIONS", ".SH EXAMPLES"} <= set(lines)
    requests = {line.split()[0] for line in lines if line.startswith((".", "'"))} - {'.\\"'}
    assert requests <= MACROS
    assert re.search(r"[\x00-\x08\x0b-\x1f]", text) is None
    assert re.search(r"(?<!\\)-", "\n".join(line for line in lines if not line.startswith((".TH", ".\\")))) is None


@pytest.mark.parametrize("page", PAGES)
def test_a_manual_page_is_formatted_without_a_warning(page: str) -> None:
    if shutil.which("groff") is None:
        pytest.skip("there is no groff on this host")
    shown = subprocess.run(
        ["groff", "-ww", "-man", "-Tutf8", "-K", "utf8", str(REPOSITORY / "man" / page)],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert shown.stderr == ""
    assert "leash manual" in shown.stdout
