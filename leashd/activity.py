"""Whether anybody uses the daemon, so that one that was started on demand can leave by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Activity:
    """Counts what is being served, and remembers when that last ended."""

    def __init__(self) -> None:
        self._serving = 0
        self._last_s = time.monotonic()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Something is being served."""
        self._serving += 1
        try:
            yield
        finally:
            self._serving -= 1
            self._last_s = time.monotonic()

    def idle_s(self) -> float:
        """Seconds since the last thing was served; 0 while one is."""
        return 0.0 if self._serving else time.monotonic() - self._last_s
