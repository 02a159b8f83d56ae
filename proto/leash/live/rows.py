"""The columns of a run as top and the status page show them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from leash.live.text import count_text, printable, reason_name, size_text, sparkline, status_name
from leash.units import NANOSECONDS_PER_SECOND, PPM_PER_ONE, format_dollars, format_duration
from leash.v1 import types_pb2

if TYPE_CHECKING:
    from leash.live.fleet import Tracked
    from leash.live.processes import Live

NONE = "-"
SPARK_BARS = 10
_HOUR_S = 3_600

# What is further away than this is no forecast.
FARTHEST_S = 100 * 86_400


@dataclass(frozen=True, slots=True)
class Row:
    """One run at one instant. Texts are ready to be shown; ``used_ppm`` is None where there is no budget."""

    run: str
    status: str
    cost: str
    limit: str
    used_ppm: int | None
    per_hour: str
    spark: str
    tokens_per_minute: str
    left: str
    calls: str
    open: str
    cpu: str
    memory: str
    note: str


# The title of each column, in the order in which they stand, with the field that it shows and what it means.
COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("RUN", "run", "name"),
    ("STATUS", "status", "running, stopped, killed or finished"),
    ("COST", "cost", "spent so far"),
    ("LIMIT", "limit", "the cost budget"),
    ("USED", "used_ppm", "cost against limit"),
    ("$/H", "per_hour", "dollars an hour, by the last five minutes"),
    ("SPEND", "spark", "the last five minutes"),
    ("TOK/MIN", "tokens_per_minute", "tokens a minute, by the last five minutes"),
    ("LEFT", "left", "time until a limit at this rate, and which"),
    ("CALLS", "calls", "calls that were settled"),
    ("OPEN", "open", "calls under way"),
    ("CPU", "cpu", "of the wrapped program"),
    ("MEM", "memory", "of the wrapped program"),
    ("NOTE", "note", "why it was stopped, and what asks for attention"),
)


def row(run: Tracked, live: Live | None, *, now_ns: int) -> Row:
    """A run as it is shown at an instant."""
    account = run.account
    total = run.total_cost_nanodollars(now_ns)
    budget = account.limits.max_cost_nanodollars
    pace = run.pace(now_ns)
    per_hour = run.nanodollars_per_hour(now_ns)
    bars = run.spending.bars(now_ns, SPARK_BARS)
    return Row(
        run=printable(account.run),
        status=status_name(account),
        cost=format_dollars(total),
        limit=format_dollars(budget) if budget else NONE,
        used_ppm=total * PPM_PER_ONE // budget if budget else None,
        per_hour=format_dollars(per_hour) if per_hour else NONE,
        spark=sparkline(bars) if any(bars) else "",
        tokens_per_minute=count_text(pace.tokens_per_minute) if pace.tokens_per_minute else NONE,
        left=_left_text(run, now_ns=now_ns),
        calls=f"{account.calls}",
        open=f"{account.open_calls}",
        cpu=f"{live.cpu_percent:.0f}%" if live else NONE,
        memory=size_text(live.memory_bytes) if live else NONE,
        note=_note(account),
    )


def forecasts(run: Tracked, *, now_ns: int) -> list[tuple[int, str]]:
    """The seconds until each limit at the pace of now, with what that limit is: ``cost``, ``calls``, ``time``."""
    account = run.account
    if account.status != types_pb2.STATUS_RUNNING:
        return []
    limits, pace = account.limits, run.pace(now_ns)
    found = []
    per_hour = run.nanodollars_per_hour(now_ns)
    if limits.max_cost_nanodollars and per_hour:
        rest = max(limits.max_cost_nanodollars - run.total_cost_nanodollars(now_ns), 0)
        found.append((rest * _HOUR_S // per_hour, "cost"))
    if limits.max_calls and pace.calls_per_hour:
        rest = max(limits.max_calls - account.calls - account.unresolved_calls, 0)
        found.append((rest * _HOUR_S // pace.calls_per_hour, "calls"))
    if account.deadline_at_unix_ns:
        found.append((max(account.deadline_at_unix_ns - now_ns, 0) // NANOSECONDS_PER_SECOND, "time"))
    return sorted(each for each in found if each[0] < FARTHEST_S)


def _left_text(run: Tracked, *, now_ns: int) -> str:
    nearest = next(iter(forecasts(run, now_ns=now_ns)), None)
    if nearest is None:
        return NONE
    return f"{format_duration(nearest[0] * NANOSECONDS_PER_SECOND)} {nearest[1]}"


def _note(account: types_pb2.Account) -> str:
    notes = [account.reason]
    if account.unresolved_calls:
        notes.append(f"{account.unresolved_calls} unresolved")
    if account.blind_calls:
        notes.append(f"{account.blind_calls} blind")
    if account.would_stop:
        reasons = map(reason_name, account.would_stop)
        notes.append(f"would stop: {' '.join(reasons)}")
    return printable(", ".join(filter(None, notes)))
