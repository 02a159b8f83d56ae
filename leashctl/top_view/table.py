"""The table of runs: only the lines that are seen are made, so that a thousand runs cost what thirty do."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from leashctl.top_view.layout import columns_for, line, title_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leash.live.fleet import Key, Tracked
    from leash.live.rows import Row

_TONES = {
    "good": Style(color="green"),
    "warn": Style(color="yellow"),
    "bad": Style(color="red", bold=True),
    "dim": Style(dim=True),
}
_TITLE = Style(bold=True, underline=True)
_CHOSEN = Style(reverse=True)
_PLAIN = Style()


class RunTable(ScrollView, can_focus=True):
    """Runs in lines, one of them chosen; the choice stays with its run wherever that goes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown,space", "page(1)", "Page down", show=False),
        Binding("home", "go(0)", "First", show=False),
        Binding("end", "go(-1)", "Last", show=False),
    ]
    DEFAULT_CSS = "RunTable { height: 1fr; overflow-x: hidden; }"

    class Chosen(Message):
        """Another run was chosen."""

    def __init__(self, row_of: Callable[[Tracked], Row], *, ascii_only: bool) -> None:
        super().__init__()
        self._row_of = row_of
        self._ascii_only = ascii_only
        self._runs: Sequence[Tracked] = ()
        self._longest = 0
        self._position = 0
        self._has_moved = False
        self._drawn: dict[int, Strip] = {}
        self.chosen: Key | None = None

    @property
    def _width(self) -> int:
        """The cells of a line, without the scroll bar beside it."""
        return self.scrollable_content_region.width

    def show(self, runs: Sequence[Tracked]) -> None:
        """Shows these runs, in this order."""
        self._runs = runs
        self._longest = max((len(run.account.run) for run in runs), default=0)
        # Until somebody chooses another, it is whichever comes first.
        positions = [number for number, run in enumerate(runs) if run.key == self.chosen and self._has_moved]
        before = self.chosen
        if positions:
            self._position = positions[0]
        else:
            # One that has gone leaves the choice to its neighbour.
            self._position = min(self._position, max(len(runs) - 1, 0)) if self._has_moved else 0
            self.chosen = runs[self._position].key if runs else None
        size = Size(self._width, len(runs) + 1)
        if size != self.virtual_size:
            self.virtual_size = size
        if self.chosen != before:
            self.post_message(self.Chosen())
        self._keep_in_sight()
        self._refresh_changed()

    def _refresh_changed(self) -> None:
        """Has the lines drawn that are not as they are seen: a terminal far away is not sent the others again."""
        for y in range(self.size.height):
            if self._drawn.get(y) != self._strip(y):
                self.refresh(Region(0, y, self._width, 1))

    def in_sight(self) -> Sequence[Tracked]:
        """The runs whose lines are seen."""
        first = self.scroll_offset.y
        return self._runs[first : first + max(self.size.height - 1, 1)]

    def render_line(self, y: int) -> Strip:
        """One line of what is seen; the first one is the titles'."""
        self._drawn[y] = self._strip(y)
        return self._drawn[y]

    def _strip(self, y: int) -> Strip:
        width = self._width
        columns = columns_for(width, longest_run=self._longest)
        if y == 0:
            titles = title_line(columns, ascii_only=self._ascii_only)
            return Strip([Segment(titles, _TITLE)]).adjust_cell_length(width, _TITLE)
        position = self.scroll_offset.y + y - 1
        if position >= len(self._runs):
            return Strip.blank(width, _PLAIN)
        run = self._runs[position]
        cells = line(self._row_of(run), columns, warn_ppm=run.account.limits.warn_at_ppm, ascii_only=self._ascii_only)
        base = _CHOSEN if run.key == self.chosen else _PLAIN
        segments = [Segment(cell.text, base if base.reverse else _TONES.get(cell.tone, _PLAIN)) for cell in cells]
        return Strip(segments).adjust_cell_length(width, base)

    def on_resize(self) -> None:
        """Keeps the chosen run in sight."""
        self.virtual_size = Size(self._width, len(self._runs) + 1)
        self._keep_in_sight()

    def action_move(self, lines: int) -> None:
        """Chooses another run."""
        self._choose(self._position + lines)

    def action_page(self, pages: int) -> None:
        """Chooses the run a screen away."""
        self._choose(self._position + pages * max(self.size.height - 2, 1))

    def action_go(self, position: int) -> None:
        """Chooses whichever run comes first or, by -1, the last one."""
        self._choose(position if position >= 0 else len(self._runs) - 1)
        self._has_moved = position != 0

    def _choose(self, position: int) -> None:
        if not self._runs:
            return
        self._position = min(max(position, 0), len(self._runs) - 1)
        self._has_moved = True
        self.chosen = self._runs[self._position].key
        self.post_message(self.Chosen())
        self._keep_in_sight()
        self.refresh()

    def _keep_in_sight(self) -> None:
        height = max(self.size.height - 1, 1)
        first = self.scroll_offset.y
        if self._position < first:
            self.scroll_to(y=self._position, animate=False, force=True, immediate=True)
        elif self._position >= first + height:
            self.scroll_to(y=self._position - height + 1, animate=False, force=True, immediate=True)
