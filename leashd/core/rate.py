"""The token window of the rate boundary: bounded memory, and every rounding towards refusing."""

from __future__ import annotations

from leashd.core.bounds import MAX_TOTAL

BUCKETS = 60  # a minute's window in steps of a second: fine enough for Retry-After, small enough to store each time
MAX_RETRY_AFTER_SECONDS = 60  # client libraries give up on, or ignore, a longer one
NS_PER_SECOND = 1_000_000_000

Window = tuple[tuple[int, int], ...]
"""(end_ns, tokens) for each bucket that may still count, oldest first."""


def added(window: Window, at_ns: int, *, tokens: int, window_ns: int) -> Window:
    """The window after ``tokens`` were counted at ``at_ns``; a bucket counts in full until its end has left."""
    width_ns = max(1, window_ns // BUCKETS)
    end_ns = (at_ns // width_ns + 1) * width_ns
    kept = tuple(bucket for bucket in window if bucket[0] + window_ns > at_ns)
    if kept and kept[-1][0] >= end_ns:
        last_end_ns, last_tokens = kept[-1]
        return (*kept[:-1], (last_end_ns, min(MAX_TOTAL, last_tokens + tokens)))
    return (*kept, (end_ns, tokens))


def tokens_in(window: Window, now_ns: int, window_ns: int) -> int:
    """The tokens that still count at ``now_ns``."""
    return sum(tokens for end_ns, tokens in window if end_ns + window_ns > now_ns)


def retry_after_seconds(window: Window, now_ns: int, *, limit_tokens: int, window_ns: int) -> int:
    """Seconds, 1 to 60, until enough of the window has decayed for the limit to hold again."""
    remaining = tokens_in(window, now_ns, window_ns)
    for end_ns, tokens in window:
        if end_ns + window_ns <= now_ns:
            continue
        remaining -= tokens
        if remaining <= limit_tokens:
            wait_ns = end_ns + window_ns - now_ns
            return min(MAX_RETRY_AFTER_SECONDS, max(1, -(-wait_ns // NS_PER_SECOND)))
    return 1
