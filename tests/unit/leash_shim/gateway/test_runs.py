"""The runs that a worker has open: opened once for many, closed when idle, and never while a call of theirs goes on."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from leash.client.errors import DaemonUnavailable
from leash_shim.gateway.runs import RunRegistry

pytestmark = pytest.mark.anyio

IDLE_S = 600.0


class Session:
    """Keeps what it was asked; its answers can be held up or refused."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.asked: list[str] = []
        self.fails = False
        self.hold: asyncio.Event | None = None

    async def open(self, name: str) -> None:
        await self._answer(f"open {name}")

    async def close_run(self, run: str, *, unfinished: bool = False) -> None:
        await self._answer(f"{'leave' if unfinished else 'close'} {run}")

    async def _answer(self, asked: str) -> None:
        self.asked.append(asked)
        if self.hold is not None:
            await self.hold.wait()
        if self.fails:
            raise DaemonUnavailable("no daemon")


class Place:
    def __init__(self, idle_s: float = IDLE_S) -> None:
        self.session = Session()
        self.runs = RunRegistry(self.session, idle_s=idle_s, now=lambda: self.session.now_s)

    async def enter(self, name: str = "r") -> None:
        await self.runs.enter(name, lambda: self.session.open(name))


async def test_a_run_is_opened_with_its_first_call() -> None:
    place = Place()
    await place.enter()
    await place.enter()
    place.runs.leave("r")
    await place.enter("other")

    assert place.session.asked == ["open r", "open other"]
    assert len(place.runs) == 2


async def test_calls_that_come_at_once_share_one_opening() -> None:
    place = Place()
    place.session.hold = asyncio.Event()
    calls = [asyncio.create_task(place.enter()) for _ in range(5)]
    await asyncio.sleep(0)
    place.session.hold.set()
    await asyncio.gather(*calls)

    assert place.session.asked == ["open r"]


async def test_an_idle_run_is_closed_and_one_with_a_call_is_not() -> None:
    place = Place()
    await place.enter("idle")
    place.runs.leave("idle")
    await place.enter("busy")
    place.session.now_s += IDLE_S - 1
    await place.runs.close_idle()
    assert len(place.runs) == 2

    place.session.now_s += 1
    await place.runs.close_idle()

    assert place.session.asked[2:] == ["close idle"]
    assert len(place.runs) == 1
    await place.enter("idle")
    assert place.session.asked[3:] == ["open idle"]


async def test_the_idle_time_counts_from_the_last_calls_end() -> None:
    place = Place()
    await place.enter()
    place.session.now_s += 10 * IDLE_S
    place.runs.leave("r")
    await place.runs.close_idle()

    assert place.session.asked == ["open r"]


async def test_without_an_idle_time_a_run_stays_open() -> None:
    place = Place(idle_s=0)
    await place.enter()
    place.runs.leave("r")
    place.session.now_s += 10**9
    await place.runs.close_idle()

    assert place.session.asked == ["open r"]


async def test_a_call_that_comes_while_its_run_is_closed_opens_it_again() -> None:
    place = Place()
    await place.enter()
    place.runs.leave("r")
    place.session.now_s += IDLE_S
    place.session.hold = asyncio.Event()
    closing = asyncio.create_task(place.runs.close_idle())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calling = asyncio.create_task(place.enter())
    await asyncio.sleep(0)
    assert place.session.asked == ["open r", "close r"], "the opening waits for the closing"

    place.session.hold.set()
    await asyncio.gather(closing, calling)

    assert place.session.asked == ["open r", "close r", "open r"]
    place.runs.leave("r")


async def test_a_call_that_comes_while_others_are_closed_keeps_its_run_open() -> None:
    place = Place()
    for number in range(70):
        await place.enter(f"r{number}")
        place.runs.leave(f"r{number}")
    place.session.now_s += IDLE_S
    place.session.hold = asyncio.Event()
    closing = asyncio.create_task(place.runs.close_idle())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await place.enter("r69")  # its turn comes with the second batch
    place.session.hold.set()
    await closing

    assert "close r0" in place.session.asked
    assert "close r69" not in place.session.asked
    assert len(place.runs) == 1


async def test_a_run_that_was_used_while_others_are_closed_is_not_idle() -> None:
    place = Place()
    for number in range(70):
        await place.enter(f"r{number}")
        place.runs.leave(f"r{number}")
    place.session.now_s += IDLE_S
    place.session.hold = asyncio.Event()
    closing = asyncio.create_task(place.runs.close_idle())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await place.enter("r69")
    place.runs.leave("r69")
    place.session.hold.set()
    await closing

    assert "close r68" in place.session.asked
    assert "close r69" not in place.session.asked


