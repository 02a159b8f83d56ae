"""A person ends a run from another terminal: from the next call on, or with the call in flight."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import psutil
import pytest

from tests.harness import LEASHCTL, MODEL, PYTHON, FakeProvider, Workspace, wait_until

# Makes one call for each line that it is sent, and ends at the first refusal.
ONE_CALL_A_LINE = f"""\
import sys

import openai

client = openai.OpenAI()
print("ready", flush=True)
for line in sys.stdin:
    try:
        client.chat.completions.create(model="{MODEL}", messages=[{{"role": "user", "content": line}}])
    except openai.APIStatusError as error:
        print("refused", error.status_code, error.code, flush=True)
        sys.exit(7)
    print("answered", flush=True)
"""

# A process tree with a call in flight: the helper is a grandchild of wrap.
TREE_IN_FLIGHT = f"""\
import subprocess
import sys

import openai

helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(helper.pid, flush=True)
for chunk in openai.OpenAI().chat.completions.create(
    model="{MODEL}", messages=[{{"role": "user", "content": "go on"}}], stream=sys.argv[1] == "stream"
):
    print("chunk", flush=True)
"""


def test_a_kill_refuses_the_next_call(workspace: Workspace, fake_provider: Callable[..., FakeProvider]) -> None:
    provider = fake_provider()
    agent = start(workspace, provider, ONE_CALL_A_LINE, "--run", "victim")
    assert read_line(agent) == "ready"
    assert ask(agent) == "answered"
    assert ask(agent) == "answered"

    killed = workspace.leashctl("kill", "victim")

    assert killed.returncode == 0, killed.stderr
    assert agent.poll() is None, "without --now the program goes on until its next call"
    assert ask(agent) == "refused 429 kill_switch"
    _, err = agent.communicate(timeout=30)
    assert agent.returncode == 3
    assert err.splitlines()[-1] == (
        "leash: stopped run victim after 2 calls, $0.00 tokens + $0.00 compute = $0.00 (kill_switch)"
    )
    assert provider.served() == 2
    assert workspace.account("victim")["status"] == "killed"


def test_a_kill_of_all_ends_each_run_and_spares_the_finished(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider()
    finished = start(workspace, provider, ONE_CALL_A_LINE, "--run", "finished")
    finished.communicate(timeout=30)
    agents = [start(workspace, provider, ONE_CALL_A_LINE, "--run", run) for run in ("one", "two")]
    for agent in agents:
        assert read_line(agent) == "ready"
        assert ask(agent) == "answered"

    killed = workspace.leashctl("kill", "--all")

    assert killed.returncode == 0, killed.stderr
    for agent in agents:
        assert ask(agent) == "refused 429 kill_switch"
        agent.communicate(timeout=30)
        assert agent.returncode == 3
    assert workspace.account("finished")["status"] == "finished"


@pytest.mark.parametrize("kind", ["whole", "stream"])
def test_a_kill_now_ends_the_call_in_flight_and_the_process_tree(
    kind: str, workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider("--delay", "60s") if kind == "whole" else fake_provider("--chunk-delay", "10s")
    agent = start(workspace, provider, TREE_IN_FLIGHT, "--run", "victim", arguments=(kind,))
    helper = int(read_line(agent))
    wait_until(lambda: provider.served() == 1, "the call reaches the provider")
    row = workspace.listed("victim")
    assert row["open_calls"] == 1
    child = row["pid"]

    killed = workspace.leashctl("kill", "victim", "--now")
    _, err = agent.communicate(timeout=30)

    assert killed.returncode == 0, killed.stderr
    assert agent.returncode == 3
    assert err.splitlines()[-1].startswith("leash: stopped run victim after 0 calls")
    assert err.splitlines()[-1].endswith("(kill_switch)")
    assert not psutil.pid_exists(child)
    assert not psutil.pid_exists(helper)
    account = workspace.account("victim")
    assert (account["status"], account["reason"]) == ("killed", "kill_switch")
    # What the provider made of the call is not known, so it is neither forgotten nor made up.
    assert (account["calls"], account["open_calls"], account["unresolved_calls"]) == (0, 0, 1)


def test_a_killed_run_stays_killed_until_it_is_resumed(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider()
    first = start(workspace, provider, ONE_CALL_A_LINE, "--run", "nightly")
    assert read_line(first) == "ready"
    assert ask(first) == "answered"
    assert workspace.leashctl("kill", "nightly").returncode == 0
    first.communicate(timeout=30)
    workspace.stop_daemons()

    second = start(workspace, provider, ONE_CALL_A_LINE, "--run", "nightly")
    assert read_line(second) == "ready"
    assert ask(second) == "refused 429 kill_switch"
    second.communicate(timeout=30)
    assert second.returncode == 3

    raised = workspace.leashctl("raise", "nightly", "--resume")
    assert raised.returncode == 0, raised.stderr
    third = start(workspace, provider, ONE_CALL_A_LINE, "--run", "nightly")
    assert read_line(third) == "ready"
    assert ask(third) == "answered"
    third.communicate(timeout=30)
    assert third.returncode == 0
    assert workspace.account("nightly")["calls"] == 2


def test_a_bare_name_is_the_run_of_the_one_tenant_that_has_it(workspace: Workspace) -> None:
    for run in ("team-a/nightly", "team-b/nightly", "team-b/weekly", "weekly-2"):
        assert workspace.leashctl("wrap", "--run", run, "--", "true").returncode == 0

    several = workspace.leashctl("kill", "nightly", "weekly")
    assert several.returncode == 1
    assert "team-a/nightly, team-b/nightly" in several.stderr
    assert several.stdout == "killed team-b/weekly\n", "what was clear is done"
    assert workspace.account("team-a/nightly")["status"] == "finished"

    assert workspace.account("weekly")["run"] == "team-b/weekly"
    raised = workspace.leashctl("raise", "weekly", "--resume")
    assert raised.stdout.startswith("team-b/weekly is finished"), raised.stderr
    for command in (("inspect", "nightly"), ("raise", "nightly", "--resume")):
        refused = workspace.leashctl(*command)
        assert (refused.returncode, "team-a/nightly, team-b/nightly" in refused.stderr) == (1, True), refused.stderr
    resolved = workspace.leashctl("resolve", "weekly", "0011", "--release")
    assert (resolved.returncode, "team-b/weekly" in resolved.stderr) == (1, True), resolved.stderr
    hinted = workspace.leashctl("kill", "weekl")
    assert "team-b/weekly" in hinted.stderr


def test_a_kill_of_an_unknown_run_is_an_error(workspace: Workspace) -> None:
    assert workspace.leashctl("wrap", "--run", "here", "--", "true").returncode == 0

    killed = workspace.leashctl("kill", "nobody")

    assert killed.returncode == 1
    assert "nobody" in killed.stderr


def start(
    workspace: Workspace, provider: FakeProvider, program: str, *flags: str, arguments: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    path = str(workspace.write("agent.py", program))
    return workspace.start(
        *(LEASHCTL, "wrap", "--max-cost", "0", *flags, "--", PYTHON, path, *arguments),
        environ={"OPENAI_BASE_URL": provider.base_url},
    )


def ask(agent: subprocess.Popen[str]) -> str:
    """Let the agent make one call; returns what came of it."""
    assert agent.stdin is not None
    agent.stdin.write("go on\n")
    agent.stdin.flush()
    return read_line(agent)


def read_line(agent: subprocess.Popen[str]) -> str:
    assert agent.stdout is not None
    line = agent.stdout.readline()
    assert line, agent.communicate(timeout=30)
    return line.rstrip("\n")
