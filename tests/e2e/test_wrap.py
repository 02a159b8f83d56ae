"""A program under ``leashctl wrap``: its exit code, its last line, and what is refused before it starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from leashctl.render import RUN_COLUMNS
from tests.e2e.terminal import Terminal
from tests.harness import LEASHCTL, PRICES, PYTHON, FakeProvider, Workspace, wait_until

# Makes sys.argv[1] calls with nothing but the standard library, and prints the status of each.
CALLS = """\
import json, os, sys, urllib.error, urllib.request
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
body = {"model": sys.argv[2] if len(sys.argv) > 2 else "demo-model", "messages": [{"role": "user", "content": "go on"}]}
body["max_tokens"] = 500
for _ in range(int(sys.argv[1])):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            print(answer.status, flush=True)
    except urllib.error.HTTPError as refusal:
        print(refusal.code, json.load(refusal)["error"]["code"], flush=True)
"""

NO_PRICES = "leash: no price table: the default cost budget is off, calls and deadline still hold"


class Agent:
    """A program of calls, and the flags that let it reach the fake provider."""

    def __init__(self, workspace: Workspace, provider: FakeProvider) -> None:
        self.workspace = workspace
        self.provider = provider
        self.program = str(workspace.write("calls.py", CALLS))
        self.prices = str(workspace.write("prices.json", PRICES))

    def run(self, *flags: str, calls: int = 10, model: str = "demo-model") -> subprocess.CompletedProcess[str]:
        return self.workspace.leashctl(
            *("wrap", "--upstream", self.provider.base_url, *flags, "--", PYTHON, self.program, str(calls), model)
        )


@pytest.fixture
def agent(workspace: Workspace, fake_provider: Callable[..., FakeProvider]) -> Agent:
    return Agent(workspace, fake_provider())


def last_line(ended: subprocess.CompletedProcess[str]) -> str:
    return ended.stderr.splitlines()[-1]


def rows(workspace: Workspace, *flags: str) -> list[dict[str, Any]]:
    """What ps says of the runs of this workspace; the person's own daemons may be there as well."""
    listed = json.loads(workspace.leashctl("ps", *flags, "--json").stdout)
    return [row for row in listed if row["ledger"].startswith(str(workspace.root))]


def runs(workspace: Workspace) -> list[str]:
    return [row["run"] for row in rows(workspace, "--all")]


def test_budget_stops_the_run(agent: Agent) -> None:
    ended = agent.run("--max-cost", "0.10", "--prices", agent.prices, "--run", "a")
    assert ended.stdout == "200\n" * 4 + "429 cost_budget\n" * 6
    assert ended.stderr == ("leash: stopped run a after 4 calls, $0.10 tokens + $0.00 compute = $0.10 (cost_budget)\n")
    assert ended.returncode == 3
    assert agent.provider.served() == 4


def test_run_within_its_limits_finishes_with_the_programs_code(agent: Agent) -> None:
    ended = agent.run("--prices", agent.prices, "--run", "a", calls=2)
    assert ended.stdout == "200\n200\n"
    assert ended.stderr == "leash: run a finished after 2 calls, $0.05 tokens + $0.00 compute = $0.05 (child_exited)\n"
    assert ended.returncode == 0


def test_refusal_status_is_the_chosen_one(agent: Agent) -> None:
    ended = agent.run("--max-calls", "1", "--max-cost", "0", "--refusal-status", "402", calls=2)
    assert ended.stdout == "200\n402 max_calls\n"
    assert len(ended.stderr.splitlines()) == 1, "a budget that is off on purpose needs no prices"


def test_run_that_is_named_again_goes_on(agent: Agent) -> None:
    flags = ("--run", "nightly", "--max-cost", "0.10", "--prices", agent.prices)
    assert "after 3 calls" in last_line(agent.run(*flags, calls=3))
    again = agent.run(*flags, calls=3)
    assert again.stdout == "200\n429 cost_budget\n429 cost_budget\n"
    assert last_line(again).startswith("leash: stopped run nightly after 4 calls, $0.10")
    assert again.returncode == 3
    assert agent.workspace.leashctl("raise", "nightly", "--max-cost", "0.15").returncode == 0
    raised = agent.run(*flags, calls=1)
    assert (raised.returncode, raised.stdout) == (0, "200\n")


def test_higher_limit_of_a_run_is_refused_before_anything_runs(agent: Agent) -> None:
    agent.run("--run", "nightly", "--max-cost", "0.10", "--prices", agent.prices, calls=1)
    refused = agent.run("--run", "nightly", "--max-cost", "0.20", "--prices", agent.prices, calls=1)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "raise" in refused.stderr
    assert agent.provider.served() == 1


