"""What people read: tables, amounts, and the line at the end of a run. Pure.

Everything that came from outside (names of models, command lines) is shown without control characters, which a
terminal would obey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash.live.text import printable, reason_name, size_text, status_name
from leash.names import short_call
from leash.units import (
    NANODOLLARS_PER_DOLLAR,
    format_dollars,
    format_dollars_of,
    format_duration,
    format_exact_dollars,
)
from leash.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from leash.live.processes import Live
    from leash.v1 import shim_pb2

_CENT_NANODOLLARS = NANODOLLARS_PER_DOLLAR // 100
_FEWEST_DECIMALS = 2
_MOST_DECIMALS = 9

# Which programs are reached how, and what to do about the others.
_AGENTS_PAGE = "docs/agents.md"
_ENDPOINTS_PAGE = "docs/metering.md"

_GAP = "  "
_NONE = "-"

# The ANSI colour of a status: what asks for attention is red, what is over is dim.
_STATUS_COLOURS = {"running": "32", "stopped": "31", "killed": "31", "finished": "2"}

RUN_COLUMNS = ("RUN", "STATUS", "CALLS", "OPEN", "TOKENS", "COST", "LIMIT", "AGE", "REASON", "PID", "CPU", "MEM")
_RIGHT = frozenset(("CALLS", "OPEN", "TOKENS", "COST", "LIMIT", "AGE", "PID", "CPU", "MEM", "SEQ", "IN", "OUT", "HELD"))

UNRESOLVED_COLUMNS = ("CALL", "MODEL", "HELD", "AGE")
ENTRY_COLUMNS = ("SEQ", "AT", "KIND", "CALL", "MODEL", "IN", "OUT", "COST", "NOTE")


def policy_name(policy: types_pb2.BlindPolicy.ValueType) -> str:
    """The name of a blind policy as its flag takes it, such as ``refuse``; empty where none is given."""
    name = types_pb2.BlindPolicy.Name(policy).removeprefix("BLIND_POLICY_").lower()
    return "" if name == "unspecified" else name


def end_line(account: types_pb2.Account) -> str:
    """The line that scripts read at the end of a run, without its prefix. Its form is fixed, "1 calls" included."""
    stopped = account.status in (types_pb2.STATUS_STOPPED, types_pb2.STATUS_KILLED)
    what = f"stopped run {account.run}" if stopped else f"run {account.run} finished"
    tokens, compute, total = _sum(account.token_cost_nanodollars, account.compute_cost_nanodollars)
    reason = account.reason or "child_exited"
    return f"{what} after {account.calls} calls, {tokens} tokens + {compute} compute = {total} ({reason})"


def unresolved_line(account: types_pb2.Account) -> str:
    """What to do about calls whose outcome is not known; empty where there are none."""
    if not account.unresolved_calls:
        return ""
    held = format_dollars(account.held_cost_nanodollars)
    one = account.unresolved_calls == 1
    calls = "1 call is unresolved and holds" if one else f"{account.unresolved_calls} calls are unresolved and hold"
    return f"{calls} {held} of the budget: see `leashctl inspect {account.run}`"


def warning_line(warned: shim_pb2.RunWarned) -> str:
    """That a run has crossed the warning line of a budget, or had a call that no budget could count."""
    if not warned.unit:
        return f"warning: run {warned.run} had a call that could not be metered or priced ({warned.reason})"
    used, limit = _figures(warned.used, warned.limit, warned.unit)
    return f"warning: run {warned.run} came to {used} of {limit} ({warned.reason})"


def would_stop_line(account: types_pb2.Account) -> str:
    """Which boundaries a run that is only observed went past; empty for none."""
    if not account.would_stop:
        return ""
    reasons = ", ".join(map(reason_name, account.would_stop))
    return f"run {account.run} is only observed; without --observe it would have been stopped: {reasons}"


def silence_line(seen: Mapping[str, int], *, failed: bool, turned_away: int = 0) -> str:
    """Why a run may have ended without one governed call, by how many requests of which kind its shim has seen.

    The kinds are the values of ``RouteKind``; ``turned_away`` is how many did not come by the program's base URLs, and
    ``failed`` says that the program ended with an error.
    """
    if calls := seen.get("metered", 0):
        which = "the call that came to leash was" if calls == 1 else f"the {calls} calls that came to leash were"
        return f"{which} refused, or failed on the way to the provider; the answers said why"
    if refused := seen.get("unmeterable", 0) + seen.get("bad_path", 0):
        which = (
            "the request that came to leash was" if refused == 1 else f"the {refused} requests that came to leash were"
        )
        return f"{which} refused: none was to an endpoint that leash meters ({_ENDPOINTS_PAGE} lists them)"
    if seen.get("free", 0):
        return (
            "only requests that cost nothing came to leash, such as lists of models: the program made no call, or made "
            f"its calls elsewhere ({_AGENTS_PAGE} says what to do)"
        )
    if turned_away:
        which = (
            "the request that came to leash" if turned_away == 1 else f"the {turned_away} requests that came to leash"
        )
        return (
            f"{which} did not begin with the path of a base URL that leash gave the program: it takes only the host "
            f"and the port from there, or somebody else asked ({_AGENTS_PAGE} says what to do)"
        )
    likely = "failed before its first call" if failed else "made no call"
    return (
        f"nothing came to leash: the program {likely}, or it does not take its provider's address from the "
        f"environment, or its code or configuration names another ({_AGENTS_PAGE} says what to do)"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, width: int = 0, colour: bool = False) -> list[str]:
    """The lines of an aligned table. ``width`` (0: none) cuts the last column; ``colour`` paints the status."""
    cells = [columns, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    if width:
        room = width - sum(widths[:-1]) - len(_GAP) * (len(columns) - 1)
        widths[-1] = max(min(widths[-1], room), len(columns[-1]))
    lines = []
    for number, row in enumerate(cells):
        padded = []
        for column, cell, size in zip(columns, row, widths, strict=True):
            shown = f"{cell:>{size}}" if column in _RIGHT else f"{cell:<{size}}"
            if column == columns[-1]:
                shown = shown[:size].rstrip()
            if colour and number and column == "STATUS":
                shown = f"\x1b[{_STATUS_COLOURS.get(cell, '0')}m{shown}\x1b[0m"
            padded.append(shown)
        lines.append(_GAP.join(padded).rstrip())
    return lines


def run_row(account: types_pb2.Account, live: Live | None, *, now_ns: int) -> list[str]:
    """The cells of ``RUN_COLUMNS`` for one run."""
    reasons = [account.reason] if account.reason else []
    if account.unresolved_calls:
        reasons.append(f"{account.unresolved_calls} unresolved")
    reasons += [f"would stop: {reason_name(reason)}" for reason in account.would_stop]
    max_cost = account.limits.max_cost_nanodollars
    return [
        account.run,
        status_name(account),
        f"{account.calls}",
        f"{account.open_calls}",
        f"{account.input_tokens + account.output_tokens}",
        format_dollars(account.total_cost_nanodollars),
        format_exact_dollars(max_cost) if max_cost else _NONE,
        format_duration(max(now_ns - account.created_at_unix_ns, 0)),
        ", ".join(reasons) or _NONE,
        f"{account.pid}" if account.pid else _NONE,
        f"{live.cpu_percent:.1f}%" if live else _NONE,
        size_text(live.memory_bytes) if live else _NONE,
    ]


def account_lines(account: types_pb2.Account, *, ledger: str, owner: str, now_ns: int) -> list[str]:
    """An account as ``inspect`` shows it."""
    tokens = f"{account.input_tokens} in ({account.cached_input_tokens} cached), {account.output_tokens} out"
    reasoning = f" ({account.reasoning_tokens} reasoning)" if account.reasoning_tokens else ""
    calls = f"{account.calls} settled, {account.open_calls} open, {account.unresolved_calls} unresolved"
    errors = f", {account.error_calls} answered with an error" if account.error_calls else ""
    blind = f", {account.blind_calls} blind" if account.blind_calls else ""
    parts = (account.token_cost_nanodollars, account.compute_cost_nanodollars)
    spent, compute, total = _sum(*parts)
    tools = f" (tools {format_dollars(account.tool_cost_nanodollars)})" if account.tool_cost_nanodollars else ""
    held = f", {format_dollars(account.held_cost_nanodollars)} held" if account.held_cost_nanodollars else ""
    reason = f" ({account.reason})" if account.reason else ""
    fields = [
        ("run", account.run),
        ("status", f"{status_name(account)}{reason}"),
        ("calls", f"{calls}{errors}{blind}"),
        ("tokens", f"{tokens}{reasoning}"),
        ("cost", f"{spent} tokens{tools} + {compute} compute = {total}{held}"),
        ("created", _ago(account.created_at_unix_ns, now_ns)),
        ("started", _ago(account.started_at_unix_ns, now_ns)),
        ("last call", _ago(account.last_call_at_unix_ns, now_ns)),
        ("pid", f"{account.pid}" if account.pid else _NONE),
        ("owner", owner),
        ("ledger", ledger),
    ]
    if account.would_stop:
        fields.append(("would stop", ", ".join(map(reason_name, account.would_stop))))
    return _fields(fields)


def limit_lines(limits: types_pb2.Limits) -> list[str]:
    """Limits as ``inspect`` shows them, each under the name of its flag; what is off is left out."""
    fields: list[tuple[str, str]] = []

    def add(flag: str, value: int, shown: str) -> None:
        if value:
            fields.append((flag, shown))

    add("--max-cost", limits.max_cost_nanodollars, format_exact_dollars(limits.max_cost_nanodollars))
    add("--max-calls", limits.max_calls, f"{limits.max_calls}")
    add("--deadline", limits.deadline_ns, format_duration(limits.deadline_ns))
    add("--rate", limits.rate_tokens, f"{limits.rate_tokens}/{format_duration(limits.rate_window_ns)}")
    add("--stall", limits.stall_replies, f"{limits.stall_replies}")
    hourly = limits.compute_rate_nanodollars_per_hour
    add("--compute-rate", hourly, f"{format_exact_dollars(hourly)} an hour")
    dearest = limits.max_cost_per_call_nanodollars
    add("--max-cost-per-call", dearest, format_exact_dollars(dearest))
    add("--warn-at", limits.warn_at_ppm, f"{limits.warn_at_ppm / 10**6:g}")
    add("--on-blind", limits.on_blind, policy_name(limits.on_blind))
    add("--strict", limits.strict, "yes")
    add("--observe", limits.observe, "yes")
    add("--hold-wait", limits.hold_wait_ns, format_duration(limits.hold_wait_ns))
    return _fields(fields)


def entry_row(entry: types_pb2.Entry, *, at: str, actor: str = "") -> list[str]:
    """The cells of ``ENTRY_COLUMNS`` for one entry, with its time and the name of its actor as they are to be shown."""
    has_usage = entry.HasField("usage")
    notes = [entry.reason]
    if entry.http_status not in (0, 200):
        notes.append(f"HTTP {entry.http_status}")
    if entry.held_nanodollars:
        notes.append(f"{format_dollars(entry.held_nanodollars)} held")
    if entry.amends:
        notes.append("amends")
    if entry.HasField("actor_uid"):
        notes.append(f"by {actor or f'uid {entry.actor_uid}'}")
    priced = entry.kind in {"settled", "resolved"}
    return [
        f"{entry.seq}",
        at,
        entry.kind,
        short_call(entry.call_id) if entry.call_id else _NONE,
        entry.model or _NONE,
        f"{entry.usage.input_tokens}" if has_usage else _NONE,
        f"{entry.usage.output_tokens}" if has_usage else _NONE,
        format_dollars(entry.cost_nanodollars) if priced else _NONE,
        ", ".join(filter(None, notes)),
    ]


def event_line(run: str, entry: types_pb2.Entry, account: types_pb2.Account, *, at: str) -> str:
    """One entry as it happens: when, which run, what, and where the run stands after it."""
    _, _, _, call, model, tokens_in, tokens_out, cost, note = entry_row(entry, at=at)
    parts = []
    if model != _NONE:
        parts.append(model)
    if entry.HasField("usage"):
        parts.append(f"{tokens_in} in {tokens_out} out")
    if cost != _NONE:
        parts.append(cost)
    if note:
        parts.append(note)
    if entry.limit:
        parts.append(f"{figure_text(entry.used, entry.unit)} of {figure_text(entry.limit, entry.unit)}")
    if call != _NONE:
        parts.append(f"[{call}]")
    total = format_dollars(account.total_cost_nanodollars)
    budget = account.limits.max_cost_nanodollars
    of = f" of {format_dollars(budget)}" if budget else ""
    calls = "1 call" if account.calls == 1 else f"{account.calls} calls"
    return printable(f"{at}  {run}  {entry.kind:<10}  {', '.join(parts) or _NONE}  ({total}{of}, {calls})")


def figure_text(figure: int, unit: types_pb2.Unit.ValueType) -> str:
    """A figure with its unit as people read it."""
    if unit == types_pb2.UNIT_NANODOLLARS:
        return format_dollars(figure)
    return format_duration(figure) if unit == types_pb2.UNIT_NANOSECONDS else f"{figure}"


def unresolved_row(call: types_pb2.UnresolvedCall, *, now_ns: int) -> list[str]:
    """The cells of ``UNRESOLVED_COLUMNS`` for one call."""
    age = format_duration(max(now_ns - call.reserved_at_unix_ns, 0))
    return [short_call(call.call_id), call.model or _NONE, format_dollars(call.held_nanodollars), age]


def _figures(used: int, limit: int, unit: types_pb2.Unit.ValueType) -> tuple[str, str]:
    """What was used, and the limit that it is compared with."""
    if unit == types_pb2.UNIT_NANODOLLARS:
        return format_dollars_of(used, limit)
    if unit == types_pb2.UNIT_NANOSECONDS:
        return format_duration(used), format_duration(limit)
    noun = types_pb2.Unit.Name(unit).removeprefix("UNIT_").lower()
    return f"{used}", f"{limit} {noun}"


def _fields(fields: Sequence[tuple[str, str]]) -> list[str]:
    size = max((len(name) for name, _ in fields), default=0)
    return [f"  {name:<{size}}  {printable(value)}" for name, value in fields]


def _ago(instant_ns: int, now_ns: int) -> str:
    return f"{format_duration(max(now_ns - instant_ns, 0))} ago" if instant_ns else _NONE


def _sum(first: int, second: int) -> tuple[str, str, str]:
    """Two amounts and their sum as people read them, such that they add up as shown.

    The first and the sum are rounded half up; the second is what lies between, within a cent of its own.
    """
    total = first + second
    decimals = _FEWEST_DECIMALS
    if 0 < total < _CENT_NANODOLLARS:
        # Two significant digits, as of any amount below a cent.
        while decimals < _MOST_DECIMALS and total * 10**decimals < 10 * NANODOLLARS_PER_DOLLAR:
            decimals += 1
    unit = NANODOLLARS_PER_DOLLAR // 10**decimals
    shown_first, shown_total = (first * 2 + unit) // (unit * 2), (total * 2 + unit) // (unit * 2)
    shown = (shown_first, shown_total - shown_first, shown_total)
    one, other, both = (_decimal(amount, decimals) for amount in shown)
    return one, other, both


def _decimal(amount: int, decimals: int) -> str:
    """A whole number of units of so many decimals, as dollars; nothing is ``$0.00`` in any unit."""
    if not amount:
        decimals = _FEWEST_DECIMALS
    whole, part = divmod(amount, 10**decimals)
    return f"${whole}.{part:0{decimals}}"
