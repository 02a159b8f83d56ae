"""What commands refuse before they ask any daemon, and the small ones that need none."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from leashctl.main import leashctl


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"LEASH_DB": str(tmp_path / "l.db"), "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}


def invoke(environ: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(leashctl, arguments, env=environ)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kill"], "--all"),
        (["kill", "a", "--all"], "--all"),
        (["kill", "a b"], "is no name for a run"),
        (["raise", "a"], "--resume"),
        (["raise", "a", "--max-cost", "x"], "'--max-cost'"),
        (["resolve", "a", "0011"], "--release"),
        (["resolve", "a", "0011", "--cost", "1", "--release"], "--release"),
        (["resolve", "a", "xyz", "--release"], "is no call"),
        (["resolve", "a", "001", "--release"], "even number"),
        (["resolve", "a", "00" * 17, "--release"], "is no call"),
        (["inspect"], "RUN"),
        (["wrap"], "COMMAND"),
        (["verify", "a b"], "is no name for a run"),
        (["backup"], "FILE"),
        (["restore", "nowhere.db"], "does not exist"),
        (["prune"], "--older-than"),
        (["prune", "--older-than", "soon"], "is no duration"),
        (["fake-provider", "--listen", "nowhere"], "is no address"),
    ],
)
def test_mistake_is_a_usage_error(environ: dict[str, str], arguments: list[str], said: str) -> None:
    result = invoke(environ, *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        *(["inspect", "a"], ["kill", "a"], ["raise", "a", "--resume"], ["resolve", "a", "0011", "--release"]),
        *(["verify"], ["export"], ["backup", "-"], ["prune", "--older-than", "1d"]),
    ],
)
def test_no_ledger_is_made_for_a_question(environ: dict[str, str], arguments: list[str]) -> None:
    result = invoke(environ, *arguments)
    assert result.exit_code == 1
    assert "there is no ledger at" in result.output
    assert not Path(environ["LEASH_DB"]).exists()


def test_ps_of_a_fresh_host_is_empty_and_says_how_to_begin(environ: dict[str, str]) -> None:
    result = invoke(environ, "ps")
    assert result.exit_code == 0
    assert "leashctl demo" in result.output
    assert invoke(environ, "ps", "--json").stdout == "[]\n"
    assert not Path(environ["LEASH_DB"]).exists()


def test_version_starts_no_daemon(environ: dict[str, str]) -> None:
    result = invoke(environ, "version")
    assert result.exit_code == 0
    assert "leashctl 0." in result.output
    assert "leashd is not running at" in result.output
    assert '"leashd": null' in invoke(environ, "version", "--json").output


def test_tokens_are_long_and_differ(environ: dict[str, str]) -> None:
    first, second = (invoke(environ, "gen-token").output.strip() for _ in range(2))
    assert first != second
    assert len(first) == 43
    assert first.replace("-", "").replace("_", "").isalnum()


def test_socket_that_nobody_serves_is_a_failure(environ: dict[str, str], tmp_path: Path) -> None:
    result = invoke(environ, "inspect", "a", "--socket", str(tmp_path / "none.sock"))
    assert result.exit_code == 1
    assert "no leashd answers" in result.output
