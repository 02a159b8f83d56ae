"""As many columns as fit, each line exactly as wide as it may be."""

from __future__ import annotations

import pytest

from leash.live.rows import Row
from leash.live.text import cells
from leashctl.top_view.layout import columns_for, line, title_line

ROW = Row(
    run="a-rather-long-name-of-a-run-日本語-that-is-cut",
    status="running",
    cost="$1.00",
    limit="$4.00",
    used_ppm=850_000,
    per_hour="$3.00",
    spark=" ▁▂▃▄▅▆▇█ ",
    tokens_per_minute="1.2k",
    left="1h5m cost",
    calls="7",
    open="2",
    cpu="12%",
    memory="74M",
    note="1 unresolved, would stop: stall max_calls",
)


def titles(width: int) -> list[str]:
    return [column.title for column in columns_for(width)]


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_line_is_never_wider_than_the_terminal(ascii_only: bool) -> None:
    for width in range(1, 220):
        columns = columns_for(width, longest_run=44)
        shown = line(ROW, columns, warn_ppm=0, ascii_only=ascii_only)
        taken = sum(cells(cell.text) for cell in shown)
        assert taken <= width, width
        assert taken == cells(title_line(columns, ascii_only=ascii_only)), width


def test_what_matters_most_is_shown_where_there_is_little_room() -> None:
    assert titles(10) == ["RUN"]
    assert titles(22) == ["RUN", "STATUS"]
    assert titles(39) == ["RUN", "STATUS", "COST", "USED"]
    assert set(titles(80)) >= {"RUN", "STATUS", "COST", "USED", "NOTE", "LEFT"}
    assert titles(160) == [
        *("RUN", "STATUS", "COST", "LIMIT", "USED", "$/H", "SPEND", "TOK/MIN", "LEFT", "CALLS", "OPEN", "CPU", "MEM"),
        "NOTE",
    ]


def test_what_is_wrong_is_said_in_words_and_not_in_colours_alone() -> None:
    over = line(ROW, columns_for(160), warn_ppm=0)
    assert {cell.tone for cell in over if "85%" in cell.text} == {"warn"}
    assert any("1 unresolved" in cell.text for cell in over)
    assert any(cell.text.startswith("running") for cell in over)


def test_a_run_that_warns_later_is_not_yellow_before() -> None:
    assert {cell.tone for cell in line(ROW, columns_for(160), warn_ppm=900_000) if "85%" in cell.text} == {"good"}


def test_a_terminal_of_ascii_gets_ascii() -> None:
    plain = Row(**{name: getattr(ROW, name) for name in Row.__slots__} | {"run": "a-rather-long-name-of-a-run" * 3})
    text = "".join(cell.text for cell in line(plain, columns_for(160), warn_ppm=0, ascii_only=True))
    assert text.isascii()
    assert "#######.." in text
