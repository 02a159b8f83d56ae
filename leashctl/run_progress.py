"""Where a wrapped run stands, on the last line of its terminal: followed from the daemon, drawn on a clock."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from leash.client.control import ControlClient
from leash.client.errors import ClientError
from leash.live.fleet import Fleet
from leash.live.rows import row
from leash.live.text import bar, percent_text
from leash.v1 import types_pb2

if TYPE_CHECKING:
    from leash.client.paths import Endpoint
    from leash.live.fleet import Tracked
    from leashctl.status_line import StatusLine

# As fast as a person reads it.
_DRAW_EVERY_S = 0.5

# A daemon that was restarted is asked again after this.
_PAUSE_S = 1.0

_BAR_WIDTH = 10


async def keep_line(line: StatusLine, endpoint: Endpoint, account: types_pb2.Account) -> None:
    """Keeps the line of a run until it is cancelled. It goes on without a daemon, with what was known last."""
    fleet = Fleet(show_finished=True)
    fleet.listed("", [account], asked_at_ns=time.time_ns(), now_ns=time.time_ns())
    async with anyio.create_task_group() as group:
        group.start_soon(_follow, fleet, endpoint, account.run)
        while True:
            now_ns = time.time_ns()
            for run in fleet:
                line.show(line_text(run, now_ns=now_ns, ascii_only=_is_ascii()))
            await anyio.sleep(_DRAW_EVERY_S)


async def _follow(fleet: Fleet, endpoint: Endpoint, run: str) -> None:
    while True:
        with suppress(ClientError):
            async with ControlClient(endpoint) as client:
                async for change in client.watch(run):
                    fleet.changed("", change.account, change.entry, now_ns=time.time_ns())
        await anyio.sleep(_PAUSE_S)


def line_text(run: Tracked, *, now_ns: int, ascii_only: bool = False) -> str:
    """What the line says of a run, the most important first, since a narrow terminal cuts it."""
    shown = row(run, None, now_ns=now_ns)
    account = run.account
    parts = [f"leash {shown.run}"]
    if shown.used_ppm is None:
        parts.append(shown.cost)
    else:
        drawn = bar(shown.used_ppm, _BAR_WIDTH, ascii_only=ascii_only)
        parts.append(f"{shown.cost} of {shown.limit} {drawn} {percent_text(shown.used_ppm)}")
    of = f" of {account.limits.max_calls}" if account.limits.max_calls else ""
    calls = f"{account.calls}{of} call{'' if account.calls == 1 and not of else 's'}"
    parts.append(f"{calls}, {account.open_calls} open" if account.open_calls else calls)
    if account.status == types_pb2.STATUS_RUNNING:
        if shown.per_hour != "-":
            parts.append(f"{shown.per_hour}/h")
        if shown.left != "-":
            left, what = shown.left.split()
            parts.append(f"{left} left ({what})")
    if shown.note:
        parts.append(f"{shown.status} ({shown.note})" if account.reason else shown.note)
    return "  ".join(parts)


def _is_ascii() -> bool:
    return "utf" not in (sys.stderr.encoding if sys.stderr else "").lower()
