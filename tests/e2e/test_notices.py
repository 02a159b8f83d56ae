"""What a person is told at the end of a run and by the commands that act, and what her scripts read of it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

from tests.harness import LEASHCTL, MODEL, PYTHON, FakeProvider, Workspace, wait_until

CALLS = f"""\
import json, os, sys, urllib.request

url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
for number in range(int(sys.argv[1])):
    body = {{"model": "{MODEL}", "messages": [{{"role": "user", "content": str(number)}}]}}
    headers = {{"Content-Type": "application/json"}}
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)).close()
"""


def command(workspace: Workspace, provider: FakeProvider, calls: int, *flags: str) -> tuple[str, ...]:
    program = workspace.write("calls.py", CALLS)
    given = ("--upstream", provider.base_url, "--max-cost", "0", *flags)
    return (LEASHCTL, "wrap", *given, "--", PYTHON, str(program), f"{calls}")


def test_a_warning_is_told_at_the_end(workspace: Workspace, fake_provider: Callable[..., FakeProvider]) -> None:
    provider = fake_provider()
    flags = ("--run", "near", "--max-calls", "5", "--warn-at", "0.4")
    ended = workspace.run(*command(workspace, provider, 2, *flags))
    assert ended.returncode == 0, ended.stderr
    assert "leash: warning: run near came to 2 of 5 calls (max_calls)\n" in ended.stderr
    ended = workspace.run(*command(workspace, provider, 9, *flags))
    assert ended.returncode == 3, ended.stderr
    assert "warning: run near came to" not in ended.stderr  # it was warned once, and what stopped it is told anyway


def test_what_would_have_stopped_a_run_is_told_and_listed(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    ended = workspace.run(*command(workspace, fake_provider(), 3, "--run", "seen", "--max-calls", "1", "--observe"))
    assert ended.returncode == 0, ended.stderr
    assert "run seen is only observed; without --observe it would have been stopped: max_calls" in ended.stderr
    shown = workspace.leashctl("ps", "--all", "--json")
    [run] = [run for run in json.loads(shown.stdout) if run["ledger"] == str(workspace.ledger)]
    assert run["would_stop"] == ["max_calls"]


def test_scripts_read_what_raise_and_kill_came_to(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    assert workspace.run(*command(workspace, fake_provider(), 2, "--run", "a", "--max-calls", "1")).returncode == 3
    raised = workspace.leashctl("raise", "a", "--max-cost", "0.125", "--max-calls", "9", "--json")
    assert raised.returncode == 0, raised.stderr
    account = json.loads(raised.stdout)
    assert (account["run"], account["ledger"], account["max_cost"]) == ("a", str(workspace.ledger), 0.125)
    assert account["limits"]["max_calls"] == 9
    told = workspace.leashctl("raise", "a", "--max-calls", "10")
    assert told.stdout.splitlines()[0] == f"a is {account['status']}; its limits are now"
    assert "  --max-cost   $0.125" in told.stdout.splitlines()
    killed = workspace.leashctl("kill", "a", "b", "--json")
    assert killed.returncode == 1
    assert json.loads(killed.stdout) == {"killed": ["a"], "already_killed": [], "unknown": ["b"]}
    assert "there is no run b" in killed.stderr
    again = json.loads(workspace.leashctl("kill", "a", "--json").stdout)
    assert again == {"killed": [], "already_killed": ["a"], "unknown": []}


def test_an_unresolved_call_is_completed_and_resolved(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider("--delay", "60s")
    wrapped = workspace.start(*command(workspace, provider, 1, "--run", "cut"))
    wait_until(lambda: provider.served() == 1, "the call is under way")
    wrapped.send_signal(signal.SIGKILL)
    wait_until(lambda: workspace.account("cut")["unresolved_calls"] == 1, "the call is unresolved")
    [call] = workspace.account("cut")["unresolved"]
    asked = {"COMP_WORDS": "leashctl resolve cut ", "COMP_CWORD": "3", "_LEASHCTL_COMPLETE": "bash_complete"}
    proposed = workspace.run(LEASHCTL, environ=asked)
    assert proposed.stdout == f"plain,{call['call'][:8]}\n"
    resolved = workspace.leashctl("resolve", "cut", call["call"][:8], "--cost", "0.0125", "--json")
    assert resolved.returncode == 0, resolved.stderr
    told = json.loads(resolved.stdout)
    assert told == {"run": "cut", "call": call["call"], "cost": 0.0125, "released": False, "unresolved_calls": 0}