async def test_a_run_that_cannot_be_opened_is_not_counted() -> None:
    place = Place()
    place.session.fails = True
    with pytest.raises(DaemonUnavailable):
        await place.enter()
    assert len(place.runs) == 0

    place.session.fails = False
    await place.enter()
    assert len(place.runs) == 1


async def test_calls_that_come_at_once_share_the_wait_for_a_daemon_that_does_not_answer() -> None:
    place = Place()
    place.session.fails = True
    place.session.hold = asyncio.Event()
    calls = [asyncio.create_task(place.enter()) for _ in range(5)]
    await asyncio.sleep(0)
    place.session.hold.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert [str(outcome) for outcome in outcomes] == 5 * ["no daemon"]
    assert place.session.asked == ["open r"]
    with pytest.raises(DaemonUnavailable):
        await place.enter()
    assert place.session.asked == ["open r", "open r"], "whoever comes later asks again"


async def test_where_the_one_that_opens_is_cut_the_next_opens() -> None:
    place = Place()
    place.session.hold = asyncio.Event()
    first, second = (asyncio.create_task(place.enter()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    place.session.hold.set()
    await second

    assert place.session.asked == ["open r", "open r"]
    assert first.cancelled()


async def test_a_call_that_is_cut_while_its_run_is_opened_is_not_counted() -> None:
    place = Place()
    place.session.hold = asyncio.Event()
    call = asyncio.create_task(place.enter())
    await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call

    assert len(place.runs) == 0


async def test_a_run_that_cannot_be_closed_is_tried_again_later() -> None:
    place = Place()
    await place.enter()
    place.runs.leave("r")
    place.session.now_s += IDLE_S
    place.session.fails = True
    await place.runs.close_idle()
    await place.runs.close_idle()
    assert place.session.asked == ["open r", "close r"]

    place.session.fails = False
    place.session.now_s += IDLE_S
    await place.runs.close_idle()

    assert place.session.asked == ["open r", "close r", "close r"]
    assert len(place.runs) == 0


async def test_other_settings_open_a_run_anew_before_its_next_call() -> None:
    place = Place()
    await place.enter()
    place.runs.reopen_all()
    assert place.session.asked == ["open r"]
    await place.enter()
    await place.enter()

    assert place.session.asked == ["open r", "open r"]


async def test_settings_that_change_while_a_run_is_opened_open_it_once_more() -> None:
    place = Place()
    place.session.hold = asyncio.Event()
    call = asyncio.create_task(place.enter())
    await asyncio.sleep(0)
    place.runs.reopen_all()
    place.session.hold.set()
    await call

    assert place.session.asked == ["open r", "open r"]


async def test_at_the_end_a_run_is_left_to_whoever_comes_next() -> None:
    place = Place()
    await place.enter("done")
    place.runs.leave("done")
    await place.enter("busy")
    await place.runs.close_all()

    assert place.session.asked[2:] == ["leave done"]


async def test_a_daemon_that_has_gone_is_not_asked_to_close_each_of_many_runs() -> None:
    place = Place()
    for number in range(200):
        await place.enter(f"r{number}")
        place.runs.leave(f"r{number}")
    place.session.fails = True
    await place.runs.close_all()

    assert len(place.session.asked) == 200 + 64


@pytest.mark.parametrize(
    ("idle_s", "pause_s"), [(600.0, 30.0), (60.0, 15.0), (0.0, 30.0), (1e-9, 0.01), (0.4, pytest.approx(0.1))]
)
async def test_the_watch_looks_neither_all_the_time_nor_too_late(
    monkeypatch: pytest.MonkeyPatch, idle_s: float, pause_s: float
) -> None:
    pauses: list[float] = []

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        raise asyncio.CancelledError

    monkeypatch.setattr("asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await Place(idle_s=idle_s).runs.watch()

    assert pauses == [pause_s]


async def test_the_watch_closes_what_is_idle() -> None:
    place = Place(idle_s=0.02)
    await place.enter()
    place.runs.leave("r")
    place.session.now_s += 1
    watching = asyncio.create_task(place.runs.watch())
    async with asyncio.timeout(10):
        while len(place.session.asked) < 2:  # noqa: ASYNC110 - what is waited for is the registry's own timer
            await asyncio.sleep(0.005)
    watching.cancel()

    assert place.session.asked == ["open r", "close r"]


async def test_a_call_that_comes_just_as_its_run_begins_to_close_waits_and_is_counted_right() -> None:
    place = Place()
    await place.enter()
    place.runs.leave("r")
    place.session.now_s += IDLE_S
    # Both begin in the same turn of the loop, the call behind the closing.
    await asyncio.gather(place.runs.close_idle(), place.enter())

    assert place.session.asked == ["open r", "close r", "open r"]
    place.runs.leave("r")
    place.session.now_s += IDLE_S
    await place.runs.close_idle()
    assert place.session.asked[3:] == ["close r"]
