from __future__ import annotations

import re
from pathlib import Path

import pytest

from leashd.config import Config, ConfigError, read_config
from leashd.core.reactions import Reactions

PRICES = '{"m": {"input": 1, "output": 2}}'


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "leashd.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    return [problem.replace(f"{tmp_path}/", "") for problem in raised.value.problems]


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Config(path=tmp_path / "leashd.toml")


def test_everything_that_it_may_say(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text(PRICES, encoding="utf-8")
    config = read(
        tmp_path,
        f"""
        ledger = "/var/lib/leash/leash.db"
        socket = "/run/leash/leashd.sock"
        control_socket = "/run/leash/control.sock"
        group = "leash"
        admin_group = "leash-admin"
        log_level = "warning"
        log_format = "json"
        prices = "{tmp_path}/prices.json"

        [limits]
        max_cost = 0.000000001
        max_calls = 100
        deadline = "1h30m"
        rate = "100000/1m"
        stall = 5
        compute_rate = 0.5
        max_cost_per_call = "1.00"
        warn_at = 0.75
        on_blind = "warn"
        strict = true
        observe = false
        hold_wait = "10s"

        [retention]
        finished = "90d"

        [reactions]
        webhook = "https://hooks.example/leash"
        webhook_secret_file = "/etc/leash/webhook.key"
        on_event_exec = "/usr/local/bin/tell --loud"
        hook_timeout = "5s"
        """,
    )

    assert (config.ledger, config.group) == (Path("/var/lib/leash/leash.db"), "leash")
    assert (config.log_level, config.log_format) == ("warning", "json")
    assert config.prices_table is not None
    assert config.prices_table.models == 1
    assert config.retention_ns == 90 * 86_400 * 10**9
    assert config.reactions == Reactions(
        webhook="https://hooks.example/leash",
        webhook_secret_file="/etc/leash/webhook.key",
        hook=("/usr/local/bin/tell", "--loud"),
        hook_timeout_ns=5 * 10**9,
    )
    assert dict(config.limits) == {
        "max_cost_nanodollars": 1,
        "max_calls": 100,
        "deadline_ns": 5_400 * 10**9,
        "rate_tokens": 100_000,
        "rate_window_ns": 60 * 10**9,
        "stall_replies": 5,
        "compute_rate_nanodollars_per_hour": 500_000_000,
        "max_cost_per_call_nanodollars": 10**9,
        "warn_at_ppm": 750_000,
        "on_blind": 2,
        "strict": True,
        "observe": False,
        "hold_wait_ns": 10 * 10**9,
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('ledgr = "/x"', "leashd.toml:1: unknown key ledgr: did you mean ledger?"),
        ("\n[limits]\nmax-cost = 1", "leashd.toml:3: unknown key limits.max-cost: did you mean max_cost?"),
        ("max_cost = 1", "leashd.toml:1: unknown key max_cost: it stands below a line [limits]"),
        (
            '[limits]\nlog_level = "info"',
            "leashd.toml:2: unknown key limits.log_level: it stands above the first line in brackets",
        ),
        ("[retntion]", "leashd.toml:1: unknown key retntion: did you mean retention?"),
        ('[retention]\nxyz = "1d"', "leashd.toml:2: unknown key retention.xyz: known here: finished"),
        ("[reactions]\nwebhok = ''", "leashd.toml:2: unknown key reactions.webhok: did you mean webhook?"),
        ("[reactions]\nwebhook = 'ftp://x/'", "leashd.toml:2: reactions.webhook: 'ftp://x/' is no webhook"),
        ("webhook = 'https://x/'", "leashd.toml:1: unknown key webhook: it stands below a line [reactions]"),
        ("[reactions]\non_event_exec = 'tell'", "leashd.toml:2: reactions.on_event_exec: write it as"),
        ("limits = 5", "leashd.toml:1: limits is a table: write its keys below a line [limits]"),
        ("[limits]\nmax_cost = -1", "leashd.toml:2: limits.max_cost: '-1' is negative: it must be zero or more"),
        ("[limits]\nmax_calls = true", "leashd.toml:2: limits.max_calls: 'true' is no whole number between 0 and "),
        ("[limits]\nstall = [3]", "leashd.toml:2: limits.stall: write it as 5"),
        ("[limits]\ndeadline = 90", "leashd.toml:2: limits.deadline: '90' is no duration"),
        ('[limits]\n"max_cost" = inf', "leashd.toml:2: limits.max_cost: 'Infinity' is no number"),
        ("limits.max_calls = -3", "leashd.toml:1: limits.max_calls: '-3' is no whole number"),
        (
            "[limits]\nmax_cost = 1\nstrict = true\ncompute_rate = 1\ndeadline = 0",
            "leashd.toml:1: limits: strict with a compute rate needs a deadline",
        ),
        ('log_level = "loud"', "leashd.toml:1: log_level: 'loud' is none of debug, info, warning, error"),
        ("group = 7", "leashd.toml:1: group: write it as a text in quotes"),
        ('ledger = "leash.db"', "leashd.toml:1: ledger: 'leash.db' is no whole path"),
        ('prices = "/nowhere/prices.json"', "leashd.toml:1: prices: /nowhere/prices.json cannot be read: No such file"),
        ("ledger = \n", "leashd.toml is not TOML: Invalid value (at line 1, column 10)"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    [found] = problems(tmp_path, text)
    assert found.startswith(problem)


def test_hooks_of_a_file_that_others_can_write_are_not_taken_and_the_rest_of_it_is(tmp_path: Path) -> None:
    path = tmp_path / "leashd.toml"
    path.write_text('log_level = "info"\n[reactions]\nwebhook = "https://hooks.example/leash"\n', encoding="utf-8")
    path.chmod(0o664)
    with pytest.raises(ConfigError, match=r"leashd.toml:2: reactions: .* can be written by others, .* chmod go-w"):
        read_config(path)
    path.write_text('log_level = "info"\n', encoding="utf-8")
    assert read_config(path).log_level == "info"


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, 'x = 1\nlog_level = 2\n[limits]\nmax_cost = "a"\n[retention]\nfinished = -1')
    assert [line.split(": ")[0] for line in found] == [f"leashd.toml:{number}" for number in (1, 2, 4, 6)]


def test_a_price_table_that_is_none_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"m": {"inptu": 1}}', encoding="utf-8")
    [found] = problems(tmp_path, f'prices = "{tmp_path}/p.json"')
    assert "p.json is no price table" in found
    assert "inptu" in found


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "b").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_config(tmp_path / "b")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = " + "[" * 100_000, "leashd.toml is nested too deeply"),
        ("[limits]\nmax_calls = " + "9" * 5_000, "leashd.toml is not TOML: Exceeds the limit (4300 digits)"),
        ('ledger = "~nobody-of-this-name/l.db"', "leashd.toml:1: ledger: '~nobody-of-this-name/l.db' is in the home"),
    ],
)
def test_a_file_that_is_made_to_break_its_reader_is_a_mistake_too(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith(problem)


def test_what_the_package_puts_in_place_says_nothing_and_may_be_uncommented(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "systemd" / "etc" / "leashd.toml").read_text(encoding="utf-8")
    assert read(tmp_path, text) == Config(path=tmp_path / "leashd.toml")

    (tmp_path / "prices.json").write_text(PRICES, encoding="utf-8")
    uncommented = re.sub(r"^# (?=\[|[a-z_]+ = )", "", text, flags=re.MULTILINE)
    config = read(tmp_path, uncommented.replace("/etc/leash/prices.json", f"{tmp_path}/prices.json"))
    assert config.retention_ns
    assert config.limits["max_calls"]
