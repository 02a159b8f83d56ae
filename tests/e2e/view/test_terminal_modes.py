from __future__ import annotations

import os
import pty
import subprocess
import termios

from tests.harness import LEASHCTL, PRICES, PYTHON, Workspace

_RAW_AND_KILLED = "import os, tty; tty.setraw(0); os.kill(os.getpid(), 9)"


def test_a_program_that_is_killed_leaves_the_terminal_as_it_was(workspace: Workspace) -> None:
    master, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    prices = workspace.write("prices.json", PRICES)
    command = (LEASHCTL, "wrap", "--max-cost", "1", "--prices", str(prices), "--", PYTHON, "-c", _RAW_AND_KILLED)
    program = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    ended = subprocess.run(
        (PYTHON, "-c", program, *command), env=workspace.environ, stdin=terminal, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True, timeout=60, check=False,
    )  # fmt: skip
    after = termios.tcgetattr(terminal)
    os.close(master)
    os.close(terminal)

    assert ended.returncode == 137, ended.stdout
    assert after == before
