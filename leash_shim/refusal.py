"""What leash answers by itself: the refusals of the daemon, and its own failures. Pure.

The rule: an official SDK puts one request on the wire for a terminal refusal. So a terminal one carries
``x-should-retry: false`` and no ``Retry-After``; a transient one carries ``Retry-After``, and nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from leash.units import NANOSECONDS_PER_SECOND, dollars_number, format_dollars, format_duration
from leash.v1 import types_pb2

if TYPE_CHECKING:
    from decimal import Decimal

    from leash.v1 import shim_pb2

# The longest Retry-After that SDKs honour: beyond a minute they fall back to their own, shorter back-off.
MAX_RETRY_AFTER_SECONDS = 60

# A terminal refusal with one of these reasons stopped the run; with any other, smaller or other calls may go on.
_STOPPING = frozenset(
    (
        types_pb2.REASON_KILL_SWITCH,
        types_pb2.REASON_DEADLINE,
        types_pb2.REASON_COST_BUDGET,
        types_pb2.REASON_MAX_CALLS,
        types_pb2.REASON_STALL,
        types_pb2.REASON_METER_BLIND,
        types_pb2.REASON_UNPRICED_MODEL,
        types_pb2.REASON_SERVER_TOOL_UNPRICED,
        types_pb2.REASON_MAX_COST_PER_CALL,
    )
)

_UNIT_NAMES = {
    types_pb2.UNIT_NANODOLLARS: "dollars",
    types_pb2.UNIT_CALLS: "calls",
    types_pb2.UNIT_NANOSECONDS: "seconds",
    types_pb2.UNIT_TOKENS: "tokens",
    types_pb2.UNIT_REPLIES: "replies",
}

_encoder = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer of leash's own."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def refused(run: str, refusal: shim_pb2.Refused, *, terminal_status: int) -> Answer:
    """The answer to a call that the daemon refused. ``terminal_status`` is what the person chose for a stop.

    402 where the request itself cannot be governed, whatever was chosen; 429 where a retry helps.
    """
    reason = reason_name(refusal.reason)
    error: dict[str, Any] = {
        "type": "leash_boundary",
        "code": reason,
        "reason": reason,
        "message": _refused_message(run, refusal),
        "run": run,
        "calls": refusal.calls,
        "token_cost": dollars_number(refusal.token_cost_nanodollars),
        "compute_cost": dollars_number(refusal.compute_cost_nanodollars),
        "total_cost": dollars_number(refusal.total_cost_nanodollars),
        "limit": _figure(refusal.limit, refusal.unit),
        "used": _figure(refusal.used, refusal.unit),
        "unit": _UNIT_NAMES.get(refusal.unit),
    }
    body = _encoder.encode({"type": "error", "error": error})
    if refusal.transient:
        seconds = min(max(refusal.retry_after_seconds, 1), MAX_RETRY_AFTER_SECONDS)
        return _answer(429, body, (b"retry-after", str(seconds).encode("ascii")))
    return _answer(402 if refusal.payment_required else terminal_status, body, (b"x-should-retry", b"false"))


def aborted(run: str, reason: types_pb2.Reason.ValueType, *, terminal_status: int) -> Answer:
    """The answer to a call in flight that ``kill --now`` cut; what the call came to is not known here."""
    name = reason_name(reason)
    error = {
        "type": "leash_boundary",
        "code": name,
        "reason": name,
        "message": f"leash stopped run {run}: {name} (this call was in flight and was aborted)",
        "run": run,
    }
    return _answer(terminal_status, _encoder.encode({"type": "error", "error": error}), (b"x-should-retry", b"false"))


def failed(status: int, code: str, message: str, *, retry_after_seconds: int = 0) -> Answer:
    """The answer where leash itself, or the way to the provider, failed. ``code`` is stable, ``message`` for people."""
    body = _encoder.encode({"error": {"type": "leash_gateway", "code": code, "message": message}})
    if retry_after_seconds:
        return _answer(status, body, (b"retry-after", str(retry_after_seconds).encode("ascii")))
    return _answer(status, body)


def reason_name(reason: types_pb2.Reason.ValueType) -> str:
    """The stable outside name of a reason, such as ``cost_budget``."""
    return types_pb2.Reason.Name(reason).removeprefix("REASON_").lower()


def _answer(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    framing = ((b"content-type", b"application/json"), (b"content-length", str(len(body)).encode("ascii")))
    return Answer(status, framing + headers, body)


def _refused_message(run: str, refusal: shim_pb2.Refused) -> str:
    stopped = refusal.reason in _STOPPING and not refusal.transient and not refusal.payment_required
    subject = f"leash stopped run {run}" if stopped else f"leash refused a call of run {run}"
    message = f"{subject}: {reason_name(refusal.reason)} ({_figures(refusal)})"
    return f"{message}. {refusal.detail}" if refusal.detail else message


def _figures(refusal: shim_pb2.Refused) -> str:
    """What was used of what limit, as people read it."""
    used, limit = refusal.used, refusal.limit
    after = f"after {_counted(refusal.calls, 'call')}"
    match refusal.unit:
        case types_pb2.UNIT_NANODOLLARS:
            return f"{format_dollars(used)} of {format_dollars(limit)} {after}"
        case types_pb2.UNIT_CALLS:
            return f"{used:,} of {_counted(limit, 'call')}"
        case types_pb2.UNIT_NANOSECONDS:
            return f"{format_duration(used)} of {format_duration(limit)} {after}"
        case types_pb2.UNIT_TOKENS:
            return f"{used:,} of {_counted(limit, 'token')} {after}"
        case types_pb2.UNIT_REPLIES:
            return f"{used:,} equal replies in a row, limit {limit:,}, {after}"
        case _:
            return after


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _figure(value: int, unit: types_pb2.Unit.ValueType) -> Decimal | float | None:
    """A used or limit figure as a JSON number in the unit that ``_UNIT_NAMES`` gives; None without a unit."""
    if unit == types_pb2.UNIT_NANODOLLARS:
        return dollars_number(value)
    if unit == types_pb2.UNIT_NANOSECONDS:
        return value / NANOSECONDS_PER_SECOND
    return value if unit in _UNIT_NAMES else None
