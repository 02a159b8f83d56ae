"""The keys of top, at a terminal that Textual makes up; what it follows is told to it by hand."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Label, Static

from leash.client.paths import Endpoint
from leash.v1 import runs_pb2, types_pb2
from leashctl.top_view.app import TopApp
from leashctl.top_view.dialogs import KillDialog, RaiseAnswer, RaiseDialog
from leashctl.top_view.table import RunTable
from tests.unit.leash.live.made import DOLLAR, account, settled

pytestmark = pytest.mark.anyio

LEDGER = "/ledger.db"


def no_daemon() -> list[Endpoint]:
    return []


class Top:
    """A running top, and what is done to it."""

    def __init__(self, app: TopApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def tell(self, *accounts: types_pb2.Account) -> None:
        self.app.listed(LEDGER, list(accounts), asked_at_ns=time.time_ns())
        self.app._draw()
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    @property
    def table(self) -> RunTable:
        return self.app._table

    def lines(self) -> list[str]:
        return [self.table.render_line(y).text.rstrip() for y in range(self.table.size.height)]

    def names(self) -> list[str]:
        return [line.split()[0] for line in self.lines()[1:] if line]

    def chosen(self) -> str:
        return self.table.chosen.run if self.table.chosen else ""

    def summary(self) -> str:
        return str(self.app.query_one("#summary", Static).content)


@asynccontextmanager
async def running(size: tuple[int, int] = (150, 20), **options: Any) -> AsyncIterator[Top]:
    values: dict[str, Any] = {"sort": "cost", "wanted": "", "show_finished": False} | options
    app = TopApp(no_daemon, **values)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield Top(app, pilot)


def some(count: int) -> list[types_pb2.Account]:
    return [account(f"r{number:04}", cost=number * DOLLAR, limit=2_000 * DOLLAR) for number in range(count)]


async def test_the_dearest_run_comes_first_and_is_chosen() -> None:
    async with running() as top:
        await top.tell(*some(3))
        assert top.names() == ["r0002", "r0001", "r0000"]
        assert top.chosen() == "r0002"
        assert "3 runs, 3 running  $3.00 spent" in top.summary()


async def test_a_choice_stays_with_its_run() -> None:
    async with running() as top:
        await top.tell(*some(3))
        await top.press("down")
        assert top.chosen() == "r0001"
        await top.tell(account("r0001", cost=99 * DOLLAR, entries=11), *some(3)[::2])
        assert top.names()[0] == top.chosen() == "r0001"
        await top.press("home")
        await top.tell(account("r0000", cost=999 * DOLLAR, entries=11), *some(3)[1:])
        assert top.chosen() == "r0000"  # with no choice of anybody's it is whichever comes first


async def test_a_thousand_runs_are_scrolled_and_only_those_in_sight_are_made() -> None:
    async with running() as top:
        await top.tell(*some(1_000))
        made: list[str] = []
        row_of: Callable[..., Any] = top.app._row

        def counted(run: Any) -> Any:
            made.append(run.key.run)
            return row_of(run)

        top.table._row_of = counted
        await top.press("end")
        assert top.chosen() == "r0000"
        assert top.names()[-1] == "r0000"
        assert len(set(made)) < 60
        await top.press("pageup")
        assert "r0000" not in top.names()[:1]
        await top.press("home")
        assert top.names()[0] == "r0999"


async def test_orders_and_a_filter() -> None:
    async with running() as top:
        await top.tell(*some(12))
        await top.press("i")
        assert top.names()[0] == "r0000"
        await top.press("i", "s", "s", "s", "s", "s", "s")
        assert "by name" in top.summary()
        assert top.names()[0] == "r0000"
        await top.press("slash", *"r001", "enter")
        assert top.names() == ["r0010", "r0011"]
        assert "2 of 12 runs" in top.summary()
        assert 'filter "r001"' in top.summary()
        await top.press("escape")
        assert len(top.names()) == 12


async def test_a_filter_from_the_command_line() -> None:
    async with running(wanted="r0001") as top:
        await top.tell(*some(3))
        assert top.names() == ["r0001"]
        await top.press("slash", "end", "backspace", "0", "enter")
        assert top.names() == ["r0000"]


async def test_a_key_of_an_action_is_a_letter_in_the_filter() -> None:
    async with running() as top:
        await top.tell(*some(2))
        await top.press("slash", *"qkr")
        assert top.app.query_one("#filter", Input).value == "qkr"
        assert top.names() == []


async def test_a_kill_needs_a_second_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as top:
        asked: list[tuple[str, str]] = []
        monkeypatch.setattr(top.app, "_kill", lambda key, answer: asked.append((key.run, answer)))
        await top.tell(*some(2))
        await top.press("k")
        assert isinstance(top.app.screen, KillDialog)
        await top.press("escape")
        await top.press("k", "enter")  # on the first answer, which is to cancel
        await top.press("k", "y")
        await top.press("k", "w")
        assert asked == [("r0001", ""), ("r0001", ""), ("r0001", "kill"), ("r0001", "now")]


async def test_a_raise_gives_what_was_changed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as top:
        answers: list[RaiseAnswer | None] = []
        monkeypatch.setattr(top.app, "_raise", lambda _key, answer: answers.append(answer))
        await top.tell(account("r", limit=2 * DOLLAR))
        await top.press("r")
        assert isinstance(top.app.screen, RaiseDialog)
        await top.press("enter")
        trouble = top.app.screen.query_one("#trouble", Label)
        assert "change a limit" in str(trouble.content)
        await top.press(*"9e9999", "enter")
        assert "--max-cost" in str(trouble.content)
        top.app.screen.query_one("#max-cost", Input).value = "3.50"
        top.app.screen.query_one("#resume", Input).value = "yes"
        await top.press("enter")
        [answer] = answers
        assert answer is not None
        assert (answer.limits.max_cost, answer.limits.max_calls, answer.resume) == (3_500_000_000, None, True)


async def test_a_run_in_detail_shows_its_calls() -> None:
    async with running(size=(120, 30)) as top:
        await top.tell(account("r", cost=DOLLAR, limit=2 * DOLLAR, calls=3))
        await top.press("enter")
        entry = settled(11, time.time_ns(), DOLLAR, model="a-model\x1b[31m")
        top.app.changed(
            LEDGER, runs_pb2.WatchResponse(run="r", entry=entry, account=account("r", limit=DOLLAR, entries=11))
        )
        top.app._draw()
        await top.pilot.pause()
        detail = str(top.app.query_one("#detail-text", Static).content)
        assert "a-model\\x1b[31m" in detail
        assert "--max-cost" in detail
        await top.press("escape")
        assert not top.app.query_one("#detail").has_class("shown")


@pytest.mark.parametrize("size", [(10, 4), (20, 6), (40, 8), (80, 24), (250, 60)])
async def test_any_terminal_will_do(size: tuple[int, int]) -> None:
    async with running(size=size) as top:
        await top.tell(*some(200))
        await top.press("enter", "k", "escape", "r", "escape", "end", "s")
        assert all(len(line) <= size[0] for line in top.lines())


async def test_a_name_that_looks_like_markup_is_a_name() -> None:
    async with running() as top:
        top.app.lost(LEDGER, "leashd at [red]nowhere[/red] has ended")
        await top.tell(account("[bold]r"))
        assert top.names() == ["[bold]r"]
        assert "[red]nowhere[/red] has ended" in top.summary()


async def test_without_colours_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with running() as top:
        await top.tell(account("over", cost=DOLLAR, limit=DOLLAR, status=types_pb2.STATUS_STOPPED), *some(40))
        await top.press("end")
        assert top.app.no_color
        assert "stopped" in " ".join(top.lines() + top.names())
