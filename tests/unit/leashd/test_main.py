"""The command line of leashd: what has no command serves."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from leashd.main import main


def said(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments, prog_name="leashd")
    return result.exit_code, result.output


def test_help_lists_what_serving_takes_and_the_other_commands() -> None:
    code, output = said("--help")
    assert code == 0
    for text in ("--ledger", "--socket", "--idle-exit", "\n  verify ", "\n  restore ", "Examples:", "leashd verify"):
        assert text in output


@pytest.mark.parametrize("command", ["serve", "verify", "restore"])
def test_each_command_has_help_with_examples(command: str) -> None:
    code, output = said(command, "--help")
    assert (code, "Examples:" in output, "--ledger" in output) == (0, True, True)
    assert "--way" not in output


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "no ledger: name it with --ledger or in a configuration file"),
        (("--socket", "s"), "no ledger: name it with --ledger"),
        (("--ledger", "l"), "no socket: name it with --socket"),
        (("--ledger", "l", "--socket", "s", "--group", "g"), "go with --system"),
        (("--config", "/nowhere/leashd.toml"), "/nowhere/leashd.toml cannot be read: No such file"),
        (("--ledgr", "l"), "No such option '--ledgr'"),
        (("--ledger", "l", "--socket", "s", "extra"), "unexpected extra argument"),
        (("verfy",), "No such command 'verfy'"),
        (("verify",), "Missing option '--ledger'"),
        (("restore", "--ledger", "l"), "Missing argument 'BACKUP'"),
    ],
)
def test_mistakes_are_usage_errors(arguments: tuple[str, ...], error: str) -> None:
    code, output = said(*arguments)
    assert (code, error in output) == (2, True), output


def test_version() -> None:
    code, output = said("--version")
    assert (code, output.startswith("leashd, version 0.")) == (0, True)
