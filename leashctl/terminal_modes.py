"""The modes of the terminal (echo, lines, keys that signal) as they were before the program had it.

The rule: a program that a signal has ended could not tidy up, so that is done for it, as a shell does for its own.
"""

from __future__ import annotations

import os
import termios
from contextlib import suppress

_INPUT = 0


class TerminalModes:
    """The modes that standard input has when this is made; none where it is no terminal."""

    def __init__(self) -> None:
        self._modes = None
        with suppress(OSError, termios.error):
            self._modes = termios.tcgetattr(_INPUT)

    def put_back(self) -> None:
        """Gives the terminal these modes again, where it is still this process's."""
        if self._modes is None:
            return
        with suppress(OSError, termios.error):  # it may be gone
            # In the background it is another program's, and writing to it would stop this process.
            if os.tcgetpgrp(_INPUT) == os.getpgrp():
                termios.tcsetattr(_INPUT, termios.TCSADRAIN, self._modes)
