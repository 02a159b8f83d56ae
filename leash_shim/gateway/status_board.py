"""What the status page shows: the runs that the gateway's daemon shows it, followed while somebody looks on.

The rule: it reads, and nothing else. Nobody who looks on, however slow, holds up a call or another who does.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import anyio

from leash.live.feed import Feed
from leash.live.fleet import Fleet, Key, together
from leash.live.order import arranged
from leash.live.processes import Live, ProcessGauge
from leash.live.rows import row
from leash.live.text import percent_text
from leash.units import format_dollars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leash.client.paths import Endpoint
    from leash.live.fleet import Tracked
    from leash.v1 import runs_pb2, types_pb2

# Once nobody has looked on for so long, the daemon is no longer followed. A page that is loaded again finds it all.
_LINGER_S = 15.0

# A page is shown with what is known after this time, be it nothing.
_FIRST_S = 3.0

# Rows in one page; more than a person scrolls through, and what a browser draws without a pause.
MOST_ROWS = 2_000

# The wrapped programs that are looked at for one picture: some ten milliseconds.
_MOST_PROCESSES = 100
_LOOK_EVERY_S = 2.0

# A picture is shared for so long: less than the time between two that one page asks for.
_PICTURE_S = 0.8


@dataclass(frozen=True, slots=True)
class Picture:
    """What is shown at one moment: the cells of each run, and two sentences. ``trouble`` is empty where all is well."""

    rows: list[list[Any]]
    summary: str
    trouble: str


class StatusBoard:
    """The runs of one daemon. ``run`` follows it; ``looking`` says that somebody looks on."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._fleet = Fleet()
        self._lookers = 0
        self._left_at_s = 0.0
        self._wanted = anyio.Event()
        self._listed = anyio.Event()
        self._processes = ProcessGauge()
        self._lives: dict[int, Live | None] = {}
        self._looked_at_s = 0.0
        self._pictures: dict[str, tuple[float, Picture]] = {}
        self.trouble = ""

    async def run(self) -> None:
        """Follows the daemon whenever somebody looks on, until it is cancelled."""
        while True:
            await self._wanted.wait()
            async with anyio.create_task_group() as group:
                group.start_soon(Feed(lambda: [self._endpoint], self).follow)
                while self._is_looked_at():  # noqa: ASYNC110 (it is time that ends it)
                    await anyio.sleep(_LINGER_S / 4)
                group.cancel_scope.cancel()
            self._wanted, self._listed = anyio.Event(), anyio.Event()
            self._fleet = Fleet()
            if self._lookers:  # somebody came just now
                self._wanted.set()

    def _is_looked_at(self) -> bool:
        return self._lookers > 0 or time.monotonic() - self._left_at_s < _LINGER_S

    @contextmanager
    def looking(self) -> Iterator[None]:
        """For as long as somebody looks on."""
        self._lookers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._lookers -= 1
            self._left_at_s = time.monotonic()

    async def first_picture(self) -> None:
        """Waits until the runs are known, though not for long."""
        with anyio.move_on_after(_FIRST_S):
            await self._listed.wait()

    def picture(self, tenant: str) -> Picture:
        """The runs that a tenant may see, those that spent most first; every run where ``tenant`` is empty.

        Whoever looks at the same moment gets the same one, so that many pages cost what one does.
        """
        now_s = time.monotonic()
        self._pictures = {of: made for of, made in self._pictures.items() if now_s - made[0] < _PICTURE_S}
        if tenant not in self._pictures:
            self._pictures[tenant] = (now_s, self._make_picture(tenant))
        return self._pictures[tenant][1]

    def _make_picture(self, tenant: str) -> Picture:
        now_ns = time.time_ns()
        self._fleet.tidy(now_ns)
        seen = [run for run in self._fleet if not tenant or run.account.run.startswith(f"{tenant}/")]
        shown = arranged(seen, sort="cost", backwards=False, wanted="", now_ns=now_ns)[:MOST_ROWS]
        self._look_at_processes(shown)
        running, spent, rate = together(seen, now_ns)
        runs = "1 run" if len(seen) == 1 else f"{len(seen)} runs"
        summary = f"{runs}, {running} running, {format_dollars(spent)} spent, {format_dollars(rate)} an hour"
        if len(shown) < len(seen):
            summary += f"; the {len(shown)} that spent most are shown"
        return Picture([self._cells(run, now_ns) for run in shown], summary, self.trouble)

    def _cells(self, run: Tracked, now_ns: int) -> list[Any]:
        """The texts of the columns, with the used part in percent as a text and, last, as a number for its bar."""
        shown = row(run, self._lives.get(run.account.pid), now_ns=now_ns)
        cells: list[Any] = list(astuple(shown))
        used = shown.used_ppm
        cells[4] = "-" if used is None else percent_text(used)
        # A thousandth of the bar is more than is seen, and keeps rows that hardly change from being sent.
        return [*cells, -1 if used is None else min(used // 1_000, 1_000)]

    def _look_at_processes(self, shown: list[Tracked]) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_at_s < _LOOK_EVERY_S:
            return
        self._looked_at_s = now_s
        pids = list(dict.fromkeys(run.account.pid for run in shown if run.account.pid))[:_MOST_PROCESSES]
        self._lives = {pid: self._processes.look_at(pid) for pid in pids}
        self._processes.keep_only(set(pids))

    # What the feed tells.

    def listed(self, source: str, accounts: list[types_pb2.Account], *, asked_at_ns: int) -> None:
        """Every run."""
        self._fleet.listed(source, accounts, asked_at_ns=asked_at_ns, now_ns=time.time_ns())
        self._listed.set()

    def changed(self, source: str, change: runs_pb2.WatchResponse) -> None:
        """One entry."""
        self._fleet.changed(source, change.account, change.entry, now_ns=time.time_ns())

    def earlier(self, source: str, run: str, entries: list[types_pb2.Entry]) -> None:
        """The last entries of a run."""
        self._fleet.earlier(Key(source, run), entries)

    def reached(self, source: str, endpoint: Endpoint) -> None:
        """The daemon is there."""
        del source, endpoint
        self.trouble = ""

    def lost(self, source: str, why: str) -> None:
        """The daemon is away."""
        del source
        self.trouble = why
