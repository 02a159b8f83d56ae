from __future__ import annotations

from typing import Any

import pytest

from leash_shim.downstream import BodyTooLarge, Downstream, HungUp
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
