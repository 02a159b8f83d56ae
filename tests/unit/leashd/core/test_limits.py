"""DESIGN 4.2: limits belong to the run; an opener may only tighten them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from leashd.core.bounds import MAX_COMPUTE_RATE_NANODOLLARS_PER_HOUR, MAX_LIMIT
from leashd.core.limits import (
    DEFAULT_HOLD_WAIT_NS,
    ContradictionError,
    Limits,
    LooserLimitError,
    OnBlind,
    first_limits,
    lowered,
    raised,
    reopened,
    reopened_for_others,
)

# Field by field: what is in force, what is tighter, what is looser.
RESTRAINING: dict[str, tuple[int, list[int], list[int]]] = {
    "max_cost_nanodollars": (5, [4, 1], [6, 0]),
    "max_calls": (5, [4, 1], [6, 0]),
    "deadline_ns": (5, [4, 1], [6, 0]),
    "stall_replies": (5, [4, 1], [6, 0]),
    "max_cost_per_call_nanodollars": (5, [4, 1], [6, 0]),
    "compute_rate_nanodollars_per_hour": (5, [6], [4, 0]),
    "on_blind": (OnBlind.WARN, [OnBlind.REFUSE], [OnBlind.ALLOW]),
    "strict": (True, [], [False]),
    "observe": (False, [], [True]),
    "warn_at_ppm": (5, [4, 1], [6, 0]),
}
UNRESTRAINING = {"hold_wait_ns"}
PAIRED = {"rate_tokens", "rate_window_ns"}

FLAG = {
    "max_cost_nanodollars": "--max-cost",
    "max_calls": "--max-calls",
    "deadline_ns": "--deadline",
    "stall_replies": "--stall",
    "max_cost_per_call_nanodollars": "--max-cost-per-call",
    "compute_rate_nanodollars_per_hour": "--compute-rate",
    "on_blind": "--on-blind",
    "strict": "--strict",
    "observe": "--observe",
    "warn_at_ppm": "--warn-at",
}

_TIGHTER = [(name, now, new) for name, (now, tighter, _) in RESTRAINING.items() for new in tighter]
_LOOSER = [(name, now, new) for name, (now, _, looser) in RESTRAINING.items() for new in looser]


def in_force(**limits: Any) -> Limits:
    return first_limits(limits, {}).in_force


def test_every_limit_is_covered_here() -> None:
    assert {field.name for field in dataclasses.fields(Limits)} == set(RESTRAINING) | UNRESTRAINING | PAIRED


def test_every_boundary_is_off_unless_it_is_asked_for() -> None:
    limits = Limits()
    on = {field.name for field in dataclasses.fields(Limits) if getattr(limits, field.name)}

    assert on == {"on_blind", "hold_wait_ns"}
    assert (limits.on_blind, limits.hold_wait_ns) == (OnBlind.REFUSE, DEFAULT_HOLD_WAIT_NS)


@pytest.mark.parametrize("name", RESTRAINING)
def test_a_limit_that_is_not_given_changes_nothing(name: str) -> None:
    state = first_limits({name: RESTRAINING[name][0]}, {})

    assert reopened(state, {}) is state


@pytest.mark.parametrize("name", [*RESTRAINING, *sorted(UNRESTRAINING)])
def test_a_limit_equal_to_the_one_last_declared_changes_nothing_even_after_a_raise(name: str) -> None:
    now, tighter, looser = RESTRAINING.get(name, (5, [4], [6]))
    state = first_limits({name: now}, {})
    for moved in (*tighter, *looser):
        after_raise = raised(state, {name: moved})
        assert reopened(after_raise, {name: now}) == after_raise


@pytest.mark.parametrize(("name", "now", "new"), _TIGHTER)
def test_a_tighter_limit_is_taken(name: str, now: int, new: int) -> None:
    state = reopened(first_limits({name: now}, {}), {name: new})

    assert getattr(state.in_force, name) == getattr(state.declared, name) == new


@pytest.mark.parametrize(("name", "now", "new"), _LOOSER)
def test_a_looser_limit_is_refused_by_its_flag(name: str, now: int, new: int) -> None:
    with pytest.raises(LooserLimitError) as refused:
        reopened(first_limits({name: now}, {}), {name: new})
    assert refused.value.flag == FLAG[name]


@pytest.mark.parametrize("name", ["max_cost_nanodollars", "max_calls", "deadline_ns", "stall_replies"])
def test_a_boundary_that_is_off_may_be_turned_on(name: str) -> None:
    assert getattr(reopened(first_limits({}, {}), {name: 5}).in_force, name) == 5


def test_strict_may_be_turned_on_and_observe_off() -> None:
    state = reopened(first_limits({"observe": True}, {}), {"strict": True, "observe": False})

    assert (state.in_force.strict, state.in_force.observe) == (True, False)


def test_what_is_judged_is_the_limit_in_force_not_the_one_declared() -> None:
    lowered = raised(first_limits({"max_calls": 10}, {}), {"max_calls": 5})
    with pytest.raises(LooserLimitError):
        reopened(lowered, {"max_calls": 7})

    higher = raised(first_limits({"max_calls": 10}, {}), {"max_calls": 20})
    assert reopened(higher, {"max_calls": 15}).in_force.max_calls == 15


def test_one_looser_limit_refuses_the_tighter_ones_with_it() -> None:
    state = first_limits({"max_calls": 10, "stall_replies": 10}, {})
    with pytest.raises(LooserLimitError):
        reopened(state, {"max_calls": 5, "stall_replies": 11})


@pytest.mark.parametrize("rate", [(50, 60), (100, 120), (50, 120)])
def test_fewer_tokens_or_a_longer_window_are_a_tighter_rate(rate: tuple[int, int]) -> None:
    state = reopened(
        first_limits({"rate_tokens": 100, "rate_window_ns": 60}, {}),
        {"rate_tokens": rate[0], "rate_window_ns": rate[1]},
    )

    assert (state.in_force.rate_tokens, state.in_force.rate_window_ns) == rate


@pytest.mark.parametrize("rate", [(101, 60), (100, 59), (50, 30), (200, 120), (0, 0)])
def test_a_rate_that_lets_more_through_at_any_time_is_looser(rate: tuple[int, int]) -> None:
    state = first_limits({"rate_tokens": 100, "rate_window_ns": 60}, {})
    with pytest.raises(LooserLimitError):
        reopened(state, {"rate_tokens": rate[0], "rate_window_ns": rate[1]})


def test_a_rate_that_is_off_may_be_turned_on() -> None:
    state = reopened(first_limits({}, {}), {"rate_tokens": 100, "rate_window_ns": 60})

    assert (state.in_force.rate_tokens, state.in_force.rate_window_ns) == (100, 60)


@pytest.mark.parametrize(
    "given",
    [
        {"max_calls": -1},
        {"rate_tokens": 1},
        {"rate_window_ns": 1},
        {"warn_at_ppm": 1_000_001},
        {"on_blind": 9},
        {"deadline_ns": MAX_LIMIT + 1},
        {"max_calls": MAX_LIMIT + 1},
        {"hold_wait_ns": MAX_LIMIT + 1},
        {"compute_rate_nanodollars_per_hour": MAX_COMPUTE_RATE_NANODOLLARS_PER_HOUR + 1},
    ],
)
def test_limits_that_make_no_sense_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        in_force(**given)


@pytest.mark.parametrize("now", [0, 5])
def test_a_warning_line_is_not_moved_up_or_turned_off_by_an_opener(now: int) -> None:
    state = first_limits({"warn_at_ppm": now}, {})

    assert reopened(state, {"warn_at_ppm": 4}).in_force.warn_at_ppm == 4
    for looser in {0, 6} - {now} if now else ():
        with pytest.raises(LooserLimitError):
            reopened(state, {"warn_at_ppm": looser})


def test_a_raise_leaves_what_is_declared() -> None:
    state = raised(first_limits({"max_calls": 5}, {}), {"max_calls": 9, "strict": True})

    assert (state.declared.max_calls, state.in_force.max_calls, state.in_force.strict) == (5, 9, True)


@pytest.mark.parametrize(("name", "now", "new"), _TIGHTER)
def test_a_tighter_limit_is_taken_from_who_opens_for_others(name: str, now: int, new: int) -> None:
    state = reopened_for_others(first_limits({name: now}, {}), {name: new})

    assert getattr(state.in_force, name) == getattr(state.declared, name) == new


@pytest.mark.parametrize(("name", "now", "new"), _LOOSER)
def test_a_looser_one_is_declared_and_not_in_force(name: str, now: int, new: int) -> None:
    state = reopened_for_others(first_limits({name: now}, {}), {name: new})

    assert (getattr(state.in_force, name), getattr(state.declared, name)) == (now, new)
    after_raise = raised(state, {name: new})
    assert reopened_for_others(after_raise, {name: new}) == after_raise


@pytest.mark.parametrize("rate", [(101, 60), (50, 30), (200, 120), (0, 0)])
def test_a_looser_rate_is_not_taken_by_halves(rate: tuple[int, int]) -> None:
    state = first_limits({"rate_tokens": 100, "rate_window_ns": 60}, {})
    state = reopened_for_others(state, {"rate_tokens": rate[0], "rate_window_ns": rate[1], "max_calls": 3})

    assert (state.in_force.rate_tokens, state.in_force.rate_window_ns, state.in_force.max_calls) == (100, 60, 3)


def test_limits_that_only_make_sense_together_are_taken_together() -> None:
    state = first_limits({"strict": True, "max_cost_nanodollars": 5}, {})
    state = reopened_for_others(state, {"compute_rate_nanodollars_per_hour": 3, "deadline_ns": 4})

    assert (state.in_force.compute_rate_nanodollars_per_hour, state.in_force.deadline_ns) == (3, 4)


STRICT_WITH_COMPUTE = {"strict": True, "max_cost_nanodollars": 5, "compute_rate_nanodollars_per_hour": 3}


@pytest.mark.parametrize("name", sorted(STRICT_WITH_COMPUTE))
def test_what_contradicts_the_limits_in_force_is_left_out_and_the_rest_is_taken(name: str) -> None:
    others = {each: value for each, value in STRICT_WITH_COMPUTE.items() if each != name}
    state = first_limits({"deadline_ns": 4} | others, {})
    state = raised(state, {"deadline_ns": 0})  # a person's, and not to be undone
    reopened_state = reopened_for_others(state, {"deadline_ns": 4, "max_calls": 7, name: STRICT_WITH_COMPUTE[name]})

    expected = {"deadline_ns": 0, "max_calls": 7, name: 0, **others}
    assert {each: getattr(reopened_state.in_force, each) for each in expected} == expected
    assert reopened_for_others(reopened_state, {"max_calls": 7, name: STRICT_WITH_COMPUTE[name]}) == reopened_state


@pytest.mark.parametrize("given", [{"deadline_ns": 0}, {"deadline_ns": 0, "max_calls": 7}])
def test_a_looser_limit_that_contradicts_those_in_force_is_no_mistake_of_who_opens_for_others(
    given: dict[str, int],
) -> None:
    state = first_limits(STRICT_WITH_COMPUTE | {"deadline_ns": 4}, {})
    reopened_state = reopened_for_others(state, given)

    assert (reopened_state.in_force.deadline_ns, reopened_state.in_force.max_calls) == (4, given.get("max_calls", 0))
    with pytest.raises(ContradictionError):
        reopened(state, given)


@pytest.mark.parametrize("given", [{"warn_at_ppm": 1_000_001}, {"rate_tokens": 1}, {"max_calls": -1}])
def test_what_is_no_limit_at_all_is_refused_from_who_opens_for_others_too(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        reopened_for_others(first_limits({}, {}), given)
    assert not isinstance(refused.value, ContradictionError)


def test_what_contradicts_is_refused_where_the_run_is_new() -> None:
    with pytest.raises(ContradictionError):
        first_limits(STRICT_WITH_COMPUTE, {})
    with pytest.raises(ContradictionError):
        lowered(first_limits(STRICT_WITH_COMPUTE | {"max_cost_nanodollars": 0}, {}), {"max_cost_nanodollars": 5})


@pytest.mark.parametrize(
    "name", ["max_cost_nanodollars", "max_calls", "deadline_ns", "stall_replies", "max_cost_per_call_nanodollars"]
)
@pytest.mark.parametrize(("now", "asked", "then"), [(5, 3, 3), (5, 7, 5), (5, 0, 5), (0, 3, 3), (0, 0, 0)])
def test_a_client_only_ever_lowers_a_limit(name: str, now: int, asked: int, then: int) -> None:
    state = lowered(first_limits({name: now}, {}), {name: asked})

    assert (getattr(state.in_force, name), getattr(state.declared, name)) == (then, now)


def test_a_client_lowers_nothing_but_what_can_be_used_up() -> None:
    state = first_limits({"on_blind": OnBlind.REFUSE, "warn_at_ppm": 5}, {})

    assert lowered(state, {"on_blind": OnBlind.ALLOW, "warn_at_ppm": 1, "hold_wait_ns": 0}) == state
