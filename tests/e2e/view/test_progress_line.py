"""``wrap --progress``: a line of the terminal is leash's, and everything else is as without it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.terminal import Terminal
from tests.e2e.view.screen import Screen
from tests.harness import LEASHCTL, PRICES, PYTHON, FakeProvider, Workspace

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

ROWS, COLUMNS = 16, 90

# Calls, each followed by lines, which are written in so many pieces.
PROGRAM = """
import json, os, sys, time, urllib.error, urllib.request
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
body = json.dumps({"model": "demo-model", "messages": [{"role": "user", "content": "x"}]}).encode()
if sys.stdout.isatty():
    print("size", *os.get_terminal_size(), flush=True)
for number in range(int(sys.argv[1])):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        status = urllib.request.urlopen(request).status
    except urllib.error.HTTPError as refusal:
        status = refusal.code
    for line in range(4):
        text = f"line {number * 4 + line} {status}\\n"
        for piece in (text,) if sys.argv[3] == "1" else (text[:5], text[5:]):
            time.sleep(float(sys.argv[2]))
            sys.stdout.write(piece)
            sys.stdout.flush()
"""


@pytest.fixture
def terminal(workspace: Workspace) -> Iterator[Terminal]:
    environ = workspace.environ | {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONIOENCODING": "utf-8"}
    terminal = Terminal(environ=environ, home=workspace.root)
    terminal.resize(ROWS, COLUMNS)
    yield terminal
    terminal.close()


def wrap(
    workspace: Workspace, provider: FakeProvider, *more: str, calls: int = 6, pause: float = 0.05, pieces: int = 1
) -> str:
    prices = workspace.write("prices.json", PRICES)
    program = workspace.write("agent.py", PROGRAM)
    flags = f"--run shown --max-cost 0.11 --prices {prices} --upstream {provider.base_url} {' '.join(more)}"
    return f"{LEASHCTL} wrap {flags} -- {PYTHON} {program} {calls} {pause} {pieces}\n"


def shown(terminal: Terminal) -> Screen:
    """The screen since the command was typed."""
    screen = Screen(ROWS, COLUMNS)
    screen.feed(terminal.everything)
    return screen


@pytest.mark.parametrize(("pieces", "warnings"), [(1, 1), (2, 0)])
def test_the_programs_output_is_as_without_it(
    workspace: Workspace, terminal: Terminal, fake_provider: Callable[..., FakeProvider], pieces: int, warnings: int
) -> None:
    warn_at = "--warn-at 0.8" if warnings else "--warn-at 0"
    terminal.type(wrap(workspace, fake_provider(), "--progress", warn_at, pieces=pieces))
    terminal.wait_for(r"stopped run shown after 5 calls.*\n", timeout_s=60)
    terminal.type("stty size\n")
    terminal.wait_for(r"16 90")
    screen = shown(terminal)

    everything = screen.scrolled + screen.text()
    lines = [line for line in everything if line.startswith("line ")]
    assert lines == [f"line {number} {200 if number < 20 else 429}" for number in range(24)]
    assert "size 90 15" in everything
    # Once, and among the output like any other line of leash's.
    assert len([line for line in everything if line.startswith("leash: warning: run shown came to $0.10")]) == warnings
    # The line itself is nowhere but in its place.
    assert not [line for line in everything if line.startswith("leash shown ")]
    told = [line for line in screen.last_rows if line.startswith("leash shown")]
    assert re.search(r"\$0\.\d\d of \$0\.11 [█▏▎▍▌▋▊▉░]{10} \d+%  \d of 100 calls", "\n".join(told)), told


def test_a_terminal_is_given_back_while_the_program_is_stopped(
    workspace: Workspace, terminal: Terminal, fake_provider: Callable[..., FakeProvider]
) -> None:
    terminal.type(wrap(workspace, fake_provider(), "--progress", "--max-calls 2", calls=12, pause=0.25))
    terminal.wait_for("line 2 ", timeout_s=60)
    terminal.type("\x1a")
    terminal.wait_for(r"Stopped")
    terminal.type("stty size\n")
    terminal.wait_for(r"16 90")
    terminal.type("fg\n")
    terminal.wait_for("line 6 ", timeout_s=60)
    terminal.wait_for(r"\x1b\[16;1H\x1b\[2Kleash shown")
    terminal.type("\x03")
    terminal.wait_for(r"(finished|stopped run shown).*\n", timeout_s=60)
    terminal.type("stty size\n")
    terminal.wait_for(r"16 90")
    assert not [line for line in shown(terminal).text() if line.startswith("leash shown ")]


def test_a_window_that_gets_another_size_keeps_its_line(
    workspace: Workspace, terminal: Terminal, fake_provider: Callable[..., FakeProvider]
) -> None:
    terminal.type(wrap(workspace, fake_provider(), "--progress", calls=12, pause=0.25))
    terminal.wait_for(r"\x1b\[16;1H\x1b\[2Kleash shown", timeout_s=60)
    terminal.resize(24, 40)
    terminal.wait_for(r"\x1b\[1;23r")
    [line] = terminal.wait_for(r"\x1b\[24;1H\x1b\[2K([^\x1b]*)").groups()
    assert len(line) <= 39
    terminal.resize(4, 40)
    terminal.wait_for(r"\x1b\[r")  # there is no line to spare
    terminal.resize(16, 90)
    terminal.wait_for(r"\x1b\[1;15r")
    terminal.type("\x03")
    terminal.wait_for(r"(finished|stopped run shown).*\n", timeout_s=60)


def test_where_nobody_looks_on_there_is_no_line(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    command = wrap(workspace, fake_provider(), "--progress", calls=2, pause=0).split()
    done = workspace.run(*command, environ={"TERM": "xterm"})
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "of $0.11" not in done.stdout


def test_without_the_flag_a_terminal_is_left_alone(
    workspace: Workspace, terminal: Terminal, fake_provider: Callable[..., FakeProvider]
) -> None:
    terminal.type(wrap(workspace, fake_provider(), calls=2, pause=0))
    terminal.wait_for(r"run shown finished.*\n", timeout_s=60)
    assert "size 90 16" in terminal.everything
    assert "\x1b7" not in terminal.everything
