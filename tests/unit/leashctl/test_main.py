"""The two programs: which arguments are a command, and which are a program to wrap."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from leashctl.main import Alias, leash, leashctl
from leashd.main import main as leashd


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
        assert "Exit code: " in result.output


def commands_below(group: click.Group, ctx: click.Context) -> list[click.Command]:
    found = []
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        found.append(command)
        if isinstance(command, click.Group):
            found += commands_below(command, click.Context(command, parent=ctx))
    return found


@pytest.mark.parametrize("program", [leashctl, leashd])
def test_each_flag_says_what_it_is_and_json_is_the_same_everywhere(program: click.Group) -> None:
    options = [
        (command.name, param)
        for command in commands_below(program, click.Context(program))
        for param in command.params
        if isinstance(param, click.Option) and not param.hidden
    ]
    assert [(name, option.name) for name, option in options if not option.help] == []
    told = {option.help for _, option in options if "--json" in option.opts}
    assert told <= {"Print one JSON object.", "Print a JSON array of objects.", "Print one JSON object a line."}


def test_what_shows_or_changes_a_run_can_be_read_by_scripts() -> None:
    context = click.Context(leashctl)
    for name in ("ps", "inspect", "kill", "raise", "resolve", "verify", "prune", "version"):
        command = leashctl.get_command(context, name)
        assert command is not None
        assert any("--json" in param.opts for param in command.params), name


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
