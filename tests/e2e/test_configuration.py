"""The configuration file with a real daemon: what it gives to runs, what wins over it, and how it is read again."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness import MODEL, PRICES, PYTHON, FakeProvider, Workspace, wait_until

AGENT = f"""
import json, os, sys, urllib.error, urllib.request
body = json.dumps({{"model": "{MODEL}", "messages": [{{"role": "user", "content": "hi"}}]}}).encode()
headers = {{"Content-Type": "application/json", "Authorization": "Bearer x"}}
for _ in range(int(sys.argv[1])):
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", body, headers)
    try:
        print(urllib.request.urlopen(request, timeout=30).status)
    except urllib.error.HTTPError as error:
        print(error.code, json.load(error)["error"]["code"])
"""


@dataclass(slots=True)
class Configured:
    """A daemon with a configuration file, and commands that ask it."""

    workspace: Workspace
    config: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return str(self.workspace.root / "run" / "c.sock")

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def write(self, text: str) -> None:
        self.config.write_text(text, encoding="utf-8")

    def start(self, *flags: str, environ: dict[str, str] | None = None) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [PYTHON, "-m", "leashd", "--config", str(self.config), *flags],
                env=self.workspace.environ | (environ or {}),
                cwd=self.workspace.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.wait_for("ready")

    def wait_for(self, what: str, *, times: int = 1) -> None:
        assert self.process is not None
        process = self.process
        wait_until(lambda: self.said.count(what) >= times or process.poll() is not None, f"{what} is logged")
        assert self.said.count(what) >= times, self.said

    def reload(self, text: str, *, expect: str) -> None:
        """Has it read a new file, and returns once it has said what came of it."""
        assert self.process is not None
        self.write(text)
        times = self.said.count(expect) + 1
        self.process.send_signal(signal.SIGHUP)
        self.wait_for(expect, times=times)

    def ask(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.workspace.leashctl(command, "--socket", self.socket, *arguments)

    def limits(self, run: str) -> dict[str, Any]:
        """The limits in force of a run."""
        limits: dict[str, Any] = self.workspace.account(run, "--socket", self.socket)["limits"]
        return limits

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(30) == 0, self.said


@pytest.fixture
def daemon(workspace: Workspace) -> Any:
    created = Configured(workspace, workspace.root / "leashd.toml", workspace.root / "daemon.log")
    yield created
    created.close()


def places(daemon: Configured) -> str:
    return f'ledger = "{daemon.workspace.root}/c.db"\nsocket = "{daemon.socket}"\n'


def test_it_gives_limits_to_runs_whose_opener_gives_none_and_a_flag_wins(daemon: Configured) -> None:
    daemon.write(places(daemon) + '[limits]\nmax_calls = 7\ndeadline = "1h"\nrate = "1000/1m"\n')
    daemon.start()
    assert daemon.ask("wrap", "--run", "a", "--max-calls", "9", "--", "true").returncode == 0
    assert daemon.ask("wrap", "--run", "b", "--", "true").returncode == 0

    assert (daemon.limits("a")["max_calls"], daemon.limits("b")["max_calls"]) == (9, 7)
    assert daemon.limits("b")["deadline_seconds"] == 3600
    assert daemon.limits("b")["warn_at"] == 0.8  # not in the file: the opener's own default


def test_its_price_table_is_for_runs_without_one_and_its_budget_stops_them(
    daemon: Configured, fake_provider: Callable[..., FakeProvider]
) -> None:
    prices = daemon.workspace.write("prices.json", PRICES)
    daemon.write(f'prices = "{prices}"\n{places(daemon)}[limits]\nmax_cost = 0.05\n')
    daemon.start()
    upstream = fake_provider().origin
    ended = daemon.ask("wrap", "--run", "a", "--upstream", upstream, "--", PYTHON, "-c", AGENT, "3")

    assert ended.stdout == "200\n200\n429 cost_budget\n", ended.stderr
    assert "no price table" not in ended.stderr
    assert ended.returncode == 3


def test_where_there_are_prices_there_is_a_budget_in_dollars_whoever_brings_them(daemon: Configured) -> None:
    prices = daemon.workspace.write("prices.json", PRICES)
    daemon.write(places(daemon))
    daemon.start()
    assert "the default cost budget is off" in daemon.ask("wrap", "--run", "none", "--", "true").stderr
    assert daemon.ask("wrap", "--run", "own", "--prices", str(prices), "--", "true").returncode == 0
    daemon.reload(f'prices = "{prices}"\n{places(daemon)}', expect="prices_stored")
    assert daemon.ask("wrap", "--run", "configured", "--", "true").returncode == 0

    budgets = [daemon.limits(run)["max_cost"] for run in ("none", "own", "configured")]
    assert budgets == [0, 5, 5]


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(daemon: Configured) -> None:
    root = daemon.workspace.root
    daemon.write(places(daemon) + 'log_level = "error"\nlog_format = "text"\n')
    daemon.start("--ledger", str(root / "flag.db"), environ={"LEASH_LEDGER": "/nowhere", "LEASH_LOG_LEVEL": "info"})

    assert json.loads(daemon.ask("version", "--json").stdout)["leashd"]["ledger"] == str(root / "flag.db")


def test_sighup_takes_what_can_be_taken_and_names_the_rest(daemon: Configured) -> None:
    daemon.write(places(daemon) + "[limits]\nmax_calls = 7\n")
    daemon.start()
    changed = places(daemon) + 'log_format = "json"\nlog_level = "debug"\n[limits]\nmax_calls = 8\n'
    daemon.reload(changed, expect="config_reloaded")
    assert daemon.ask("wrap", "--run", "a", "--", "true").returncode == 0

    assert daemon.limits("a")["max_calls"] == 8
    assert "config_needs_restart settings=log_format" in daemon.said
    daemon.wait_for("run_opened run=a")  # for debugging only


def test_a_wrong_file_changes_nothing_and_every_mistake_is_logged(daemon: Configured) -> None:
    daemon.write(places(daemon) + "[limits]\nmax_calls = 7\n")
    daemon.start()
    daemon.reload(places(daemon) + '[limits]\nmax_calls = 8\nmax_cots = 1\n[retention]\nfinished = "x"\n', expect="x'")
    assert daemon.ask("wrap", "--run", "a", "--", "true").returncode == 0

    assert daemon.limits("a")["max_calls"] == 7
    assert "leashd.toml:5: unknown key limits.max_cots: did you mean max_cost?" in daemon.said
    assert "leashd.toml:7: retention.finished: 'x' is no duration" in daemon.said


def test_a_file_that_is_gone_takes_no_limit_with_it(daemon: Configured) -> None:
    daemon.write(places(daemon) + "[limits]\nmax_calls = 7\n")
    daemon.start()
    assert daemon.process is not None
    daemon.config.unlink()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("config_refused")
    assert daemon.ask("wrap", "--run", "a", "--", "true").returncode == 0

    assert daemon.limits("a")["max_calls"] == 7
    daemon.reload(places(daemon) + "[limits]\nmax_calls = 8\n", expect="config_reloaded")


def test_finished_runs_are_pruned_by_themselves_and_keep_their_totals(
    daemon: Configured, fake_provider: Callable[..., FakeProvider]
) -> None:
    daemon.write(places(daemon))
    daemon.start()
    upstream = fake_provider().origin
    agent = ("--upstream", upstream, "--", PYTHON, "-c", AGENT, "2")
    assert daemon.ask("wrap", "--run", "done", *agent).returncode == 0
    daemon.reload(places(daemon) + '[retention]\nfinished = "1ms"\n', expect="pruned")

    account = daemon.workspace.account("done", "--socket", daemon.socket)
    assert [entry["kind"] for entry in account["entries"]] == ["checkpoint"]
    assert account["calls"] == 2
    assert daemon.ask("verify").returncode == 0


def test_sighup_ends_a_daemon_that_has_no_configuration(workspace: Workspace) -> None:
    command = ("--ledger", str(workspace.root / "l.db"), "--socket", str(workspace.root / "run" / "l.sock"))
    process = workspace.start(PYTHON, "-m", "leashd", *command)
    assert process.stderr is not None
    assert "ready" in process.stderr.readline()
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=30)

    assert (process.returncode, "stopping signal=SIGHUP" in said) == (0, True), said


def test_a_daemon_on_demand_has_its_users_configuration(workspace: Workspace) -> None:
    config = workspace.root / "config" / "leash" / "leashd.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[limits]\nmax_calls = 7\n", encoding="utf-8")
    assert workspace.leashctl("wrap", "--run", "a", "--", "true").returncode == 0
    assert workspace.account("a")["limits"]["max_calls"] == 7

    workspace.stop_daemons()
    config.write_text("[limits]\nmax_cals = 7\n", encoding="utf-8")
    refused = workspace.leashctl("wrap", "--run", "b", "--", "true")
    assert refused.returncode == 1
    assert "leashd.toml:2: unknown key limits.max_cals: did you mean max_calls?" in refused.stderr


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("[limits]\nmax_calls = 7\n", 0, "leashd.toml: can be used"),
        ("[limits]\nmax_cals = 7\n", 2, "leashd.toml:2: unknown key limits.max_cals: did you mean max_calls?"),
        ('group = "leash"\n', 2, "go with --system"),
    ],
)
def test_check_config_says_whether_it_would_start(workspace: Workspace, text: str, code: int, says: str) -> None:
    config = workspace.write("leashd.toml", text)
    checked = workspace.run(PYTHON, "-m", "leashd", "--check-config", "--config", str(config))

    assert (checked.returncode, says in checked.stdout + checked.stderr) == (code, True), checked


def test_check_config_of_a_system_daemon_looks_for_its_groups(workspace: Workspace) -> None:
    config = workspace.write("leashd.toml", 'group = "no-such-group"\n')
    checked = workspace.run(PYTHON, "-m", "leashd", "--system", "--check-config", "--config", str(config))

    assert (checked.returncode, "no group no-such-group" in checked.stderr) == (2, True), checked
