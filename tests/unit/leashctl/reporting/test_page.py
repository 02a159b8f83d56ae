"""The page is well-formed, asks for nothing, and takes no text of a run for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from leash.v1 import types_pb2
from leashctl.reporting.charts import cost_line, stacked_bars
from leashctl.reporting.figures import Figures
from leashctl.reporting.page import host_page, run_page
from tests.unit.leash.live.made import DOLLAR, NOW, SECOND, account, settled

NASTY = '<script>alert("x")</script>&\x1b[31m'


class Document(HTMLParser):
    """Which elements a page has, and what it asks for."""

    _VOID = frozenset(("meta", "link", "br", "input", "rect", "line", "path", "circle"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.asked_for: list[str] = []
        self._open: list[str] = []
        self.text = ""
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.asked_for += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        if tag not in self._VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def of_run() -> str:
    figures = Figures()
    for seq in range(1, 4):
        figures.take(NASTY, settled(seq, NOW + seq * SECOND, DOLLAR, model=NASTY))
    stopped = types_pb2.Entry(
        seq=4,
        at_unix_ns=NOW + 4 * SECOND,
        kind="stopped",
        reason=NASTY,
        used=3 * DOLLAR,
        limit=2 * DOLLAR,
        unit=types_pb2.UNIT_NANODOLLARS,
    )
    figures.take(NASTY, stopped)
    shown = account(NASTY, cost=3 * DOLLAR, limit=2 * DOLLAR, calls=3, reason=NASTY, status=types_pb2.STATUS_STOPPED)
    return run_page(shown, figures, owner=NASTY, ledger=NASTY, made_at_ns=NOW)


def of_host() -> str:
    figures = Figures(since_ns=NOW - 3_600 * SECOND, bucket_ns=60 * SECOND)
    for number in range(70):
        figures.take(f"{NASTY}{number}", settled(number + 1, NOW - number * SECOND, DOLLAR * number, model=NASTY))
    accounts = {f"{NASTY}{number}": account(f"{NASTY}{number}") for number in range(60)}
    return host_page(figures, accounts, since="the last 1h", made_at_ns=NOW, owners=dict.fromkeys(accounts, NASTY))


@pytest.mark.parametrize("page", [of_run(), of_host()], ids=["run", "host"])
def test_a_page_is_whole_and_asks_for_nothing(page: str) -> None:
    document = Document(page)
    assert document.asked_for == []
    assert "script" not in document.tags
    assert "url(" not in page
    assert "@import" not in page
    assert not re.search(r"https?://", page)
    assert "\x1b" not in page
    assert 'alert("x")' in document.text  # as a text


def test_a_run_shows_what_it_came_to() -> None:
    text = Document(of_run()).text
    for shown in (
        "$3.00",
        "of $2.00: 150%",
        "Dearest calls",
        "Slowest calls",
        "By model",
        "By kind of token",
        "Events",
    ):
        assert shown in text
    assert "$3.00 of $2.00" in text


def test_runs_beyond_the_table_are_added_up() -> None:
    text = Document(of_host()).text
    assert "20 more runs cost $190.00." in text
    assert "$2415.00" in text


def test_a_run_without_a_call_has_a_page_too() -> None:
    text = Document(run_page(account(), Figures(), owner="me", ledger="l.db", made_at_ns=NOW)).text
    assert "No call was settled." in text


def test_a_host_without_a_run_has_a_page_too() -> None:
    figures = Figures(since_ns=NOW - 60 * SECOND, bucket_ns=SECOND)
    assert "None." in Document(host_page(figures, {}, since="the last 60s", made_at_ns=NOW, owners={})).text


def test_charts_are_well_formed_and_stay_within_their_frame() -> None:
    points = [(NOW + number * SECOND, number * DOLLAR // 7) for number in range(300)]
    marks = [(NOW + 400 * SECOND, NASTY.replace("\x1b", ""))]
    line = cost_line(points, title="a & b", limit=50 * DOLLAR, marks=marks)
    bars = stacked_bars(
        {number: {"a": number, "b": 2 * number, "c": 5} for number in range(10)},
        series=["a", "b"],
        first=0,
        last=9,
        bucket_ns=60 * SECOND,
        title="bars",
    )
    for chart in (line, bars):
        for element in ET.fromstring(chart).iter():
            for name in ("x", "x1", "x2", "y", "y1", "y2"):
                assert 0 <= float(element.get(name, "0")) <= 900
    assert bars.count("<rect") == 28  # of three series, but that nothing of two is no bar


def test_one_point_is_seen() -> None:
    assert "<circle" in cost_line([(NOW, DOLLAR)], title="one")
    assert cost_line([], title="none") == ""
