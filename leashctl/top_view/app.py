"""The application: what is followed, what is shown of it, and what the keys do.

The rule: it draws on a clock of its own and not with every event, so that it is as calm with a thousand runs as with
one.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Input, Static

from leash.client.control import ControlClient
from leash.client.errors import ClientError
from leash.live.feed import Feed
from leash.live.fleet import Fleet, Key, together
from leash.live.order import SORTS, arranged
from leash.live.processes import Live, ProcessGauge
from leash.live.rows import row
from leash.live.text import status_name
from leash.units import format_dollars
from leashctl.top_view.detail import detail_lines
from leashctl.top_view.dialogs import KillDialog, RaiseAnswer, RaiseDialog
from leashctl.top_view.table import RunTable
from leashctl.users import user_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from leash.client.paths import Endpoint
    from leash.live.fleet import Tracked
    from leash.live.rows import Row
    from leash.v1 import runs_pb2, types_pb2

# Fast enough to be live, slow enough to be read.
_DRAW_EVERY_S = 1.0
_LOOK_AT_PROCESSES_EVERY = 2  # draws

# Entries of the run in detail: more than fit on a screen.
_DETAIL_ENTRIES = 120

# A message of what a key has done stays for so many draws.
_SAID_FOR = 6


_FILTER_HINT = "words in a run's name, status or reason; Enter keeps it, Escape drops it"


@dataclass(slots=True)
class _Said:
    text: str = ""
    draws: int = 0


class TopApp(App[None]):
    """``leashctl top``. ``find`` names the daemons that are to be followed."""

    TITLE = "leash top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #summary { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    #filter { display: none; border: none; height: 1; padding: 0; }
    #detail { display: none; height: 50%; border-top: solid $primary; }
    #detail.shown { display: block; }
    #filter.shown { display: block; }
    Footer { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", "Quit"),
        Binding("enter", "detail", "Detail"),
        Binding("k", "kill", "Kill"),
        Binding("r", "raise", "Raise"),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", "Sort back", show=False),
        Binding("i", "reverse", "Reverse"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("a", "finished", "All"),
        Binding("escape", "leave", "Back", show=False),
    ]

    def __init__(self, find: Callable[[], list[Endpoint]], *, sort: str, wanted: str, show_finished: bool) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"  # the terminal's own colours, on whatever ground it has
        self._find = find
        self._sort = sort
        self._backwards = False
        self._wanted = wanted
        self._fleet = Fleet(show_finished=show_finished)
        self._clients: dict[str, Endpoint] = {}
        self._lost: dict[str, str] = {}
        self._processes = ProcessGauge()
        self._lives: dict[int, Live | None] = {}
        self._entries: deque[types_pb2.Entry] = deque(maxlen=_DETAIL_ENTRIES)
        self._detailed: Key | None = None
        self._draws = 0
        self._said = _Said()
        self._heard = False
        encoding = (sys.stdout.encoding or "").lower()
        # They are kept here, since a query looks on the screen that is on top, which may be a question.
        self._table = RunTable(self._row, ascii_only="utf" not in encoding)
        self._summary_lines = Static(id="summary", markup=False)
        self._filter = Input(id="filter", placeholder=_FILTER_HINT)
        self._detail_text = Static(id="detail-text", markup=False)
        self._detail = VerticalScroll(self._detail_text, id="detail", can_focus=False)

    def compose(self) -> ComposeResult:
        """A summary, the table, the detail of a run, the keys."""
        yield self._summary_lines
        yield self._filter
        yield self._table
        yield self._detail
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begins to follow, and to draw."""
        self._filter.value = self._wanted
        self._table.focus()
        self._follow()
        self._draw()
        self.set_interval(_DRAW_EVERY_S, self._draw)

    def _follow(self) -> None:
        feed = Feed(self._find, self, show_finished=self._fleet.show_finished)
        self.run_worker(feed.follow(), group="feed", exclusive=True)

    # What the feed tells.

    def listed(self, source: str, accounts: list[types_pb2.Account], *, asked_at_ns: int) -> None:
        """Every run of a daemon."""
        self._fleet.listed(source, accounts, asked_at_ns=asked_at_ns, now_ns=time.time_ns())
        if not self._heard:
            self._heard = True
            self._draw()

    def changed(self, source: str, change: runs_pb2.WatchResponse) -> None:
        """One entry."""
        self._fleet.changed(source, change.account, change.entry, now_ns=time.time_ns())
        if self._detailed == (source, change.run):
            self._entries.append(change.entry)

    def earlier(self, source: str, run: str, entries: list[types_pb2.Entry]) -> None:
        """The last entries of a run."""
        self._fleet.earlier(Key(source, run), entries)

    def reached(self, source: str, endpoint: Endpoint) -> None:
        """A daemon can be asked."""
        self._clients[source] = endpoint
        self._lost.pop(source, None)

    def lost(self, source: str, why: str) -> None:
        """A daemon is away."""
        self._lost[source] = why

    # What is drawn.

    def _draw(self) -> None:
        now_ns = time.time_ns()
        self._fleet.tidy(now_ns)
        runs = arranged(
            list(self._fleet), sort=self._sort, backwards=self._backwards, wanted=self._wanted, now_ns=now_ns
        )
        if self._draws % _LOOK_AT_PROCESSES_EVERY == 0:
            self._look_at_processes()
        self._draws += 1
        self._table.show(runs)
        _update(self._summary_lines, self._summary(len(runs), now_ns))
        self._draw_detail(now_ns)

    def _look_at_processes(self) -> None:
        pids = {run.account.pid for run in self._table.in_sight() if run.account.pid}
        self._lives = {pid: self._processes.look_at(pid) for pid in pids}
        self._processes.keep_only(pids)

    def _row(self, run: Tracked) -> Row:
        return row(run, self._lives.get(run.account.pid), now_ns=time.time_ns())

    def _summary(self, shown: int, now_ns: int) -> str:
        runs = list(self._fleet)
        running, spent, rate = together(runs, now_ns)
        order = f"by {self._sort}{' reversed' if self._backwards else ''}"
        of = f"{shown} of {len(runs)} runs" if shown != len(runs) else f"{len(runs)} runs"
        words = f', filter "{self._wanted}"' if self._wanted else ""
        lines = [
            f"leash  {of}, {running} running  {format_dollars(spent)} spent  {format_dollars(rate)}/h  ({order}{words})"
        ]
        lines += [f"{why}: its runs are as they were last seen" for why in self._lost.values()]
        if not runs and not self._lost and self._heard:
            lines.append("no run yet: start one with `leash --max-cost 5 -- COMMAND`")
        if self._said.draws:
            self._said.draws -= 1
            lines.append(self._said.text)
        return "\n".join(lines)

    def _say(self, text: str) -> None:
        self._said = _Said(text, _SAID_FOR)
        self._draw()

    def _draw_detail(self, now_ns: int) -> None:
        pane = self._detail
        if not pane.has_class("shown"):
            return
        run = self._fleet.get(self._detailed) if self._detailed else None
        lines = ["  no run is chosen"]
        if run is not None:
            owner = user_name(run.account.owner_uid)
            live = self._lives.get(run.account.pid)
            lines = detail_lines(run, self._entries, live, owner=owner, now_ns=now_ns, width=pane.size.width)
        _update(self._detail_text, "\n".join(lines))

    # What the keys do.

    def on_run_table_chosen(self) -> None:
        """Shows another run in detail."""
        if self._detail.has_class("shown"):
            self._show_detail()

    def action_detail(self) -> None:
        """Shows a run in detail, or no longer."""
        pane = self._detail
        pane.toggle_class("shown")
        if pane.has_class("shown"):
            self._show_detail()
        else:
            self._detailed = None

    def _show_detail(self) -> None:
        key = self._table.chosen
        if key == self._detailed:
            return
        self._detailed = key
        self._entries.clear()
        if key is not None:
            self.run_worker(self._read_entries(key), group="detail", exclusive=True)
        self._draw_detail(time.time_ns())

    async def _read_entries(self, key: Key) -> None:
        run, endpoint = self._fleet.get(key), self._clients.get(key.source)
        if run is None or endpoint is None:
            return
        try:
            async with ControlClient(endpoint) as client:
                after_seq = max(run.account.entries - _DETAIL_ENTRIES, 0)
                entries = await client.journal(key.run, after_seq=after_seq)
        except ClientError as error:
            self._say(str(error))
            return
        if self._detailed == key:
            known = entries[-1].seq if entries else 0
            later = [entry for entry in self._entries if entry.seq > known]
            self._entries = deque([*entries, *later], maxlen=_DETAIL_ENTRIES)
            self._draw_detail(time.time_ns())

    def action_kill(self) -> None:
        """Asks whether to kill the chosen run."""
        key = self._table.chosen
        if key is not None:
            self.push_screen(KillDialog(key.run), lambda answer: self._kill(key, answer or ""))

    def _kill(self, key: Key, answer: str) -> None:
        if not answer:
            return

        async def kill(client: ControlClient) -> str:
            response = await client.kill([key.run], now=answer == "now")
            return f"{key.run} {'is killed' if response.killed else 'was killed already'}"

        self.run_worker(self._act(key, kill), group="act")

    def action_raise(self) -> None:
        """Asks for the limits of the chosen run."""
        key = self._table.chosen
        run = self._fleet.get(key) if key else None
        if run is not None:
            self.push_screen(RaiseDialog(run.account), lambda answer: self._raise(run.key, answer))

    def _raise(self, key: Key, answer: RaiseAnswer | None) -> None:
        if answer is None:
            return

        async def change(client: ControlClient) -> str:
            account = await client.raise_limits(key.run, answer.limits.to_wire(), resume=answer.resume)
            return f"{key.run} is {status_name(account)}, with the limits that were given"

        self.run_worker(self._act(key, change), group="act")

    async def _act(self, key: Key, request: Callable[[ControlClient], object]) -> None:
        endpoint = self._clients.get(key.source)
        if endpoint is None:
            self._say(f"{key.run}: its daemon cannot be asked now")
            return
        try:
            async with ControlClient(endpoint) as client:
                said = await request(client)  # type: ignore[misc] # it is what the two above return
        except ClientError as error:
            said = f"{key.run}: {error}"
        self._say(str(said))

    def action_sort(self, step: int) -> None:
        """Sorts by the next thing."""
        names = list(SORTS)
        self._sort = names[(names.index(self._sort) + step) % len(names)]
        self._draw()

    def action_reverse(self) -> None:
        """Turns the order around."""
        self._backwards = not self._backwards
        self._draw()

    def action_finished(self) -> None:
        """Shows finished runs as well, or no longer."""
        self._fleet.show_finished = not self._fleet.show_finished
        self._follow()
        self._say("finished runs are shown" if self._fleet.show_finished else "finished runs are left out")

    def action_filter(self) -> None:
        """Asks for words."""
        field = self._filter
        field.add_class("shown")
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filters as words are typed."""
        if event.input.id == "filter":
            self._wanted = event.value
            self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keeps the filter."""
        if event.input.id == "filter":
            event.input.remove_class("shown")
            self._table.focus()

    def action_leave(self) -> None:
        """Leaves the filter, and then the detail."""
        field = self._filter
        if self._wanted or field.has_class("shown"):
            field.value = self._wanted = ""
            field.remove_class("shown")
            self._table.focus()
            self._draw()
        elif self._detail.has_class("shown"):
            self.action_detail()


def _update(shown: Static, text: str) -> None:
    """Shows a text where it is another one; the whole screen is laid out anew only for one of other lines."""
    before = str(shown.content)
    if text != before:
        shown.update(text, layout=text.count("\n") != before.count("\n"))
