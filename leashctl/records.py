"""What scripts read: the JSON records of runs and entries. Pure. Fields are only ever added.

Costs are dollars as numbers with all their digits, durations seconds, instants RFC 3339 in UTC; what there is none of
is null. A limit that is off is 0.
"""

from __future__ import annotations

from typing import Any

import msgspec

from leash.live.text import reason_name, status_name
from leash.units import NANOSECONDS_PER_SECOND, PPM_PER_ONE, dollars_number
from leash.v1 import control_pb2, types_pb2
from leashctl.render import policy_name

_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(record: object) -> str:
    """The record as indented JSON."""
    return msgspec.json.format(_encoder.encode(record), indent=2).decode()


def encode_line(record: object) -> bytes:
    """The record as one line of JSON."""
    return _encoder.encode(record) + b"\n"


def run_record(account: types_pb2.Account, *, owner: str, ledger: str) -> dict[str, Any]:
    """One run, as ``ps --json`` lists it."""
    return {
        "run": account.run,
        "status": status_name(account),
        "reason": account.reason,
        "calls": account.calls,
        "open_calls": account.open_calls,
        "unresolved_calls": account.unresolved_calls,
        "input_tokens": account.input_tokens,
        "output_tokens": account.output_tokens,
        "reasoning_tokens": account.reasoning_tokens,
        "token_cost": dollars_number(account.token_cost_nanodollars),
        "compute_cost": dollars_number(account.compute_cost_nanodollars),
        "total_cost": dollars_number(account.total_cost_nanodollars),
        "held_cost": dollars_number(account.held_cost_nanodollars),
        "max_cost": dollars_number(account.limits.max_cost_nanodollars),
        "max_calls": account.limits.max_calls,
        "started_at": instant(account.started_at_unix_ns),
        "last_call_at": instant(account.last_call_at_unix_ns),
        "pid": account.pid or None,
        "owner": owner,
        "ledger": ledger,
        "would_stop": [reason_name(reason) for reason in account.would_stop],
    }


def notice_record(notice: control_pb2.Notice) -> dict[str, Any]:
    """One notice, as ``reactions ls --json`` lists it."""
    return {
        "id": notice.id,
        "event": notice.event,
        "run": notice.run,
        "reason": notice.reason,
        "at": instant(notice.at_unix_ns),
        "target": notice.target,
        "place": notice.place or None,
        "status": "given_up" if notice.dead else "waiting",
        "attempts": notice.attempts,
        "first_attempt_at": instant(notice.first_attempt_at_unix_ns),
        "next_attempt_at": instant(notice.next_attempt_at_unix_ns),
        "last_error": notice.last_error or None,
        "given_up_at": instant(notice.given_up_at_unix_ns),
    }


def inspected_record(
    account: types_pb2.Account, entries: list[types_pb2.Entry], *, owner: str, ledger: str
) -> dict[str, Any]:
    """One run with everything that is known of it, as ``inspect --json`` shows it."""
    return run_record(account, owner=owner, ledger=ledger) | {
        "cached_input_tokens": account.cached_input_tokens,
        "tool_cost": dollars_number(account.tool_cost_nanodollars),
        "blind_calls": account.blind_calls,
        "error_calls": account.error_calls,
        "created_at": instant(account.created_at_unix_ns),
        "deadline_at": instant(account.deadline_at_unix_ns),
        "limits": limits_record(account.limits),
        "unresolved": [_unresolved_record(call) for call in account.unresolved],
        "entries": [entry_record(entry) for entry in entries],
    }


def exported_run_record(account: types_pb2.Account, *, owner: str, ledger: str) -> dict[str, Any]:
    """One run as it is after its entries, as ``export`` writes it."""
    record = inspected_record(account, [], owner=owner, ledger=ledger)
    del record["entries"]
    return record | {
        "owner_uid": account.owner_uid,
        "openers": account.openers,
        "declared": limits_record(account.declared),
        "last_seq": account.entries,
    }


def _checkpoint_record(account: types_pb2.Account) -> dict[str, Any]:
    """The account that stands for pruned entries: the same fields, without what is about the host."""
    record = exported_run_record(account, owner="", ledger="")
    return {name: value for name, value in record.items() if name not in ("run", "pid", "owner", "ledger")}


