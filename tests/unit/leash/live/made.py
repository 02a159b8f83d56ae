"""Accounts and entries for tests of what is shown."""

from __future__ import annotations

from typing import Any

from leash.units import NANODOLLARS_PER_DOLLAR, NANOSECONDS_PER_SECOND
from leash.v1 import types_pb2

SECOND = NANOSECONDS_PER_SECOND
DOLLAR = NANODOLLARS_PER_DOLLAR
NOW = 1_800_000_000 * SECOND


def account(run: str = "nightly", *, cost: int = 0, limit: int = 0, **fields: Any) -> types_pb2.Account:
    """A running account that has cost so many nanodollars."""
    values: dict[str, Any] = {
        "status": types_pb2.STATUS_RUNNING,
        "entries": 10,
        "openers": 1,
        "created_at_unix_ns": NOW - 3_600 * SECOND,
        "started_at_unix_ns": NOW - 3_600 * SECOND,
        "token_cost_nanodollars": cost,
        "total_cost_nanodollars": cost,
        "limits": types_pb2.Limits(max_cost_nanodollars=limit),
    }
    return types_pb2.Account(run=run, **values | fields)


def settled(seq: int, at_ns: int, cost: int, *, tokens: int = 100, **fields: Any) -> types_pb2.Entry:
    """A call that was settled."""
    usage = types_pb2.Usage(input_tokens=tokens, output_tokens=0)
    values = {"model": "small", "usage": usage, "http_status": 200} | fields
    return types_pb2.Entry(seq=seq, at_unix_ns=at_ns, kind="settled", cost_nanodollars=cost, **values)
