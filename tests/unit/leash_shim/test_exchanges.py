"""What waits between a connection and the application, and since when either is waited for."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from leash_shim.asgi import Message
from leash_shim.exchanges import HttpExchange

pytestmark = pytest.mark.anyio

LAST: Message = {"type": "http.request", "body": b"", "more_body": False}


def part(size: int) -> Message:
    return {"type": "http.request", "body": b"x" * size, "more_body": True}


class Hypercorn:
    """The stream of an exchange, and its clock."""

    def __init__(self, *, h2: bool = False) -> None:
        self.now_s = 100.0
        self.sent: list[Message | None] = []
        self.taken_bytes = 0
        self.may_send = anyio.Event()
        self.may_send.set()
        self.exchange = HttpExchange(7, self._send, clock=lambda: self.now_s, taken=self._take if h2 else None)

    async def _send(self, message: Message | None) -> None:
        await self.may_send.wait()
        self.sent.append(message)

    async def _take(self, stream_id: int, size: int) -> None:
        assert stream_id == 7
        self.taken_bytes += size


async def test_an_agent_owes_the_rest_of_its_body_since_the_last_part_of_it() -> None:
    hypercorn = Hypercorn()
    exchange = hypercorn.exchange
    assert exchange.owed_since_s == 100.0
    hypercorn.now_s = 105.0
    await exchange.put(part(1))
    assert exchange.owed_since_s == 105.0
    await exchange.put(LAST)
    assert exchange.owed_since_s is None
    assert [await exchange.receive() for _ in range(2)] == [part(1), LAST]


async def test_a_body_waits_for_an_application_that_does_not_take_it_and_owes_nothing_meanwhile() -> None:
    hypercorn = Hypercorn()
    exchange = hypercorn.exchange
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.put, part(300_000))
        await anyio.lowlevel.checkpoint()
        hypercorn.now_s = 500.0
        assert exchange.owed_since_s is None
        assert await exchange.receive() == part(300_000)
    assert exchange.owed_since_s == 500.0


@pytest.mark.parametrize("h2", [False, True])
async def test_what_comes_after_the_answer_is_dropped_and_holds_up_nobody(*, h2: bool) -> None:
    hypercorn = Hypercorn(h2=h2)
    exchange = hypercorn.exchange
    await exchange.send({"type": "http.response.start", "status": 413, "headers": []})
    assert exchange.is_cut
    await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})
    assert not exchange.is_cut
    for _ in range(5):
        await exchange.put(part(100_000))
    await exchange.put({"type": "http.disconnect"})
    assert await exchange.receive() == {"type": "http.disconnect"}
    assert hypercorn.taken_bytes == (500_000 if h2 else 0)


async def test_a_stream_of_http2_is_told_what_was_taken_and_at_the_end_what_was_not() -> None:
    hypercorn = Hypercorn(h2=True)
    exchange = hypercorn.exchange
    for _ in range(4):
        await exchange.put(part(100_000))
    assert hypercorn.taken_bytes == 0
    await exchange.receive()
    assert hypercorn.taken_bytes == 100_000
    await exchange.end()
    assert hypercorn.taken_bytes == 400_000
    assert hypercorn.sent == [None]


async def test_what_an_agent_does_not_take_is_waited_for_since_it_was_sent() -> None:
    hypercorn = Hypercorn()
    exchange = hypercorn.exchange
    hypercorn.may_send = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.send, {"type": "http.response.start", "status": 200, "headers": []})
        await anyio.lowlevel.checkpoint()
        assert exchange.sending_since_s == 100.0
        hypercorn.may_send.set()
    assert exchange.sending_since_s is None
    assert exchange.is_cut


async def test_an_agent_that_is_given_up_has_gone() -> None:
    exchange = Hypercorn().exchange
    exchange.give_up()
    assert exchange.owed_since_s is None
    assert await exchange.receive() == {"type": "http.disconnect"}
