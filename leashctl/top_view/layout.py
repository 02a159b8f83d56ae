"""Which columns fit into a line, and a run as the cells of one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from leash.live.rows import NONE
from leash.live.text import bar, cells, percent_text
from leash.units import PPM_PER_ONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leash.live.rows import Row

_GAP = 2

# The columns, the most wanted first, each with the widths that it may have, the best first. They are shown in the
# order of _ORDER, as many of them as fit.
_WIDTHS: dict[str, tuple[int, ...]] = {
    "RUN": (12,),
    "STATUS": (8,),
    "COST": (9,),
    "USED": (14, 4),
    "NOTE": (12,),
    "LEFT": (12,),
    "$/H": (8,),
    "CALLS": (6,),
    "LIMIT": (9,),
    "OPEN": (4,),
    "SPEND": (10,),
    "TOK/MIN": (7,),
    "CPU": (5,),
    "MEM": (6,),
}
_ORDER = (
    "RUN",
    "STATUS",
    "COST",
    "LIMIT",
    "USED",
    "$/H",
    "SPEND",
    "TOK/MIN",
    "LEFT",
    "CALLS",
    "OPEN",
    "CPU",
    "MEM",
    "NOTE",
)
_RIGHT = frozenset(("COST", "LIMIT", "$/H", "TOK/MIN", "LEFT", "CALLS", "OPEN", "CPU", "MEM"))
_FIELDS = {"$/H": "per_hour", "SPEND": "spark", "TOK/MIN": "tokens_per_minute", "MEM": "memory"}

# A name is shown whole up to here, where there is room.
_WIDEST_RUN = 48

_PERCENT_WIDTH = 4
_ELLIPSIS = "…"

# From where on a budget asks for attention, where the run itself says nothing else.
_WARN_PPM = 800_000

_STATUS_TONES = {"running": "good", "stopped": "bad", "killed": "bad", "finished": "dim"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column as it is shown."""

    title: str
    width: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A text of exactly its column's width, and how it is meant: empty, ``good``, ``warn``, ``bad`` or ``dim``."""

    text: str
    tone: str = ""


def columns_for(width: int, *, longest_run: int = 0) -> list[Column]:
    """The columns for a line of so many cells, where the longest name of a run has so many."""
    chosen: dict[str, int] = {}
    left = width
    for title, widths in _WIDTHS.items():
        gap = _GAP if chosen else 0
        fitting = next((each for each in widths if each + gap <= left), None)
        if fitting is None:
            continue
        chosen[title] = fitting
        left -= fitting + gap
    if "RUN" not in chosen:
        return [Column("RUN", max(width, 1))]
    wider = min(left, max(min(longest_run, _WIDEST_RUN) - chosen["RUN"], 0))
    chosen["RUN"] += wider
    if "NOTE" in chosen:
        chosen["NOTE"] += left - wider
    return [Column(title, chosen[title]) for title in _ORDER if title in chosen]


def title_line(columns: Sequence[Column], *, ascii_only: bool = False) -> str:
    """The titles of columns, as one line."""
    return (" " * _GAP).join(_fit(column.title, column, ascii_only=ascii_only) for column in columns)


def line(row: Row, columns: Sequence[Column], *, warn_ppm: int, ascii_only: bool = False) -> list[Cell]:
    """A run as the cells of a line, those between two columns included."""
    found: list[Cell] = []
    for column in columns:
        if found:
            found.append(Cell(" " * _GAP))
        found.append(_cell(row, column, warn_ppm or _WARN_PPM, ascii_only=ascii_only))
    return found


def _cell(row: Row, column: Column, warn_ppm: int, *, ascii_only: bool) -> Cell:
    if column.title == "USED":
        return _used(row, column, warn_ppm, ascii_only=ascii_only)
    text: str = getattr(row, _FIELDS.get(column.title, column.title.lower()))
    if ascii_only and column.title == "SPEND":
        text = "".join(" .:-=+*#%"[min(" ▁▂▃▄▅▆▇█".index(each), 8)] for each in text)
    tone = ""
    if column.title == "STATUS":
        tone = _STATUS_TONES.get(row.status, "")
    elif column.title == "NOTE" and row.note:
        tone = _STATUS_TONES.get(row.status, "") if row.status != "running" else "warn"
    elif text == NONE:
        tone = "dim"
    return Cell(_fit(text, column, ascii_only=ascii_only), tone)


def _used(row: Row, column: Column, warn_ppm: int, *, ascii_only: bool) -> Cell:
    if row.used_ppm is None:
        return Cell(_fit(NONE, column, ascii_only=ascii_only), "dim")
    percent = f"{percent_text(min(row.used_ppm, 999 * 10_000)):>{_PERCENT_WIDTH}}"
    room = column.width - _PERCENT_WIDTH - 1
    tone = "bad" if row.used_ppm >= PPM_PER_ONE else "warn" if row.used_ppm >= warn_ppm else "good"
    if room <= 0:
        return Cell(percent, tone)
    return Cell(f"{bar(row.used_ppm, room, ascii_only=ascii_only)} {percent}", tone)


def _fit(text: str, column: Column, *, ascii_only: bool) -> str:
    """The text in exactly the width of a column, cut where it is longer."""
    size = cells(text)
    if size > column.width:
        ellipsis = "~" if ascii_only else _ELLIPSIS
        while size + 1 > column.width and text:
            size -= cells(text[-1])
            text = text[:-1]
        text, size = text + ellipsis, size + 1
    blanks = " " * (column.width - size)
    return blanks + text if column.title in _RIGHT else text + blanks
