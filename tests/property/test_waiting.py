"""Calls that wait for room are answered as soon as anything decides them, whoever brings it about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leashd.operations import Disconnected, Kill, Raise, Resolve
from leashd.pricing import read_prices
from tests.property.direct import DOLLAR, Stage, Talk, call_id, stage

A, B, C = call_id(1), call_id(2), call_id(3)
OTHER_PRICES = b'{"m": {"input": 1000, "output": 1000}}'
pytestmark = pytest.mark.anyio


async def strict_line(world: Stage) -> tuple[Talk, list[Any]]:
    """A run with $0.50 of $1 in flight, and a call behind it that needs $0.90."""
    shim = await world.talk(b"session1")
    shim.open("r", max_cost_nanodollars=DOLLAR, strict=True)
    shim.reserve("r", A, tokens=500)
    waiting = shim.reserve("r", B, tokens=900)
    await world.daemon.flush()
    assert waiting == []
    return shim, waiting


def named(answers: list[Any]) -> list[str]:
    return [answer.refuse.reason.value if hasattr(answer, "refuse") else type(answer).__name__ for answer in answers]


async def test_a_kill_answers_those_who_wait(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim, waiting = await strict_line(world)
        shim.ask(Kill(runs=("r",), now=False, actor_uid=0))
        await world.daemon.flush()
        assert named(waiting) == ["kill_switch"]


async def test_a_raise_lets_those_in_who_wait(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim, waiting = await strict_line(world)
        shim.ask(Raise(run="r", given={"max_cost_nanodollars": 2 * DOLLAR}, resume=False, actor_uid=0))
        await world.daemon.flush()
        assert named(waiting) == ["Admit"]


async def test_a_stop_by_a_later_waiter_answers_those_before_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim, waiting = await strict_line(world)
        unlisted = shim.reserve("r", C, tokens=900, model="n")
        stored = read_prices(OTHER_PRICES)
        shim.ask(stored)
        await world.daemon.flush()
        assert unlisted == []
        other = await world.talk(b"session2")
        other.prices = stored.sha256
        other.open("r")
        await world.daemon.flush()
        assert named(unlisted) == ["unpriced_model"]
        assert named(waiting) == ["unpriced_model"]


async def test_an_abandoned_call_refuses_those_who_waited_for_it_and_a_resolve_makes_room(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim, waiting = await strict_line(world)
        shim.abandon("r", A)
        await world.daemon.flush()
        assert named(waiting) == ["unresolved_calls"]
        shim.ask(Resolve(run="r", call_prefix=A[:15], cost_nanodollars=None, actor_uid=0))
        again = shim.reserve("r", C, tokens=900)
        await world.daemon.flush()
        assert named(again) == ["Admit"]


async def test_a_lost_session_keeps_its_holds_through_the_grace_and_its_waiters_do_not_block(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim, lost = await strict_line(world)
        other = await world.talk(b"session2")
        other.open("r")
        waiting = other.reserve("r", C, tokens=600)
        shim.ask(Disconnected(shim.session, shim))
        await world.daemon.flush()
        assert waiting == [], "what was forwarded may still be answered"
        world.after(seconds=2)
        await world.daemon.flush()
        assert lost == [], "nobody is there to hear"
        assert named(waiting) == ["unresolved_calls"]
