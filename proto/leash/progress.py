"""How far a long command is: one line of a terminal, written over and over, and gone at the end."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A person sees ten changes a second as movement; more is work for the terminal alone.
_EVERY_S = 0.1
_CLEAR_LINE = "\r\x1b[K"


@contextmanager
def progress(*, wanted: bool = True) -> Iterator[Callable[[str], None]]:
    """Gives what to call with each state; it shows some of them on stderr, and none where that is no terminal."""
    if not wanted or not sys.stderr.isatty():
        yield _ignore
        return
    line = _Line()
    try:
        yield line.show
    finally:
        line.clear()


class _Line:
    def __init__(self) -> None:
        self._shown_s = 0.0

    def show(self, state: str) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s >= _EVERY_S:
            self._shown_s = now_s
            self._write(f"{_CLEAR_LINE}{state}")

    def clear(self) -> None:
        if self._shown_s:
            self._write(_CLEAR_LINE)

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            # The terminal is gone; what the command comes to does not depend on it.
            return


def _ignore(_state: str) -> None:
    """Where nobody looks on."""
