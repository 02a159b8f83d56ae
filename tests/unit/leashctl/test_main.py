"""The two programs: which arguments are a command, and which are a program to wrap."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from leashctl.main import Alias, leash, leashctl


class Stop(Exception):  # noqa: N818
    """Ends the parsing once it is known which command it came to."""


@pytest.mark.parametrize(
    ("arguments", "command", "rest"),
    [
        (["ps"], "ps", []),
        (["--db", "x", "ps", "--all"], "ps", ["--all"]),
        (["--db=x", "kill", "a"], "kill", ["a"]),
        (["--", "ps"], "wrap", ["--", "ps"]),
        (["python", "agent.py"], "wrap", ["python", "agent.py"]),
        (["--max-cost", "5", "--", "python"], "wrap", ["--max-cost", "5", "--", "python"]),
        (["--socket", "s", "--max-cost", "5", "ps"], "wrap", ["--max-cost", "5", "ps"]),
        (["wrap", "--", "ls"], "wrap", ["--", "ls"]),
        (["serve", "--insecure"], "serve", ["--insecure"]),
    ],
)
def test_alias_implies_wrap(
    arguments: list[str], command: str, rest: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(_self: Alias, _context: click.Context, args: list[str]) -> None:
        raise Stop(args)

    monkeypatch.setattr(Alias, "resolve_command", resolve)
    result = CliRunner().invoke(leash, arguments)
    assert isinstance(result.exception, Stop), result.output
    assert result.exception.args[0] == [command, *rest]


def test_leashctl_implies_nothing() -> None:
    result = CliRunner().invoke(leashctl, ["python"])
    assert result.exit_code == 2
    assert "No such command 'python'" in result.output


@pytest.mark.parametrize("program", [leashctl, leash])
def test_every_command_has_help_with_examples(program: click.Group) -> None:
    names = program.list_commands(click.Context(program))
    listing = CliRunner().invoke(program, ["--help"])
    assert listing.exit_code == 0
    for name in names:
        assert f"\n  {name} " in listing.output
        result = CliRunner().invoke(program, [name, "--help"])
        assert result.exit_code == 0
        assert "Examples:" in result.output


def test_version_is_the_distributions() -> None:
    result = CliRunner().invoke(leashctl, ["--version"], prog_name="leashctl")
    assert result.exit_code == 0
    assert result.output.startswith("leashctl 0.")


def test_nothing_heavy_is_imported_before_a_program_is_started() -> None:
    code = (
        "import sys, leashctl.main, leashctl.wrap, leashctl.price_file, leash.client.paths, leash_shim.mounts\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"aiohttp", "anyio", "asyncio", "google", "grpc", "hypercorn", "msgspec", "psutil", "rich", "uvloop"}
    assert not heavy & set(imported)
