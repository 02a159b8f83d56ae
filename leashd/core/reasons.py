"""Why a run stops or a call is refused: the boundaries and the other reasons, in their order of precedence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """A stable, machine-readable reason. The boundaries come first, in the order in which they are judged."""

    KILL_SWITCH = "kill_switch"
    DEADLINE = "deadline"
    COST_BUDGET = "cost_budget"
    MAX_CALLS = "max_calls"
    RATE_LIMIT = "rate_limit"
    STALL = "stall"
    METER_BLIND = "meter_blind"
    UNPRICED_MODEL = "unpriced_model"
    SERVER_TOOL_UNPRICED = "server_tool_unpriced"
    MAX_COST_PER_CALL = "max_cost_per_call"
    BUDGET_HELD = "budget_held"
    UNBOUNDED_CALL = "unbounded_call"
    CEILING_EXCEEDS_BUDGET = "ceiling_exceeds_budget"
    UNRESOLVED_CALLS = "unresolved_calls"


class Unit(StrEnum):
    """What the used and limit figures of a refusal count."""

    NANODOLLARS = "nanodollars"
    CALLS = "calls"
    NANOSECONDS = "nanoseconds"
    TOKENS = "tokens"
    REPLIES = "replies"


UNITS = {
    Reason.DEADLINE: Unit.NANOSECONDS,
    Reason.COST_BUDGET: Unit.NANODOLLARS,
    Reason.MAX_CALLS: Unit.CALLS,
    Reason.RATE_LIMIT: Unit.TOKENS,
    Reason.STALL: Unit.REPLIES,
    Reason.MAX_COST_PER_CALL: Unit.NANODOLLARS,
    Reason.BUDGET_HELD: Unit.NANODOLLARS,
    Reason.CEILING_EXCEEDS_BUDGET: Unit.NANODOLLARS,
}
"""The unit of each reason's figures; a reason that is not here has none."""

RESUMABLE = frozenset(
    {
        Reason.KILL_SWITCH,
        Reason.STALL,
        Reason.METER_BLIND,
        Reason.UNPRICED_MODEL,
        Reason.SERVER_TOOL_UNPRICED,
    }
)
"""Stops that no larger limit undoes: a person resumes the run on purpose."""


@dataclass(frozen=True, slots=True)
class Trip:
    """A boundary that the account has reached: its reason, and how much of what is used, in ``UNITS[reason]``."""

    reason: Reason
    used: int
    limit: int
