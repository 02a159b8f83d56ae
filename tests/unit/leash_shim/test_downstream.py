from __future__ import annotations

from typing import Any

import anyio
import pytest

from leash_shim.downstream import BodyTimeout, BodyTooLarge, Downstream, HungUp
from leash_shim.held_bodies import BodiesFull, HeldBodies
from leash_shim.refusal import failed

pytestmark = pytest.mark.anyio


def body(data: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


GONE = {"type": "http.disconnect"}


class Agent:
    """An agent that sends the messages it was given, and keeps what it gets."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)
        self.got: list[dict[str, Any]] = []
        self.side = Downstream(self.receive, self.send)

    async def receive(self) -> dict[str, Any]:
        return self.messages.pop(0)

    async def send(self, message: dict[str, Any]) -> None:
        self.got.append(message)


async def test_a_body_is_put_together() -> None:
    agent = Agent(body(b"ab", more=True), body(b"", more=True), body(b"c", more=False))
    assert await agent.side.read_body(3) == b"abc"
    assert agent.side.body_read


async def test_a_body_above_the_limit_is_not_read_to_its_end() -> None:
    agent = Agent(body(b"ab", more=True), body(b"cd", more=True), body(b"ef", more=False))
    with pytest.raises(BodyTooLarge):
        await agent.side.read_body(3)
    assert len(agent.messages) == 1


async def test_a_body_above_the_limit_by_its_own_word_is_not_read_at_all() -> None:
    agent = Agent(body(b"ab", more=False))
    with pytest.raises(BodyTooLarge):
        await agent.side.read_body(3, announced=4)
    assert len(agent.messages) == 1


async def test_an_agent_that_leaves_within_its_body_has_hung_up() -> None:
    agent = Agent(body(b"ab", more=True), GONE)
    with pytest.raises(HungUp):
        await agent.side.read_body(3)
    assert agent.side.gone


async def test_until_gone_drops_the_rest_of_the_body() -> None:
    agent = Agent(body(b"ab", more=True), body(b"", more=False), GONE)
    await agent.side.until_gone()
    assert (agent.side.gone, agent.side.body_read) == (True, True)


async def test_an_agent_that_has_gone_is_sent_nothing() -> None:
    agent = Agent(GONE)
    await agent.side.until_gone()
    await agent.side.start(200, [])
    await agent.side.write(b"a")
    await agent.side.finish(b"b")
    assert agent.got == []
    assert agent.side.finished


async def test_an_answer_to_a_body_that_still_comes_is_out_before_that_is_dropped() -> None:
    agent = Agent(body(b"ab", more=True), body(b"", more=False))
    await agent.side.answer(failed(413, "body_too_large", "no"), b"id")
    assert [message["type"] for message in agent.got] == ["http.response.start"] + 2 * ["http.response.body"]
    assert agent.got[0]["headers"][-1] == (b"x-request-id", b"id")
    assert (agent.got[1]["more_body"], agent.got[2]) == (True, {**agent.got[2], "body": b"", "more_body": False})
    assert agent.messages == []


async def test_an_answer_to_a_body_that_was_read_is_one_piece() -> None:
    agent = Agent(body(b"", more=False))
    await agent.side.read_body(3)
    answer = failed(400, "bad_path", "no")
    await agent.side.answer(answer, b"id")
    assert agent.got[1:] == [{"type": "http.response.body", "body": answer.body, "more_body": False}]


async def test_what_is_read_is_held_and_counted() -> None:
    agent = Agent(body(b"ab", more=True), body(b"c", more=False))
    held = HeldBodies(10)
    assert await agent.side.read_body(3, held=held.share()) == b"abc"
    assert (held.held_bytes, agent.side.received_bytes) == (3, 3)


async def test_a_body_for_which_there_is_no_room_is_not_read_to_its_end() -> None:
    agent = Agent(body(b"ab", more=True), body(b"cd", more=True), body(b"ef", more=False))
    with pytest.raises(BodiesFull):
        await agent.side.read_body(100, held=HeldBodies(3).share())
    assert len(agent.messages) == 1


async def test_an_agent_that_sends_nothing_of_its_body_is_not_waited_for() -> None:
    async def nothing() -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    side = Downstream(nothing, Agent().send)
    with pytest.raises(BodyTimeout):
        await side.read_body(3, part_timeout_s=0.01)


async def test_an_answer_is_counted_and_can_close_its_connection() -> None:
    agent, leaving = Agent(), [False]
    side = Downstream(agent.receive, agent.send, closes=lambda: leaving[0])
    leaving[0] = True
    await side.start(200, [(b"content-type", b"text/plain")])
    await side.write(b"ab")
    await side.finish(b"c")
    assert agent.got[0]["headers"] == [(b"content-type", b"text/plain"), (b"connection", b"close")]
    assert (side.status, side.sent_bytes) == (200, 3)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([body(b"", more=False)], b""),
        ([body(b"ab", more=False)], b"ab"),
        ([body(b"ab", more=True), body(b"c", more=False)], b"abc"),
        ([body(b"", more=True), body(b"c", more=False)], b"c"),
    ],
)
async def test_whether_there_is_a_body_is_told_by_its_first_part_which_is_not_lost(
    messages: list[dict[str, Any]], expected: bytes
) -> None:
    agent = Agent(*messages)
    assert await agent.side.has_body() is bool(expected)
    assert len(agent.messages) == len(messages) - 1
    assert await agent.side.read_body(3) == expected
    assert agent.side.received_bytes == len(expected)
