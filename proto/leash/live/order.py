"""Which runs are shown, and in which order. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash.live.rows import FARTHEST_S, forecasts
from leash.live.text import status_name
from leash.units import PPM_PER_ONE
from leash.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leash.live.fleet import Tracked

_UNLIMITED = 2**62

# What rows can be sorted by: the key of a run, and whether the largest comes first.
SORTS: dict[str, tuple[Callable[[Tracked, int], tuple[object, ...]], bool]] = {
    "cost": (lambda run, now_ns: (run.total_cost_nanodollars(now_ns),), True),
    "used": (
        lambda run, now_ns: (
            run.total_cost_nanodollars(now_ns) * PPM_PER_ONE // (run.account.limits.max_cost_nanodollars or _UNLIMITED),
        ),
        True,
    ),
    "rate": (
        lambda run, now_ns: (run.nanodollars_per_hour(now_ns),),
        True,
    ),
    "left": (lambda run, now_ns: (_soonest_s(run, now_ns=now_ns),), False),
    "calls": (lambda run, _now_ns: (run.account.calls,), True),
    "recent": (lambda run, _now_ns: (run.account.last_call_at_unix_ns,), True),
    "name": (lambda run, _now_ns: (run.account.run,), False),
}


def _soonest_s(run: Tracked, *, now_ns: int) -> int:
    return min((seconds for seconds, _ in forecasts(run, now_ns=now_ns)), default=FARTHEST_S)


def arranged(runs: Sequence[Tracked], *, sort: str, backwards: bool, wanted: str, now_ns: int) -> list[Tracked]:
    """The runs that a filter leaves, in order; those that run come before those that are over, equal ones by name.

    ``wanted`` is words that each have to occur in a run's name, status or reason.
    """
    words = wanted.lower().split()
    key, largest_first = SORTS[sort]
    left = [run for run in runs if _matches(run, words)] if words else list(runs)
    left.sort(key=lambda run: (run.account.run, run.key.source))
    left.sort(key=lambda run: key(run, now_ns), reverse=largest_first != backwards)
    if sort != "name":
        left.sort(key=lambda run: run.account.status == types_pb2.STATUS_FINISHED)
    return left


def _matches(run: Tracked, words: list[str]) -> bool:
    text = f"{run.account.run} {status_name(run.account)} {run.account.reason}".lower()
    return all(word in text for word in words)
