"""``leashctl top`` at a real pseudo-terminal, with real runs of a real daemon."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.e2e.terminal import Terminal
from tests.e2e.view.test_watch import run
from tests.harness import LEASHCTL, PRICES, PYTHON, FakeProvider, Workspace, wait_until

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

# Calls until it is refused, and then waits for its end.
PROGRAM = """
import json, os, time, urllib.error, urllib.request
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
body = json.dumps({"model": "demo-model", "messages": [{"role": "user", "content": "x"}]}).encode()
while True:
    try:
        urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).read()
    except urllib.error.HTTPError:
        pass
    time.sleep(0.2)
"""


@pytest.fixture
def terminal(workspace: Workspace) -> Iterator[Terminal]:
    terminal = Terminal(environ=workspace.environ | {"TERM": "xterm-256color", "LANG": "C.UTF-8"}, home=workspace.root)
    terminal.resize(30, 140)
    yield terminal
    terminal.close()


def press(terminal: Terminal, key: str, pattern: str) -> None:
    """Presses a key until it has an effect: one that comes while a question closes has none."""
    for _ in range(5):
        terminal.type(key)
        with suppress(AssertionError):
            terminal.wait_for(pattern, timeout_s=8)
            return
    terminal.wait_for(pattern, timeout_s=1)


def test_a_run_is_seen_killed_and_raised(
    workspace: Workspace, terminal: Terminal, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider()
    prices, program = workspace.write("prices.json", PRICES), workspace.write("forever.py", PROGRAM)
    run(workspace, provider, "over", "--max-cost", "0.01", calls=2)
    flags = ("--run", "at-work", "--max-cost", "50", "--max-calls", "1000", "--prices", str(prices))
    workspace.start(LEASHCTL, "wrap", *flags, "--upstream", provider.base_url, "--", PYTHON, str(program))
    wait_until(lambda: workspace.leashctl("inspect", "at-work").returncode == 0, "the run is there")

    terminal.type(f"{LEASHCTL} top --db {workspace.ledger}\n")
    terminal.wait_for("at-work", timeout_s=60)
    terminal.wait_for("over")
    terminal.wait_for("cost_budget")
    terminal.wait_for(r"\d+(s|m\d*s?|h\d*m?) (cost|calls)", timeout_s=60)  # how long it goes on

    terminal.type("\r")
    terminal.wait_for(r"demo-model", timeout_s=30)  # its last calls
    terminal.type("k")
    terminal.wait_for("Kill run at-work")
    terminal.type("n")
    press(terminal, "/", "words in a run")
    terminal.type("over\r")
    terminal.wait_for('filter "over"')
    terminal.type("k")
    terminal.wait_for("Kill run over")
    terminal.type("y")
    terminal.wait_for("over is killed", timeout_s=30)  # and not before it is
    assert workspace.account("over")["status"] == "killed"
    assert workspace.account("at-work")["status"] == "running"

    terminal.type("r")
    terminal.wait_for("Raise run over")
    terminal.wait_for("Raise \\(Enter\\)")
    terminal.type("7.50")
    terminal.wait_for("7.50")
    for value in ("100", "30m", "no"):
        terminal.type("\t")
        terminal.wait_for(rf"\x1b\[[0-9;]*;104m{value}")  # it is selected
    terminal.type("yes")
    terminal.wait_for("yes")
    terminal.type("\r")
    terminal.wait_for("with the limits that were given", timeout_s=30)
    raised = workspace.account("over")
    assert (raised["status"], raised["max_cost"]) == ("finished", 7.5)

    terminal.type("q")
    terminal.wait_for(r"\x1b\[\?1049l")  # the terminal is as it was
    terminal.type("stty -a | grep -c -- -echo\n")
    terminal.wait_for("ready> ")


def test_without_a_terminal_it_says_what_to_do(workspace: Workspace) -> None:
    answer = workspace.leashctl("top")
    assert answer.returncode == 1
    assert answer.stderr.startswith("leash: top needs a terminal: `leashctl ps`")
