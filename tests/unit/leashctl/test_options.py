"""Flags and variables: which of the two counts, and which of the two an error names."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from leash.governance import Governance
from leash.v1 import types_pb2
from leashctl.options import (
    DEFAULTS,
    changed_limit_options,
    endpoint_options,
    limit_options,
    named_daemon,
    shim_options,
)

SECOND_NS = 10**9


@click.command()
@limit_options
@shim_options
def opening(**flags: Any) -> None:
    click.echo(repr(Governance.from_flags(flags)))
    click.echo(f"{flags['max_body_bytes']} {flags['upstream_header_timeout']} {flags['refusal_status']}")


@click.command()
@changed_limit_options
def changing(**flags: Any) -> None:
    click.echo(repr(Governance.from_flags(flags)))


def invoke(command: click.Command, *arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(command, arguments, env=environ)


def told(limits: Governance) -> str:
    return f"{limits!r}"


def limits_of(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output.splitlines()[0]


def test_nothing_is_given_by_default() -> None:
    result = invoke(opening)
    assert limits_of(result) == told(Governance())
    assert result.output.splitlines()[1] == f"{64 << 20} {600 * SECOND_NS} None"


def test_defaults_are_those_of_the_contract() -> None:
    assert (
        Governance(
            max_cost=5 * 10**9,
            max_calls=100,
            deadline=1800 * SECOND_NS,
            warn_at=800_000,
            on_blind="refuse",
            hold_wait=30 * SECOND_NS,
        )
        == DEFAULTS
    )


def test_every_limit_is_read() -> None:
    result = invoke(
        opening,
        *("--max-cost", "0.25", "--max-calls", "7", "--deadline", "1h30m", "--rate", "100000/1m", "--stall", "3"),
        *("--compute-rate", "0.5", "--max-cost-per-call", "1", "--warn-at", "0.5", "--on-blind", "warn"),
        *("--strict", "--observe", "--hold-wait", "0"),
    )
    assert limits_of(result) == told(
        Governance(
            max_cost=250_000_000,
            max_calls=7,
            deadline=5400 * SECOND_NS,
            rate=(100_000, 60 * SECOND_NS),
            stall=3,
            compute_rate=500_000_000,
            max_cost_per_call=10**9,
            warn_at=500_000,
            on_blind="warn",
            strict=True,
            observe=True,
            hold_wait=0,
        )
    )


def test_variable_is_read_and_the_flag_wins() -> None:
    inherited = invoke(opening, LEASH_MAX_COST="2", LEASH_STRICT="1")
    assert limits_of(inherited) == told(Governance(max_cost=2 * 10**9, strict=True))
    both = invoke(opening, "--max-cost", "3", "--no-strict", LEASH_MAX_COST="2", LEASH_STRICT="1")
    assert limits_of(both) == told(Governance(max_cost=3 * 10**9, strict=False))


def test_empty_variable_is_none() -> None:
    assert limits_of(invoke(opening, LEASH_MAX_COST="")) == told(Governance())


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--max-cost", "five"),
        ("--max-cost", "-1"),
        ("--max-cost", "nan"),
        ("--max-calls", "1.5"),
        ("--max-calls", "-1"),
        ("--deadline", "5 parsecs"),
        ("--rate", "100"),
        ("--stall", "x"),
        ("--compute-rate", "x"),
        ("--max-cost-per-call", "x"),
        ("--warn-at", "2"),
        ("--on-blind", "maybe"),
        ("--hold-wait", "soon"),
        ("--upstream", "not a url"),
        ("--max-body-bytes", "0"),
        ("--upstream-header-timeout", "x"),
        ("--refusal-status", "500"),
        ("--prices", "/nowhere/prices.json"),
    ],
)
def test_malformed_value_is_a_usage_error_that_names_where_it_is_from(flag: str, value: str) -> None:
    variable = f"LEASH_{flag.removeprefix('--').replace('-', '_').upper()}"
    typed = invoke(opening, f"{flag}={value}")
    assert typed.exit_code == 2
    assert f"'{flag}'" in typed.output
    assert "LEASH_" not in typed.output.rpartition("Error:")[2]
    inherited = invoke(opening, **{variable: value})
    assert inherited.exit_code == 2
    assert f"'{variable}'" in inherited.output
    assert f"'{flag}'" not in inherited.output.rpartition("Error:")[2]


@pytest.mark.parametrize("variable", ["LEASH_STRICT", "LEASH_OBSERVE", "LEASH_NO_INJECT"])
def test_malformed_switch_is_a_usage_error_that_names_the_variable(variable: str) -> None:
    result = invoke(opening, **{variable: "perhaps"})
    assert result.exit_code == 2
    assert f"'{variable}'" in result.output


def test_change_reads_no_variable() -> None:
    changed = invoke(changing, "--max-calls", "0", LEASH_MAX_COST="99", LEASH_STRICT="1")
    assert limits_of(changed) == told(Governance(max_calls=0))


def test_limits_on_the_wire_are_absent_where_they_are_not_given() -> None:
    assert not Governance().to_wire().ListFields()
    wire = Governance(max_cost=0, rate=(5, 6), on_blind="allow", strict=False).to_wire()
    assert wire.HasField("max_cost_nanodollars")
    assert (wire.rate_tokens, wire.rate_window_ns) == (5, 6)
    assert wire.on_blind == types_pb2.BLIND_POLICY_ALLOW
    assert wire.HasField("strict")
    assert not wire.HasField("max_calls")


@click.group()
@endpoint_options
def program() -> None:
    pass


@program.command()
@endpoint_options
def command() -> None:
    click.echo(repr(named_daemon()))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["command"], (None, None)),
        (["--db", "a", "command"], (None, "a")),
        (["command", "--db", "b"], (None, "b")),
        (["--db", "a", "command", "--db", "b"], (None, "b")),
        (["--socket", "a", "command", "--db", "b"], (None, "b")),
        (["--socket", "s", "--db", "a", "command"], ("s", "a")),
    ],
)
def test_daemon_that_is_named_after_the_command_counts(
    arguments: list[str], named: tuple[str | None, str | None]
) -> None:
    assert CliRunner().invoke(program, arguments).output == f"{named!r}\n"
