"""DESIGN 4.2: the token window is bounded, and every rounding is towards refusing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leashd.core import rate
from leashd.core.rate import BUCKETS, MAX_RETRY_AFTER_SECONDS
from tests.unit.leashd.play import HOUR, MINUTE, SECOND, START

_CALLS = st.lists(st.tuples(st.integers(0, 90 * SECOND), st.integers(1, 10_000)), max_size=60)
_WINDOWS = st.sampled_from([1, 59, SECOND, MINUTE, HOUR])


def counted(calls: list[tuple[int, int]], window_ns: int) -> tuple[rate.Window, list[tuple[int, int]], int]:
    """The window after calls that came so long after each other, the exact calls, and the time of the last."""
    window: rate.Window = ()
    now_ns = START
    exact = []
    for gap_ns, tokens in calls:
        now_ns += gap_ns
        window = rate.added(window, now_ns, tokens=tokens, window_ns=window_ns)
        exact.append((now_ns, tokens))
    return window, exact, now_ns


@given(calls=_CALLS, window_ns=_WINDOWS, later_ns=st.integers(0, 2 * HOUR))
def test_it_never_counts_less_than_the_tokens_of_the_exact_window(
    calls: list[tuple[int, int]], window_ns: int, later_ns: int
) -> None:
    window, exact, now_ns = counted(calls, window_ns)
    now_ns += later_ns

    counts = rate.tokens_in(window, now_ns, window_ns)

    assert counts >= sum(tokens for at_ns, tokens in exact if at_ns + window_ns > now_ns)


@given(calls=_CALLS, window_ns=_WINDOWS, later_ns=st.integers(0, 2 * HOUR))
def test_it_counts_a_token_for_at_most_one_bucket_longer(
    calls: list[tuple[int, int]], window_ns: int, later_ns: int
) -> None:
    window, exact, now_ns = counted(calls, window_ns)
    now_ns += later_ns
    width_ns = max(1, window_ns // BUCKETS)

    counts = rate.tokens_in(window, now_ns, window_ns)

    assert counts <= sum(tokens for at_ns, tokens in exact if at_ns + window_ns + width_ns > now_ns)


@given(calls=_CALLS, window_ns=_WINDOWS)
def test_its_memory_is_bounded(calls: list[tuple[int, int]], window_ns: int) -> None:
    window, _, _ = counted(calls, window_ns)

    # One for each part of the window, one that is beginning, and one where the width does not divide it.
    assert len(window) <= BUCKETS + 61 if window_ns < BUCKETS else len(window) <= BUCKETS + 2


@given(calls=_CALLS.filter(bool), window_ns=_WINDOWS, limit=st.integers(1, 20_000))
def test_retry_after_is_long_enough_and_at_most_sixty_seconds(
    calls: list[tuple[int, int]], window_ns: int, limit: int
) -> None:
    window, _, now_ns = counted(calls, window_ns)
    seconds = rate.retry_after_seconds(window, now_ns, limit_tokens=limit, window_ns=window_ns)

    assert 1 <= seconds <= MAX_RETRY_AFTER_SECONDS
    if seconds < MAX_RETRY_AFTER_SECONDS:
        assert rate.tokens_in(window, now_ns + seconds * SECOND, window_ns) <= limit


def test_retry_after_is_no_longer_than_it_has_to_be() -> None:
    window = rate.added((), START, tokens=60, window_ns=MINUTE)
    window = rate.added(window, START + 30 * SECOND, tokens=60, window_ns=MINUTE)

    seconds = rate.retry_after_seconds(window, START + 40 * SECOND, limit_tokens=100, window_ns=MINUTE)

    # The first call leaves a minute after it came, at the latest one bucket later.
    assert 20 <= seconds <= 21


def test_tokens_of_a_bucket_that_is_not_over_yet_are_added_to_it() -> None:
    window = rate.added((), START, tokens=1, window_ns=MINUTE)
    window = rate.added(window, START + 1, tokens=2, window_ns=MINUTE)

    assert [tokens for _, tokens in window] == [3]


def test_a_shorter_window_after_a_raise_still_counts_what_came_before() -> None:
    window = rate.added((), START, tokens=5, window_ns=HOUR)
    window = rate.added(window, START + SECOND, tokens=5, window_ns=MINUTE)

    assert rate.tokens_in(window, START + 2 * SECOND, MINUTE) == 10