def test_without_prices_the_default_budget_is_off(agent: Agent) -> None:
    ended = agent.run(calls=3)
    assert ended.stdout == "200\n" * 3
    assert ended.stderr.splitlines()[0].startswith(NO_PRICES)
    assert len(ended.stderr.splitlines()) == 2
    assert ended.returncode == 0


def test_without_prices_an_explicit_budget_fails_closed(agent: Agent) -> None:
    ended = agent.run("--max-cost", "1", calls=2)
    assert ended.stdout.splitlines()[0].endswith("unpriced_model")
    assert "warning: no price table" in ended.stderr.splitlines()[0]
    assert "leashctl prices import FILE" in ended.stderr.splitlines()[0]
    assert last_line(ended).endswith("(unpriced_model)")
    assert ended.returncode == 3
    assert agent.provider.served() == 0


def test_without_prices_and_without_a_call_the_exit_is_the_programs(workspace: Workspace) -> None:
    ended = workspace.leashctl("wrap", "--max-cost", "1", "--", "sh", "-c", "exit 5")
    assert ended.returncode == 5


def test_imported_prices_are_found(agent: Agent) -> None:
    assert agent.workspace.leashctl("prices", "import", agent.prices).returncode == 0
    ended = agent.run("--max-cost", "0.05", calls=3)
    assert ended.stdout == "200\n200\n429 cost_budget\n"
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("named_by", ["flag", "variable", "place"])
def test_bad_price_file_is_a_usage_error_before_anything_runs(workspace: Workspace, named_by: str) -> None:
    (workspace.root / "config" / "leash").mkdir()
    name = "config/leash/prices.json" if named_by == "place" else "bad.json"
    path = workspace.write(name, '{"m": {"inputs": 1}}')
    flags = ["--prices", str(path)] if named_by == "flag" else []
    environ = {"LEASH_PRICES": str(path)} if named_by == "variable" else {}
    ended = workspace.leashctl("wrap", *flags, "--", "echo", "ran", environ=environ)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert str(path) in ended.stderr
    assert "inputs" in ended.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 9"], 9),
        (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
        (["no-such-command-anywhere"], 127),
        (["/etc"], 126),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_exit_code_is_what_a_shell_would_say(workspace: Workspace, command: list[str], code: int, named: bool) -> None:
    flags = ["--run", "a"] if named else []
    assert workspace.leashctl("wrap", *flags, "--", *command).returncode == code


def test_closed_streams_stay_closed(workspace: Workspace) -> None:
    program = f"ls -l /proc/self/fd >{workspace.root}/open; exit 4"
    script = f"exec {LEASHCTL} wrap -- sh -c '{program}' <&- >&- 2>&-"
    assert workspace.run("sh", "-c", script).returncode == 4
    assert "null" not in (workspace.root / "open").read_text()


def test_program_without_calls_is_a_run_all_the_same(workspace: Workspace) -> None:
    ended = workspace.leashctl("wrap", "--run", "quiet", "--", "true")
    assert last_line(ended) == (
        "leash: run quiet finished after 0 calls, $0.00 tokens + $0.00 compute = $0.00 (child_exited)"
    )
    workspace.leashctl("wrap", "--", "true")
    assert len(runs(workspace)) == 2


def test_daemon_that_cannot_start_ends_the_program(workspace: Workspace) -> None:
    flags = ("--db", str(workspace.root / "missing" / "l.db"))
    program = f"echo $$ >{workspace.root}/pid; sleep 600"
    ended = workspace.leashctl(*flags, "wrap", "--", "sh", "-c", program)
    assert ended.returncode == 1
    assert "cannot be opened" in last_line(ended)
    assert "missing" in last_line(ended)
    pid = workspace.root / "pid"
    assert not pid.exists() or not psutil.pid_exists(int(pid.read_text()))


def test_malformed_base_url_is_named(workspace: Workspace) -> None:
    ended = workspace.leashctl("wrap", "--", "echo", "ran", environ={"OPENAI_BASE_URL": "localhost:80"})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "OPENAI_BASE_URL" in ended.stderr


def test_alias_wraps(workspace: Workspace) -> None:
    alias = str(Path(LEASHCTL).with_name("leash"))
    assert workspace.run(alias, "--max-calls", "3", "--", "sh", "-c", "exit 4").returncode == 4
    assert workspace.run(alias, "sh", "-c", "exit 6").returncode == 6
    assert workspace.run(alias, "ps", "--all", "--json").stdout.count(f'"ledger": "{workspace.root}') == 2


def test_environment_of_the_program(workspace: Workspace) -> None:
    ended = workspace.leashctl(
        "wrap", "--", "env", environ={"OPENAI_BASE_URL": "http://127.0.0.1:1/proxy/v1", "LEASH_MAX_CALLS": "3"}
    )
    environ = dict(line.partition("=")[::2] for line in ended.stdout.splitlines())
    assert environ["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    assert environ["OPENAI_BASE_URL"].endswith("/openai/proxy/v1")
    assert environ["ANTHROPIC_BASE_URL"].endswith("/anthropic")
    added = {name for name in environ.keys() - workspace.environ.keys() if name.startswith("LEASH_")}
    assert added == {"LEASH_MAX_CALLS"}


def leave_call_under_way(agent: Agent) -> subprocess.Popen[str]:
    """A wrap whose program has died with a call in flight."""
    wrap = agent.workspace.start(
        *(LEASHCTL, "wrap", "--upstream", agent.provider.base_url, "--prices", agent.prices, "--run", "a", "--"),
        *(PYTHON, agent.program, "1"),
    )
    wait_until(agent.provider.served, "the call is at the provider")
    [program] = [child for child in psutil.Process(wrap.pid).children() if agent.program in child.cmdline()]
    program.kill()
    return wrap


def test_call_that_the_program_leaves_under_way_is_counted(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    wrap = leave_call_under_way(Agent(workspace, fake_provider("--delay", "2s")))
    _, err = wrap.communicate(timeout=30)
    assert wrap.returncode == 128 + signal.SIGKILL
    assert err.splitlines()[-1].startswith("leash: run a finished after 1 calls, $0.03 tokens")


def test_call_that_the_person_does_not_wait_for_is_unresolved(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    wrap = leave_call_under_way(Agent(workspace, fake_provider("--delay", "60s")))
    assert wrap.stderr is not None
    assert "waiting for 1 of its calls" in wrap.stderr.readline()
    wrap.send_signal(signal.SIGINT)
    _, err = wrap.communicate(timeout=30)
    assert wrap.returncode == 128 + signal.SIGKILL
    assert "1 call is unresolved" in err
    account = workspace.account("a")
    assert (account["calls"], account["unresolved_calls"]) == (0, 1)
    [call] = account["unresolved"]
    assert workspace.leashctl("resolve", "a", "ffffffff", "--release").returncode == 1
    resolved = workspace.leashctl("resolve", "a", call["call"][:8], "--cost", "0.02")
    assert resolved.returncode == 0, resolved.stderr
    account = workspace.account("a")
    assert (account["unresolved_calls"], account["total_cost"]) == (0, 0.02)


def test_lost_daemon_costs_the_totals_and_not_the_exit_code(workspace: Workspace) -> None:
    wrap = workspace.start(LEASHCTL, "wrap", "--run", "a", "--", "sh", "-c", "echo up; read line; exit 8")
    assert wrap.stdout is not None
    assert wrap.stdout.readline() == "up\n"
    wait_until(workspace.daemon_pids, "the daemon is up")
    wait_until(lambda: runs(workspace) == ["a"], "the run is open")
    [pid] = workspace.daemon_pids()
    os.kill(pid, signal.SIGKILL)
    _, err = wrap.communicate("go\n", timeout=30)
    assert wrap.returncode == 8
    # The session has started another daemon by itself, or the line says that the totals are not known.
    assert "leash: run a " in err.splitlines()[-1]


def test_terminated_wrap_passes_it_on_and_leaves_nothing_behind(workspace: Workspace) -> None:
    program = (
        f"(sleep 600 & echo $! >{workspace.root}/orphan); trap 'exit 33' TERM; echo up; while :; do sleep 0.05; done"
    )
    wrap = workspace.start(LEASHCTL, "wrap", "--", "sh", "-c", program)
    assert wrap.stdout is not None
    assert wrap.stdout.readline() == "up\n"
    wrap.terminate()
    wrap.communicate(timeout=30)
    assert wrap.returncode == 33
    assert not psutil.pid_exists(int((workspace.root / "orphan").read_text()))


def test_failure_inside_leash_ends_the_program(workspace: Workspace) -> None:
    broken = workspace.write(
        "broken.py",
        "from leashctl import governed, main\n"
        "async def fail(self): raise RuntimeError('a secret')\n"
        "governed.GovernedRun._open = fail\n"
        "main.leashctl()\n",
    )
    program = f"echo $$ >{workspace.root}/pid; echo up; sleep 600"
    ended = workspace.run(PYTHON, str(broken), "wrap", "--", "sh", "-c", program)
    assert ended.returncode == 1
    assert "leash failed inside" in last_line(ended)
    assert "secret" not in ended.stderr
    pid = workspace.root / "pid"
    assert not pid.exists() or not psutil.pid_exists(int(pid.read_text()))


@pytest.fixture
def terminal(workspace: Workspace) -> Iterator[Terminal]:
    shell = Terminal(environ={**workspace.environ, "TERM": "xterm"}, home=workspace.root / "home")
    yield shell
    shell.close()


def test_keys_of_the_terminal_work_as_without_leash(workspace: Workspace, terminal: Terminal) -> None:
    program = workspace.write(
        "program.py", "import sys\nprint('up', flush=True)\nfor line in sys.stdin: print('read', line)\n"
    )
    terminal.type(f"{LEASHCTL} wrap --run t -- {PYTHON} {program}\n")
    terminal.wait_for("up")
    terminal.type("first\n")
    terminal.wait_for("read first")
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    terminal.wait_for("ready> ")
    terminal.type("fg\n")
    terminal.type("second\n")
    terminal.wait_for("read second")
    terminal.type("\x03")
    terminal.wait_for(r"KeyboardInterrupt[\s\S]*leash: run t finished after 0 calls")
    terminal.type("echo code=$?\n")
    terminal.wait_for("code=130")


def test_colours_are_for_a_terminal_that_wants_them(workspace: Workspace, terminal: Terminal) -> None:
    workspace.leashctl("wrap", "--run", "t", "--", "true")
    terminal.type(f"{LEASHCTL} ps --all\n")
    terminal.wait_for("\x1b\\[2mfinished\x1b\\[0m")
    terminal.type(f"NO_COLOR=1 {LEASHCTL} ps --all\n")
    terminal.wait_for("t +finished ")


def test_ps_shows_the_live_process(workspace: Workspace) -> None:
    wrap = workspace.start(LEASHCTL, "wrap", "--run", "a", "--", "sleep", "600")
    wait_until(lambda: "sleep 600" in workspace.leashctl("ps").stdout, "ps shows the program")
    [row] = rows(workspace)
    assert (row["run"], row["status"]) == ("a", "running")
    assert psutil.Process(row["pid"]).cmdline() == ["sleep", "600"]
    table = workspace.leashctl("ps").stdout
    assert table.split()[: len(RUN_COLUMNS)] == [*RUN_COLUMNS]
    assert "\x1b" not in table
    wrap.terminate()
    wrap.communicate(timeout=30)
    assert wrap.returncode == 128 + signal.SIGTERM
    assert rows(workspace) == []
    assert runs(workspace) == ["a"]


def test_unknown_run_is_an_error_that_guesses(workspace: Workspace) -> None:
    workspace.leashctl("wrap", "--run", "nightly", "--", "true")
    for command in (["kill", "nigthly"], ["inspect", "nigthly"], ["raise", "nigthly", "--resume"]):
        ended = workspace.leashctl(*command)
        assert ended.returncode == 1
        assert "did you mean nightly?" in ended.stderr
    other = workspace.leashctl("--db", str(workspace.root / "other.db"), "wrap", "--run", "elsewhere", "--", "true")
    assert other.returncode == 0
    ended = workspace.leashctl("inspect", "elsewhere")
    assert f"--db {workspace.root}/other.db" in ended.stderr


def test_ps_is_of_the_whole_fleet(workspace: Workspace) -> None:
    for name in ("one", "two"):
        flags = ("--db", str(workspace.root / f"{name}.db"))
        workspace.leashctl(*flags, "wrap", "--run", name, "--", "true")
    workspace.environ.pop("LEASH_DB", None)
    listed = json.loads(workspace.leashctl("ps", "--all", "--json").stdout)
    found = {(row["run"], row["ledger"]) for row in listed}
    assert found >= {("one", f"{workspace.root}/one.db"), ("two", f"{workspace.root}/two.db")}
    table = workspace.leashctl("ps", "--all").stdout
    assert "OWNER" in table
    assert f"{workspace.root}/two.db" in table


def test_demo_goes_as_it_is_told(workspace: Workspace) -> None:
    ended = workspace.leashctl("demo", environ={"LEASH_MAX_CALLS": "1", "LEASH_RUN": "mine"})
    assert ended.returncode == 0, ended.stderr
    calls = [line for line in ended.stdout.splitlines() if line.startswith("call ")]
    assert [line.split()[2] for line in calls] == ["200"] * 4 + ["429"] * 6
    [run] = runs(workspace)
    assert run.startswith("demo-")
    assert last_line(ended) == (
        f"leash: stopped run {run} after 4 calls, $0.10 tokens + $0.00 compute = $0.10 (cost_budget)"
    )
    assert f"leash inspect {run}" in ended.stdout
