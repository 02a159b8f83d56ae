"""``leashctl watch``: what happens, one line an event, through restarts of the daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from tests.harness import LEASHCTL, PRICES, PYTHON, FakeProvider, Workspace, wait_until

CALL = """
import json, os, sys, urllib.error, urllib.request
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
body = json.dumps({"model": "demo-model", "messages": [{"role": "user", "content": "x"}]}).encode()
for _ in range(int(sys.argv[1])):
    try:
        urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).read()
    except urllib.error.HTTPError:
        pass
"""


def run(workspace: Workspace, provider: FakeProvider, name: str, *flags: str, calls: int = 3) -> None:
    """A wrapped program that makes calls, to its end."""
    prices, program = workspace.write("prices.json", PRICES), workspace.write("agent.py", CALL)
    given = ("--run", name, "--prices", str(prices), "--upstream", provider.base_url, *flags)
    workspace.leashctl("wrap", *given, "--", PYTHON, str(program), str(calls))


class Watcher:
    """A ``leashctl watch`` whose lines are read as they come."""

    def __init__(self, workspace: Workspace, *arguments: str) -> None:
        self._path = workspace.root / f"watched-{len(workspace.processes)}"
        self._said = workspace.root / f"said-{len(workspace.processes)}"
        with self._path.open("w") as out, self._said.open("w") as err:
            environ = workspace.environ | {"LEASH_DB": str(workspace.ledger)}
            command = (LEASHCTL, "watch", *arguments)
            self.process = subprocess.Popen(command, env=environ, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        workspace.processes.append(self.process)  # type: ignore[arg-type] # it has no pipes

    def lines(self) -> list[str]:
        return self._path.read_text().splitlines()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines() if line.endswith("}")]

    def said(self) -> str:
        return self._said.read_text()


def test_every_event_of_a_run_is_a_line(workspace: Workspace, fake_provider: Callable[..., FakeProvider]) -> None:
    provider = fake_provider()
    run(workspace, provider, "before")
    watcher, one = Watcher(workspace, "--json"), Watcher(workspace, "shown", "--only", "stopped", "--only", "settled")
    # What comes from now on is told; that it has begun is seen by a run that nobody waits for.
    for number in range(30):
        if watcher.lines() and one.process.poll() is None and len(one.lines()) >= 1:
            break
        run(workspace, provider, "shown" if number else "warm-up", "--max-cost", "9", calls=1)
    run(workspace, provider, "shown", "--max-cost", "0.01", calls=2)
    wait_until(lambda: any(" stopped " in line for line in one.lines()), "the stop is told")
    wait_until(lambda: any(record["kind"] == "stopped" for record in watcher.records()), "the stop is told as JSON")
    [stopped] = [record for record in watcher.records() if record["kind"] == "stopped"]
    assert stopped["run"] == "shown"
    assert stopped["reason"] == "cost_budget"
    assert stopped["status"] == "stopped"
    assert stopped["ledger"] == str(workspace.ledger)
    assert stopped["max_cost"] == 0.01
    told = [record["seq"] for record in watcher.records() if record["run"] == "shown"]
    assert told == sorted(set(told))
    kinds = {line.split()[2] for line in one.lines()}
    assert kinds == {"settled", "stopped"}
    assert "cost_budget" in one.lines()[-1]


def test_it_goes_on_after_the_daemon_was_killed(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider()
    run(workspace, provider, "first")
    watcher = Watcher(workspace, "--json", "--only", "opened")
    for number in range(30):
        if watcher.lines():
            break
        run(workspace, provider, f"more-{number}", calls=0)
    for pid in workspace.daemon_pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: watcher.said() != "", "it says that the daemon is away")
    for number in range(30):
        run(workspace, provider, f"again-{number}", calls=0)
        if any(record["run"].startswith("again") for record in watcher.records()):
            break
    assert any(record["run"].startswith("again") for record in watcher.records())
    assert "is back" in watcher.said()
    assert watcher.process.poll() is None


def test_ctrl_c_and_a_reader_that_has_seen_enough(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider()
    run(workspace, provider, "first")
    watching = workspace.start(LEASHCTL, "watch")
    assert watching.stdout is not None
    watching.stdout.close()
    for _ in range(30):
        if watching.poll() is not None:
            break
        run(workspace, provider, "more", "--max-cost", "9", calls=1)
    assert watching.wait(30) == 1  # as every command that writes into a pipe
    assert watching.stderr is not None
    assert watching.stderr.read() == ""
    interrupted = Watcher(workspace)
    for _ in range(30):
        if interrupted.lines():
            break
        run(workspace, provider, "again", "--max-cost", "9", calls=1)
    interrupted.process.send_signal(signal.SIGINT)
    assert interrupted.process.wait(30) == 130
    assert "Traceback" not in interrupted.said()
