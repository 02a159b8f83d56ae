"""A notice on its way out, from the entry that it was written with to its delivery, or until it is given up.

The rule: within a run and a way they go in order, and the first is tried until it is delivered or given up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from leashd.core.notices import Notice, NoticeKind
from leashd.core.reactions import Target

_SECOND_NS = 1_000_000_000
FIRST_PAUSE_NS = _SECOND_NS  # an endpoint that restarts is back by then
LONGEST_PAUSE_NS = 600 * _SECOND_NS  # so long after an endpoint is back, at the most, its notices come
GIVEN_UP_AFTER_NS = 24 * 3_600 * _SECOND_NS  # a night and a day: somebody has seen by then that the endpoint is gone
LEAST_ATTEMPTS = 5  # also of what is older than that when a daemon that was away comes back: some 20 s
DEAD_KEPT_NS = 30 * 24 * 3_600 * _SECOND_NS  # as long as an outcome that nobody asked for
MAX_ERROR_CHARACTERS = 300  # of what is kept of a failure
_MOST_DOUBLINGS = 20  # past the longest pause by far, and a number of a reasonable size


class QueueKey(NamedTuple):
    """The notices of one run that leave by one way."""

    number: int  # of the run
    target: Target


class OutboxKey(NamedTuple):
    """One notice on one way."""

    number: int  # of the run
    target: Target
    seq: int
    kind: NoticeKind

    @property
    def queue(self) -> QueueKey:
        """The queue that it stands in."""
        return QueueKey(self.number, self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A notice that was not delivered yet, or was given up (``dead``). Instants are the ledger's."""

    notice: Notice
    attempts: int = 0
    first_attempt_at_ns: int = 0
    next_attempt_at_ns: int = 0
    last_error: str = ""
    dead: bool = False
    given_up_at_ns: int = 0
    retried_at_ns: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. ``final`` where another would not help; ``wait_ns`` is what the endpoint asked for."""

    error: str
    final: bool = False
    wait_ns: int = 0


def key_of(notice: Notice, target: Target) -> OutboxKey:
    """Where a notice stands in the outbox."""
    return OutboxKey(notice.number, target, notice.seq, notice.kind)


def failed(pending: Pending, failure: Failure, *, began_at_ns: int, now_ns: int, jitter: float) -> Pending:
    """A notice after an attempt that failed; ``jitter`` is a random number from 0 up to 1."""
    attempts = pending.attempts + 1
    age_ns = now_ns - max(pending.notice.at_ns, pending.retried_at_ns)
    dead = failure.final or (age_ns >= GIVEN_UP_AFTER_NS and attempts >= LEAST_ATTEMPTS)
    return replace(
        pending,
        attempts=attempts,
        first_attempt_at_ns=pending.first_attempt_at_ns or began_at_ns,
        next_attempt_at_ns=0 if dead else now_ns + max(pause_ns(attempts, jitter), _bounded(failure.wait_ns)),
        last_error=failure.error[:MAX_ERROR_CHARACTERS],
        dead=dead,
        given_up_at_ns=now_ns if dead else 0,
    )


def retried(pending: Pending, now_ns: int) -> Pending:
    """A notice that a person wants to be tried again at once, and for as long as a new one."""
    return replace(pending, attempts=0, next_attempt_at_ns=0, dead=False, given_up_at_ns=0, retried_at_ns=now_ns)


def pause_ns(attempts: int, jitter: float) -> int:
    """How long to wait after so many attempts: twice as long each time, of which a part that is up to chance is taken.

    Without chance all runs of an endpoint that comes back would meet at its door.
    """
    whole_ns = min(LONGEST_PAUSE_NS, FIRST_PAUSE_NS << min(attempts - 1, _MOST_DOUBLINGS))
    return whole_ns - int(whole_ns * jitter / 2)


def _bounded(wait_ns: int) -> int:
    return min(max(wait_ns, 0), LONGEST_PAUSE_NS)