def limits_record(limits: types_pb2.Limits) -> dict[str, Any]:
    """Limits in force, each under the name of its flag."""
    return {
        "max_cost": dollars_number(limits.max_cost_nanodollars),
        "max_calls": limits.max_calls,
        "deadline_seconds": _seconds(limits.deadline_ns),
        "rate_tokens": limits.rate_tokens,
        "rate_window_seconds": _seconds(limits.rate_window_ns),
        "stall": limits.stall_replies,
        "compute_rate": dollars_number(limits.compute_rate_nanodollars_per_hour),
        "max_cost_per_call": dollars_number(limits.max_cost_per_call_nanodollars),
        "warn_at": limits.warn_at_ppm / PPM_PER_ONE,
        "on_blind": policy_name(limits.on_blind),
        "strict": limits.strict,
        "observe": limits.observe,
        "hold_wait_seconds": _seconds(limits.hold_wait_ns),
    }


def entry_record(entry: types_pb2.Entry) -> dict[str, Any]:
    """One journal entry, with the fields that its kind has."""
    record: dict[str, Any] = {"seq": entry.seq, "at": instant(entry.at_unix_ns), "kind": entry.kind}
    optional = {
        "call": entry.call_id.hex(),
        "session": entry.session.hex(),
        "model": entry.model,
        "answered_model": entry.answered_model,
        "reason": entry.reason,
        "http_status": entry.http_status,
        "prices": entry.prices_hash,
        "amends": entry.amends,
        "amends_released": entry.amends_released,
        "was_unresolved": entry.unresolved,
        "released": entry.released,
        "reserved_seq": entry.reserved_seq,
        "basis": entry.basis,
        "new_episode": entry.new_episode,
        "lifted": entry.lifted,
        "now": entry.now,
    }
    record |= {name: value for name, value in optional.items() if value}
    if entry.HasField("usage"):
        record |= _usage_record(entry.usage)
    if entry.kind == "settled":
        record.setdefault("model", entry.model)
    record |= _amounts_record(entry)
    if entry.until_unix_ns:
        record["until"] = instant(entry.until_unix_ns)
    if entry.HasField("actor_uid"):
        record["actor_uid"] = entry.actor_uid
    if entry.HasField("declared"):
        record["declared"] = limits_record(entry.declared)
    if entry.HasField("limits"):
        record["limits"] = limits_record(entry.limits)
    if entry.HasField("account"):
        record["account"] = _checkpoint_record(entry.account)
    record["hash"] = entry.hash
    return record


def _amounts_record(entry: types_pb2.Entry) -> dict[str, Any]:
    """The dollars of an entry, and the figures of one that has a limit."""
    record: dict[str, Any] = {}
    if entry.kind in {"settled", "resolved"}:
        record["cost"] = dollars_number(entry.cost_nanodollars)
    if entry.tool_cost_nanodollars:
        record["tool_cost"] = dollars_number(entry.tool_cost_nanodollars)
    if entry.HasField("amended_nanodollars"):
        record["amended_cost"] = dollars_number(entry.amended_nanodollars)
    if entry.kind in {"reserved", "abandoned"}:
        record["held_cost"] = dollars_number(entry.held_nanodollars)
    if entry.kind in {"settled", "voided", "abandoned", "resolved"}:
        record["ended_hold"] = dollars_number(entry.released_nanodollars)
    if entry.unit:
        record |= {"used": _figure(entry.used, entry.unit), "limit": _figure(entry.limit, entry.unit)}
    return record


def _figure(figure: int, unit: types_pb2.Unit.ValueType) -> Any:
    """A figure as a person would give it: dollars, seconds, or a count."""
    if unit == types_pb2.UNIT_NANODOLLARS:
        return dollars_number(figure)
    return _seconds(figure) if unit == types_pb2.UNIT_NANOSECONDS else figure


def instant(unix_ns: int) -> str | None:
    """An instant in RFC 3339, to the microsecond; None for zero, which stands for never."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 (only JSON and journals need it)

    if not unix_ns:
        return None
    at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=unix_ns // 1_000)
    return at.isoformat().replace("+00:00", "Z")


def _usage_record(usage: types_pb2.Usage) -> dict[str, Any]:
    """The token counts of a call: the totals always, the subsets where there are any."""
    counts = {field.name: value for field, value in usage.ListFields()}
    totals = ("input_tokens", "output_tokens", "reasoning_tokens")
    return {name: getattr(usage, name) for name in totals} | counts


def _unresolved_record(call: types_pb2.UnresolvedCall) -> dict[str, Any]:
    return {
        "call": call.call_id.hex(),
        "model": call.model,
        "held_cost": dollars_number(call.held_nanodollars),
        "reserved_at": instant(call.reserved_at_unix_ns),
    }


def _seconds(duration_ns: int) -> float:
    seconds = duration_ns / NANOSECONDS_PER_SECOND
    return int(seconds) if seconds.is_integer() else seconds
