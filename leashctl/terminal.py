"""What standard output can show: colours and width."""

from __future__ import annotations

import os
import sys


def colours() -> bool:
    """Whether colours are wanted: on a terminal, and unless NO_COLOR (https://no-color.org) is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """The columns of the terminal; 0 where output is no terminal, and nothing is to be cut."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 0
