"""How an error that should not happen is told in a log, which must not quote what was on the wire."""

from __future__ import annotations

import traceback


def where(error: BaseException) -> str:
    """The kind of an error and where it was raised, without its text, which may quote a header or a body."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
