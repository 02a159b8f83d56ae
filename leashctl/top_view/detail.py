"""One run in detail: its account and its last calls, as lines of text. Pure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from leash.live.rows import forecasts
from leash.live.text import printable, size_text
from leash.units import NANOSECONDS_PER_SECOND, format_duration
from leashctl.render import ENTRY_COLUMNS, account_lines, entry_row, limit_lines, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leash.live.fleet import Tracked
    from leash.live.processes import Live
    from leash.v1 import types_pb2

# The kinds that tell of a call's life, or of what happened to the run; a reserve is told by what closes it.
_LEFT_OUT = frozenset(("reserved", "opened", "closed"))


def detail_lines(  # noqa: PLR0913 - what there is to know of a run
    run: Tracked, entries: Sequence[types_pb2.Entry], live: Live | None, *, owner: str, now_ns: int, width: int
) -> list[str]:
    """A run with its limits and its last calls, the latest first."""
    account = run.account
    told = dict(each.strip().split("  ", 1) for each in account_lines(account, ledger="-", owner=owner, now_ns=now_ns))
    told = {name: value.strip() for name, value in told.items()}
    limits = ", ".join(" ".join(each.split()) for each in limit_lines(account.limits))
    lines = [
        f" {account.run}  {told['status']}  owner {owner}  ledger {run.key.source}",
        f" cost    {told['cost']}   tokens  {told['tokens']}",
        f" calls   {told['calls']}   the last one {told['last call']}, created {told['created']}",
        f" limits  {limits or 'none'}",
    ]
    if found := forecasts(run, now_ns=now_ns):
        ahead = ", ".join(f"{what} in {format_duration(s * NANOSECONDS_PER_SECOND)}" for s, what in found)
        lines.append(f" ahead   {ahead} (at this rate)")
    if live is not None:
        lines.append(
            f" program {account.pid}  {live.cpu_percent:.0f}% CPU  {size_text(live.memory_bytes)}  {live.command}"
        )
    lines = [printable(each)[: max(width, 20)] for each in lines]
    shown = [entry for entry in reversed(entries) if entry.kind not in _LEFT_OUT]
    rows = [entry_row(entry, at=_clock(entry.at_unix_ns)) for entry in shown]
    return [*lines, "", *(f" {each}" for each in table(ENTRY_COLUMNS, rows, width=max(width - 1, 20)))]


def _clock(unix_ns: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(unix_ns // NANOSECONDS_PER_SECOND))
