"""What a page shows is checked as far as that goes without running it: commands by the parser, data, links."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml

from tests.docs.blocks import LANGUAGES, SHELL, Block, Page, pages, tags
from tests.docs.command_lines import CommandLineError, check, command_lines, inline_commands, options
from tests.docs.steps import steps
from tests.harness import REPOSITORY

# A reason is a sentence, however short.
_FEWEST_WORDS = 3

# Flags of other programs that the prose speaks of.
_FOREIGN_FLAGS = {
    "agents.md": {"--openai-api-base", "--oss", "--settings"},
    "cli.md": {"--cache-write-"},  # the common beginning of two
    "container.md": {
        *("--cap-drop", "--format", "--profile", "--read-only"),
        *("--rm", "--security-opt", "--stop-timeout", "--tmpfs"),
    },
    "crash-testing.md": {"--soak"},
    "fuzzing.md": {"--seed"},
    "operations.md": {"--signal"},
    "prices.md": {"--cache-write-"},
}

# Where variables are named that are no option's; then fields of the journal, and what a page has made up.
_SOURCES = ("leashd", "leashctl", "leash_shim", "proto/leash", "tests/sdk")
_JOURNAL_FIELDS = {"LEASH_EVENT", "LEASH_REASON", "LEASH_USED", "LEASH_LIMIT", "LEASH_UID"}
_OWN_VARIABLES = {"gateway.md": {"LEASH_TOKEN"}}

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")

every_page = pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(REPOSITORY)))


@pytest.fixture(autouse=True)
def _no_settings_and_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The person's variables are not the page's, and the files that it names need not be here."""
    for name in [name for name in os.environ if name.startswith("LEASH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)


@pytest.fixture(scope="module")
def variables() -> set[str]:
    """The names of all variables that leash reads or sets, and of the fields of its log."""
    found = {option.envvar for option in options() if isinstance(option.envvar, str)} | _JOURNAL_FIELDS
    for folder in _SOURCES:
        for source in (REPOSITORY / folder).rglob("*.py"):
            text = source.read_text(encoding="utf-8")
            found.update(re.findall(r"\bLEASH_[A-Z_]*[A-Z]\b", text))
    return found


@every_page
def test_a_page_can_be_understood(path: Path) -> None:
    page = Page.read(path)
    steps(page)
    for block in page.blocks:
        assert block.language in LANGUAGES, f"{block.place}: {block.language!r} is no language that is checked"
        if set(block.directives) & {"exit", "background"}:
            assert block.language in SHELL, f"{block.place}: only a shell block is run"


@every_page
def test_a_block_that_is_not_run_has_a_reason(path: Path) -> None:
    for block, kind, reason in tags(Page.read(path)):
        if kind == "run by":
            runner = reason.partition(":")[0]
            assert (REPOSITORY / runner).exists(), f"{block.place}: there is no {runner}"
        words = reason.partition(":")[2] if kind == "run by" else reason
        assert len(words.split()) >= _FEWEST_WORDS, f"{block.place}: {reason!r} is no reason"


@every_page
def test_every_command_line_is_one_that_the_program_takes(path: Path) -> None:
    page = Page.read(path)
    for block in page.blocks:
        if block.language in (*SHELL, "text", "env", "dockerfile"):
            script = _commands_of(block)
            for words in command_lines(script):
                _check(block.place, words, strict=block.language in SHELL)
    for words in inline_commands(page.prose):
        _check(page.name, words, strict=False)


@every_page
def test_every_flag_and_variable_is_one_that_there_is(path: Path, variables: set[str]) -> None:
    flags = {flag for option in options() for flag in (*option.opts, *option.secondary_opts)}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", Page.read(path).prose))
    unknown = named - flags - _FOREIGN_FLAGS.get(path.name, set())
    if path.parent.name != "adr":  # a decision may speak of other programs, and of what was left
        assert not unknown, f"{path.name} names flags that leash has not, and _FOREIGN_FLAGS no other program"
    named = set(re.findall(r"\bLEASH_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))
    unknown = named - variables - _OWN_VARIABLES.get(path.name, set())
    assert not unknown, f"{path.name} names variables that leash does not read"


@every_page
def test_every_block_is_well_formed(path: Path) -> None:
    for block in Page.read(path).blocks:
        try:
            _read(block)
        except (ValueError, SyntaxError, yaml.YAMLError, configparser.Error) as error:
            raise AssertionError(f"{block.place}: {error}") from error


@every_page
def test_every_link_leads_somewhere(path: Path) -> None:
    prose = re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", Page.read(path).prose)
    for link, image in _LINK.findall(prose):
        target, _, anchor = (link or image).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (path.parent / target) if target else path
        assert there.exists(), f"{path.name}: there is no {target}"
        if anchor:
            assert anchor in _anchors(there), f"{path.name}: {target} has no heading #{anchor}"


def _check(place: str, words: list[str], *, strict: bool) -> None:
    try:
        check(words, strict=strict)
    except CommandLineError as error:
        raise AssertionError(f"{place}: {' '.join(words)}: {error}") from error


def _commands_of(block: Block) -> str:
    """The lines of a block that are commands: in a dialogue what stands behind a prompt."""
    if block.language == "console":
        whole = block.text.replace("\\\n", " ")
        return "".join(f"{line[2:]}\n" for line in whole.splitlines() if line.startswith("$ "))
    if block.language == "text":
        return "".join(
            f"{line}\n" for line in block.text.splitlines() if re.match(r"\s*(leashctl|leashd) [a-z-]", line)
        )
    return block.text


def _read(block: Block) -> None:
    """Read a block by its format. ValueError, SyntaxError and the formats' own errors."""
    reader = _READERS.get(block.language)
    if reader is not None:
        reader(block.text)


def _read_variables(text: str) -> None:
    for line in text.splitlines():
        if line and not line.startswith("#") and not re.match(r"[A-Z_0-9]+=", line):
            raise ValueError(f"{line!r} sets no variable")


def _read_script(text: str) -> None:
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr)


_READERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "toml": tomllib.loads,
    "ini": lambda text: configparser.ConfigParser(interpolation=None, strict=False).read_string(text),
    "python": lambda text: compile(text, "a page", "exec"),
    "env": _read_variables,
    "sh": _read_script,
}


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", Page.read(page).prose, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        number = 1
        unique = slug
        while unique in found:
            unique = f"{slug}-{number}"
            number += 1
        found.add(unique)
    return found
