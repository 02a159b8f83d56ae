"""A shell at a pseudo-terminal, for what only a terminal shows: its keys, its jobs, its size, its colours."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import signal
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_BASH = ("bash", "--norc", "--noprofile", "-i")


class Terminal:
    """A shell at a pseudo-terminal, typed into as a person would."""

    def __init__(
        self, *, environ: Mapping[str, str], home: Path, command: Sequence[str] = _BASH, echo: bool = False
    ) -> None:
        environ = {**environ, "PS1": "ready> ", "HOME": str(home)}
        environ.pop("PROMPT_COMMAND", None)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], list(command), environ)
        attributes = termios.tcgetattr(self._descriptor)
        if not echo:
            attributes[3] &= ~termios.ECHO
        termios.tcsetattr(self._descriptor, termios.TCSANOW, attributes)
        self.seen = self.everything = ""
        self.wait_for("ready> ")

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def wait_for(self, pattern: str, timeout_s: float = 15.0) -> re.Match[str]:
        deadline_s = time.monotonic() + timeout_s
        while (found := re.search(pattern, self.seen)) is None:
            assert time.monotonic() < deadline_s, f"no {pattern!r} in {self.seen!r}"
            if select.select([self._descriptor], [], [], 0.1)[0]:
                self._read()
        self.seen = self.seen[found.end() :]
        return found

    def read_for(self, seconds: float) -> None:
        """Takes what comes in a time."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            if select.select([self._descriptor], [], [], left_s)[0]:
                self._read()

    def _read(self) -> None:
        text = self._decoder.decode(os.read(self._descriptor, 65536))
        self.seen += text
        self.everything += text

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self._descriptor, (rows, columns))

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self._descriptor)
        os.waitpid(self.pid, 0)
