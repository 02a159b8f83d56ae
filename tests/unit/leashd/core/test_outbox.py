from __future__ import annotations

import pytest

from leashd.core.notices import Notice, NoticeKind
from leashd.core.outbox import (
    GIVEN_UP_AFTER_NS,
    LEAST_ATTEMPTS,
    LONGEST_PAUSE_NS,
    Failure,
    Pending,
    failed,
    pause_ns,
    retried,
)
from leashd.core.reasons import Unit
from tests.unit.leashd.play import HOUR, SECOND, START

NOTICE = Notice(
    id="evt_1", kind=NoticeKind.STOPPED, run="r", number=1, seq=3, at_ns=START, reason="max_calls", unit=Unit.CALLS,
    used=2, limit=2, calls=2, token_cost_nanodollars=0, compute_cost_nanodollars=0,
)  # fmt: skip


def after(pending: Pending, now_ns: int, failure: Failure = Failure("no"), *, jitter: float = 0.0) -> Pending:  # noqa: B008
    return failed(pending, failure, began_at_ns=now_ns - 1, now_ns=now_ns, jitter=jitter)


def test_pauses_double_up_to_a_bound_and_chance_takes_at_most_half_of_one() -> None:
    assert [pause_ns(attempts, 0.0) // SECOND for attempts in range(1, 12)] == [
        1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600,
    ]  # fmt: skip
    assert pause_ns(10**6, 0.0) == LONGEST_PAUSE_NS
    assert pause_ns(4, 0.999999) >= 4 * SECOND


def test_a_failure_is_counted_and_dated() -> None:
    pending = after(after(Pending(notice=NOTICE), START + 5), START + 9, Failure("x" * 1_000))

    assert (pending.attempts, pending.first_attempt_at_ns) == (2, START + 4)
    assert pending.next_attempt_at_ns == START + 9 + 2 * SECOND
    assert len(pending.last_error) == 300


def test_an_endpoint_may_ask_for_a_longer_pause_but_not_for_any() -> None:
    assert after(Pending(notice=NOTICE), START, Failure("busy", wait_ns=HOUR)).next_attempt_at_ns == (
        START + LONGEST_PAUSE_NS
    )
    assert after(Pending(notice=NOTICE), START, Failure("busy", wait_ns=-1)).next_attempt_at_ns == START + SECOND


def test_it_is_given_up_after_a_day_but_not_before_some_attempts() -> None:
    pending = Pending(notice=NOTICE)
    late_ns = START + GIVEN_UP_AFTER_NS
    for _ in range(LEAST_ATTEMPTS - 1):
        pending = after(pending, late_ns)
        assert not pending.dead
    pending = after(pending, late_ns)

    assert pending.dead
    assert (pending.given_up_at_ns, pending.next_attempt_at_ns) == (late_ns, 0)
    early = Pending(notice=NOTICE, attempts=100)
    assert not after(early, late_ns - 1).dead


def test_one_that_a_person_has_tried_again_has_a_day_once_more() -> None:
    late_ns = START + 2 * GIVEN_UP_AFTER_NS
    dead = after(Pending(notice=NOTICE, attempts=50), late_ns)
    again = retried(dead, late_ns)

    assert (again.dead, again.attempts, again.next_attempt_at_ns) == (False, 0, 0)
    assert not after(again, late_ns + GIVEN_UP_AFTER_NS // 2).dead


@pytest.mark.parametrize("attempts", [0, 3])
def test_a_final_failure_is_given_up_at_once(attempts: int) -> None:
    assert after(Pending(notice=NOTICE, attempts=attempts), START, Failure("gone", final=True)).dead
