"""What a person gets by pressing Tab, in the shells themselves, and what a completion never does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from leash.names import short_call
from leash.v1 import shim_pb2
from tests.e2e.raw_daemon import Place, Shim
from tests.e2e.terminal import Terminal
from tests.harness import LEASHCTL, REPOSITORY, WAIT_S, Workspace

SCRIPTS = REPOSITORY / "completions"

# What is typed before Tab, and what the line then is.
COMPLETED = (
    ("leashctl insp", "leashctl inspect "),
    ("leashctl inspect nigh", "leashctl inspect nightly "),
    ("leashctl wrap --run=hou", "leashctl wrap --run=hourly "),
    ("leashctl raise team-a/we", "leashctl raise team-a/weekly "),
    ("leashctl raise wee", "leashctl raise weekly "),
    ("leash --max-cal", "leash --max-calls "),
    ("leash --on-blind=al", "leash --on-blind=allow "),
    ("leash --prices pri", "leash --prices prices.json "),
    ("leashctl prices imp", "leashctl prices import "),
    ("leashd veri", "leashd verify "),
    ("leashd --sys", "leashd --system "),
)


@pytest.fixture(scope="module")
def runs() -> Iterator[Workspace]:
    """A ledger with some runs, whose daemon is up."""
    workspace = Workspace.create()
    try:
        scripts = sysconfig.get_path("scripts")
        workspace.environ |= {"PATH": f"{scripts}:{workspace.environ['PATH']}", "TERM": "dumb"}
        workspace.write("home/prices.json", {})
        for run in ("nightly", "hourly", "team-a/weekly"):
            ended = workspace.leashctl("wrap", "--run", run, "--max-cost", "0", "--", "true")
            assert ended.returncode == 0, ended.stderr
        yield workspace
    finally:
        workspace.close()


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest, runs: Workspace) -> Iterator[Terminal]:
    """A shell in which somebody types, with the scripts as the package installs them."""
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} on this host")
    command = {"bash": ("bash", "--norc", "--noprofile", "-i"), "zsh": ("zsh", "-f", "-i")}[name]
    terminal = Terminal(environ=runs.environ, home=runs.root / "home", command=command, echo=True)
    load = {
        "bash": f"source {SCRIPTS}/bash/leashctl",
        "zsh": f"fpath=({SCRIPTS}/zsh $fpath); autoload -Uz compinit; compinit -u -D",
    }[name]
    terminal.type(f"cd; {load}; echo lo''aded\n")
    terminal.wait_for("loaded")
    terminal.wait_for("ready> ")
    yield terminal
    terminal.close()


def test_tab_completes(shell: Terminal) -> None:
    for typed, line in COMPLETED:
        shell.type(f"{typed}\t")
        shell.wait_for(re.escape(line.removeprefix(typed)), WAIT_S)
        shell.type("\x15")  # takes the line back


def test_the_wrapped_programs_line_is_completed_as_its_own(shell: Terminal) -> None:
    shell.type("leash --max-cost 5 -- cat pri\t")
    shell.wait_for("ces.json ", WAIT_S)


def test_fish_completes(runs: Workspace) -> None:
    if shutil.which("fish") is None:
        pytest.skip("there is no fish on this host")
    asked = "\n".join(f"complete --do-complete='{typed}'" for typed, _ in COMPLETED)
    script = runs.write("ask.fish", f"cd\nsource {SCRIPTS}/fish/leashctl.fish\n{asked}\n")
    answer = runs.run("fish", "--no-config", str(script))
    proposed = [line.partition("\t")[0] for line in answer.stdout.splitlines()]
    assert answer.stderr == ""
    assert [line for _, line in COMPLETED if line.split()[-1] not in proposed] == []


@pytest.mark.parametrize("name", ["leashctl", "leash", "leashd"])
def test_the_scripts_are_valid_for_each_program(name: str) -> None:
    for shell, script in (("bash", f"bash/{name}"), ("zsh", "zsh/_leashctl"), ("fish", f"fish/{name}.fish")):
        if shutil.which(shell) is not None:
            subprocess.run([shell, "-n", str(SCRIPTS / script)], check=True, stdin=subprocess.DEVNULL)


def ask(workspace: Workspace, *words: str) -> list[str]:
    """What is proposed for the last word, as the bash script asks for it."""
    environ = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": f"{len(words) - 1}", "_LEASHCTL_COMPLETE": "bash_complete"}
    answer = workspace.run(LEASHCTL, environ=environ)
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout.split()


def test_kill_proposes_what_is_not_finished_and_not_named_yet(runs: Workspace) -> None:
    assert ask(runs, "leashctl", "kill", "") == []  # all are finished
    for run in ("live-1", "live-2"):
        program = runs.start(LEASHCTL, "wrap", "--run", run, "--max-cost", "0", "--", "sh", "-c", "echo up; cat")
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
    assert sorted(ask(runs, "leashctl", "kill", "l")) == ["plain,live-1", "plain,live-2"]
    assert ask(runs, "leashctl", "kill", "live-1", "l") == ["plain,live-2"]


def test_a_completion_is_silent_and_given_up_where_the_daemon_hangs(runs: Workspace) -> None:
    [daemon] = runs.daemon_pids()
    os.kill(daemon, signal.SIGSTOP)
    try:
        assert ask(runs, "leashctl", "inspect", "") == []
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert ask(runs, "leashctl", "inspect", "nigh") == ["plain,nightly"]


def test_a_completion_starts_no_daemon(workspace: Workspace) -> None:
    assert ask(workspace, "leashctl", "inspect", "") == []
    assert not workspace.ledger.exists()
    assert workspace.leashctl("wrap", "--run", "a", "--max-cost", "0", "--", "true").returncode == 0
    assert ask(workspace, "leashctl", "inspect", "") == ["plain,a"]
    workspace.stop_daemons()
    assert ask(workspace, "leashctl", "inspect", "") == []
    assert workspace.daemon_pids() == []


def test_the_calls_of_the_named_run_are_asked_for(runs: Workspace) -> None:
    assert ask(runs, "leashctl", "resolve", "nightly", "") == []  # none is unresolved


@pytest.fixture
def place() -> Iterator[Place]:
    created = Place(Path(tempfile.mkdtemp(prefix="lc-", dir="/tmp")).resolve())
    yield created
    created.close()


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_what_an_agent_calls_its_model_is_not_carried_out(name: str, place: Place, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} on this host")
    model = f"x\nprogram\npsvar[$(touch {tmp_path}/carried-out)]\n_\nplain\n$(true)\x1b[2J"
    call = left_unresolved(place, model)
    environ = {
        "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
        "TERM": "dumb",
        "LEASH_SOCKET": str(place.socket),
    }
    command = {"bash": ("bash", "--norc", "--noprofile", "-i"), "zsh": ("zsh", "-f", "-i")}[name]
    terminal = Terminal(environ=environ, home=tmp_path, command=command, echo=True)
    try:
        load = {
            "bash": f"source {SCRIPTS}/bash/leashctl",
            "zsh": f"fpath=({SCRIPTS}/zsh $fpath); autoload -Uz compinit; compinit -u -D",
        }[name]
        terminal.type(f"cd; {load}; echo lo''aded\n")
        terminal.wait_for("loaded")
        terminal.wait_for("ready> ")
        terminal.type("leashctl resolve r \t")
        terminal.wait_for(f"leashctl resolve r {call}")
    finally:
        terminal.close()
    assert not (tmp_path / "carried-out").exists()


def left_unresolved(place: Place, model: str) -> str:
    """A call of run r that has named this model and was abandoned, as a person names it."""
    place.serve()
    shim = Shim(place)
    call = b"one call of many"
    shim.open("r")
    shim.ask(reserve=shim_pb2.Reserve(call_id=call, run="r", model=model))
    shim.ask(abandon=shim_pb2.Abandon(call_id=call, run="r"))
    shim.close()
    return short_call(call)


def test_another_ledger_is_asked_where_it_is_named(runs: Workspace, tmp_path: Path) -> None:
    assert ask(runs, "leashctl", "--db", str(tmp_path / "none.db"), "inspect", "") == []
    assert ask(runs, "leashctl", "inspect", "--db", str(runs.ledger), "nigh") == ["plain,nightly"]
