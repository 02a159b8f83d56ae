"""The last line of a terminal, kept for leash while a program has the others to itself.

The rule: the program's output is never touched. The terminal scrolls above the line only, and is said to be one line
smaller than it is, so that programs that use the whole screen leave it alone as well. Where the program stops, ends or
goes to the background, the terminal is given back as it was.
"""

from __future__ import annotations

import os
import sys
import termios
import threading
from typing import TYPE_CHECKING

from leash.live.text import cells, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

# On a terminal with fewer lines the program needs them all.
_FEWEST_ROWS = 6

# Saves the cursor with its colours and character sets, and takes plain ones; and back.
_SAVE = "\x1b7\x1b[0m\x1b(B\x0f"
_RESTORE = "\x1b8"


def terminal_of(environ: Mapping[str, str]) -> int | None:
    """The descriptor of the terminal that this process talks to a person on; None where there is none."""
    if environ.get("TERM", "dumb") == "dumb":
        return None
    for stream in (sys.stderr, sys.stdout):
        try:
            if stream is not None and stream.isatty():
                return stream.fileno()
        except (OSError, ValueError):
            continue
    return None


class StatusLine:
    """The line on one terminal. Its methods may be called from any thread, and never fail."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        # The size that the terminal really has, while the line is there; the rows are one more than it says.
        self._size: tuple[int, int] | None = None
        self._text = ""
        self._suspended = False
        self._ended = False

    def show(self, text: str | None = None) -> None:
        """Shows a text, or the same one again: what has cleared the screen has cleared the line."""
        with self._lock:
            if text is not None:
                self._text = printable(text)
            if self._ended or self._suspended:
                return
            try:
                self._draw()
            except (OSError, termios.error):
                # The terminal is gone; what the program comes to does not depend on it.
                self._ended = True

    def suspend(self) -> None:
        """Gives the line back until ``resume``: other threads run on for a moment when a process is stopped."""
        with self._lock:
            self._suspended = True
            self._give_back()

    def resume(self) -> None:
        """Takes the line again."""
        with self._lock:
            self._suspended = False
        self.show()

    def end(self) -> None:
        """Gives the line back for good."""
        with self._lock:
            self._give_back()
            self._ended = True

    def _draw(self) -> None:
        # In the background the terminal is another program's.
        if os.tcgetpgrp(self._descriptor) != os.getpgrp():
            return
        rows, columns = termios.tcgetwinsize(self._descriptor)
        parts = ""
        if self._size is None or (rows, columns) != (self._size[0] - 1, self._size[1]):
            # It is new, or a person has given the window another size.
            parts = self._take(rows, columns)
        if self._size is not None:
            rows, columns = self._size
            parts += f"{_SAVE}\x1b[{rows};1H\x1b[2K{_cut(self._text, columns - 1)}{_RESTORE}"
        self._write(parts)

    def _take(self, rows: int, columns: int) -> str:
        """Takes the last line of a terminal of this size; returns what tells the terminal so."""
        before, self._size = self._size, None
        if rows < _FEWEST_ROWS:
            return "" if before is None else f"{_SAVE}\x1b[r{_RESTORE}"
        stale = ""
        if before is None:
            # The program's next line must not stand where the line is to be.
            stale = "\n\x1b[A"
        elif before[0] < rows:
            stale = f"{_SAVE}\x1b[r\x1b[{before[0]};1H\x1b[2K{_RESTORE}"
        self._size = (rows, columns)
        termios.tcsetwinsize(self._descriptor, (rows - 1, columns))
        # Setting the region moves the cursor.
        return f"{stale}{_SAVE}\x1b[1;{rows - 1}r{_RESTORE}"

    def _give_back(self) -> None:
        if self._size is None:
            return
        (rows, columns), self._size = self._size, None
        try:
            if termios.tcgetwinsize(self._descriptor) == (rows - 1, columns):
                termios.tcsetwinsize(self._descriptor, (rows, columns))
            self._write(f"{_SAVE}\x1b[r\x1b[{rows};1H\x1b[2K{_RESTORE}")
        except (OSError, termios.error):
            self._ended = True

    def _write(self, text: str) -> None:
        """Writes in one piece, so that nothing of the program's comes in between."""
        data = text.encode(sys.stderr.encoding if sys.stderr else "utf-8", errors="replace")
        while data:
            data = data[os.write(self._descriptor, data) :]


def _cut(text: str, width: int) -> str:
    """The text in at most so many columns of a terminal."""
    while cells(text) > max(width, 0):
        text = text[:-1]
    return text
