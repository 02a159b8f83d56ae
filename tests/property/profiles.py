"""What kinds of world there are: which limits runs have, what the provider does, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

CENT = 10_000_000
SECOND_NS = 1_000_000_000
HOUR_NS = 3_600 * SECOND_NS

Given = dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of world. Weights are relative; ``trouble`` is the share of steps in which something breaks.

    ``gateways`` is the share of shims that open runs for others, within the bounds on how many runs there are.
    """

    name: str
    limits: Callable[[Random], Given]
    models: tuple[str, ...] = ("alpha", "alpha", "beta", "tool", "boundless", "free")
    persons: float = 0.04
    trouble: float = 0.08
    twice: float = 0.05
    blind: float = 0.005
    runs: tuple[str, ...] = ("run-0", "run-1")
    shims: int = 4
    gateways: float = 0.0
    max_open_runs: int = 0
    max_runs: int = 0


def _budget(random: Random) -> Given:
    return {
        "max_cost_nanodollars": random.choice((1, 5, 10, 30)) * CENT,
        "max_calls": random.choice((0, 0, 30)),
        "warn_at_ppm": random.choice((0, 500_000, 800_000)),
        "max_cost_per_call_nanodollars": random.choice((0, 0, 0, 1)) * CENT,
        **_waits(random),
    }


def _strict(random: Random) -> Given:
    given = _budget(random) | {"strict": True}
    if random.random() < 0.3:
        given |= {"compute_rate_nanodollars_per_hour": 30 * CENT, "deadline_ns": random.choice((60, 600)) * SECOND_NS}
    return given


def _calls(random: Random) -> Given:
    return {"max_calls": random.randint(1, 12), **_waits(random)}


def _compute(random: Random) -> Given:
    return {
        "max_cost_nanodollars": random.choice((2, 5)) * CENT,
        "compute_rate_nanodollars_per_hour": random.choice((33_333_333_333, 7_777_777_777)),
        "deadline_ns": random.choice((0, 20, 90)) * SECOND_NS,
        **_waits(random),
    }


def _rate_and_stall(random: Random) -> Given:
    given = {"stall_replies": random.choice((0, 2, 3)), **_waits(random)}
    if random.random() < 0.7:
        given |= {"rate_tokens": random.choice((500, 3000)), "rate_window_ns": random.choice((2, 20, 60)) * SECOND_NS}
    return given


def _observe(random: Random) -> Given:
    return _everything(random) | {"observe": True}


def _everything(random: Random) -> Given:
    given: Given = {"on_blind": random.choice((1, 2, 3))}
    for some in (_budget, _calls, _compute, _rate_and_stall):
        if random.random() < 0.5:
            given |= some(random)
    return given


def _anything(random: Random) -> Given:
    return random.choice((_budget, _strict, _calls, _compute, _rate_and_stall))(random)


def _waits(random: Random) -> Given:
    return {"hold_wait_ns": random.choice((0, 1, 4, 30, 30)) * SECOND_NS}


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="budget", limits=_budget),
        Profile(name="strict", limits=_strict, blind=0.0),
        Profile(name="calls", limits=_calls, runs=("run-0",)),
        Profile(name="compute", limits=_compute),
        Profile(name="rate and stall", limits=_rate_and_stall),
        Profile(name="observe", limits=_observe, models=("alpha", "beta", "unlisted", "tool")),
        Profile(
            name="everything",
            limits=_everything,
            models=("alpha", "beta", "tool", "boundless", "free", "unlisted", ""),
            blind=0.02,
            runs=("run-0", "run-1", "run-2"),
            shims=6,
        ),
        Profile(name="trouble", limits=_budget, trouble=0.25, twice=0.2, persons=0.06, runs=("run-0",)),
        Profile(
            name="gateway",
            limits=_anything,
            trouble=0.12,
            runs=("a/0", "a/1", "a/2", "b/0", "b/1", "0"),
            shims=5,
            gateways=0.8,
            max_open_runs=4,
            max_runs=2,
        ),
    )
}
