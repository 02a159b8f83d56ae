"""The six boundaries, judged over what is settled, in their one fixed order."""

from __future__ import annotations

from collections.abc import Callable

from leashd.core import rate
from leashd.core.account import NS_PER_HOUR, Account
from leashd.core.reasons import Reason, Trip


def first_trip(account: Account, now_ns: int) -> Trip | None:
    """The first boundary that the account has reached, or None. A stop of the run comes before all of them."""
    if account.stop is not None:
        return Trip(reason=account.stop.reason, used=account.stop.used, limit=account.stop.limit)
    return next((trip for judge in BOUNDARIES if (trip := judge(account, now_ns))), None)


def all_trips(account: Account, now_ns: int) -> tuple[Trip, ...]:
    """Every boundary that the account has reached, in order."""
    return tuple(trip for judge in BOUNDARIES if (trip := judge(account, now_ns)))


def _deadline(account: Account, now_ns: int) -> Trip | None:
    limit_ns = account.limits.in_force.deadline_ns
    if not limit_ns or not account.episode_started_at_ns:
        return None
    elapsed_ns = now_ns - account.episode_started_at_ns
    return Trip(reason=Reason.DEADLINE, used=elapsed_ns, limit=limit_ns) if elapsed_ns >= limit_ns else None


def _cost(account: Account, now_ns: int) -> Trip | None:
    limit = account.limits.in_force.max_cost_nanodollars
    spent = account.total_cost_nanodollars(now_ns)
    return Trip(reason=Reason.COST_BUDGET, used=spent, limit=limit) if limit and spent >= limit else None


def _calls(account: Account, _now_ns: int) -> Trip | None:
    limit = account.limits.in_force.max_calls
    calls = account.totals.calls
    return Trip(reason=Reason.MAX_CALLS, used=calls, limit=limit) if limit and calls >= limit else None


def _rate(account: Account, now_ns: int) -> Trip | None:
    limits = account.limits.in_force
    if not limits.rate_tokens:
        return None
    tokens = rate.tokens_in(account.window, now_ns, limits.rate_window_ns)
    return (
        Trip(reason=Reason.RATE_LIMIT, used=tokens, limit=limits.rate_tokens) if tokens > limits.rate_tokens else None
    )


def _stall(account: Account, _now_ns: int) -> Trip | None:
    limit = account.limits.in_force.stall_replies
    replies = account.stall.replies
    return Trip(reason=Reason.STALL, used=replies, limit=limit) if limit and replies >= limit else None


BOUNDARIES: tuple[Callable[[Account, int], Trip | None], ...] = (_deadline, _cost, _calls, _rate, _stall)
"""In order. Kill comes before them: it is a stop that a person has already recorded."""


def deadline_at_ns(account: Account) -> int | None:
    """When the deadline trips, or None where it is off or the episode has not begun."""
    limit_ns = account.limits.in_force.deadline_ns
    if not limit_ns or not account.episode_started_at_ns:
        return None
    return account.episode_started_at_ns + limit_ns


def compute_trips_at_ns(account: Account) -> int | None:
    """When the compute meter alone makes the cost reach the budget, or None where it never does."""
    limits = account.limits.in_force
    hourly = limits.compute_rate_nanodollars_per_hour
    since_ns = account.compute.running_since_ns
    if not limits.max_cost_nanodollars or not hourly or not since_ns:
        return None
    # The cost is rounded up, so it reaches the budget as soon as one unit more than (budget - 1) has accrued.
    room = limits.max_cost_nanodollars - account.totals.token_cost_nanodollars - 1
    missing = room * NS_PER_HOUR + 1 - account.compute.accrued_at(since_ns, hourly)
    return since_ns + max(0, -(-missing // hourly))


def next_trip_at_ns(account: Account) -> int | None:
    """The next instant at which time alone trips a boundary."""
    instants = [at_ns for at_ns in (deadline_at_ns(account), compute_trips_at_ns(account)) if at_ns is not None]
    return min(instants, default=None)
