"""Who leaves while a call is under way: the agent, the run by a kill, the shim itself."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import pytest

from leash.v1 import shim_pb2, types_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

BODY = b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
REPORT = b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}}\n\n'
TEXT = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"one"}}]}\n\n'
KILL = shim_pb2.Push(
    run_stopped=shim_pb2.RunStopped(run="a3f9", reason=types_pb2.REASON_KILL_SWITCH, now=True),
)


def post(body: bytes = BODY, *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = "POST /openai/v1/chat/completions HTTP/1.1\r\nHost: shim\r\nConnection: close\r\n"
    return f"{head}Content-Length: {size}\r\n\r\n".encode() + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Gated:
    """A provider that sends the first part of an answer, and the rest when it is let."""

    def __init__(self, first: bytes, rest: bytes) -> None:
        self.first = first
        self.rest = rest
        self.go = anyio.Event()
        self.cut = anyio.Event()

    async def __call__(self, asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(self.first)
        await writer.drain()
        closed = asyncio.ensure_future(asked.cut())
        released = asyncio.ensure_future(self.go.wait())
        done, pending = await asyncio.wait((closed, released), return_when=asyncio.FIRST_COMPLETED)
        if closed in done:
            self.cut.set()
        for task in pending:
            task.cancel()
        await asyncio.wait((closed, released))
        writer.write(self.rest)


async def test_an_agent_that_leaves_while_it_waits_takes_its_reserve_back(start: Callable[..., Any]) -> None:
    async with start() as shim, shim.connection() as connection:
        shim.session.hold = anyio.Event()
        await connection.send(post())
        await shim.session.until("reserve")
        connection.hang_up()
        await shim.session.until("cancel")
        assert shim.session.kinds == ["reserve", "cancel"]
        assert shim.provider.asked == []


async def test_an_agent_that_leaves_before_its_request_is_whole_asks_for_nothing(start: Callable[..., Any]) -> None:
    async with start() as shim, shim.connection() as connection:
        await connection.send(post(b'{"mod', length=100))
        connection.hang_up()
        await anyio.sleep(0.1)
        assert shim.session.kinds == []


@pytest.mark.parametrize("moment", ["before the headers", "in the stream"])
async def test_after_its_agent_has_left_an_answer_is_read_to_its_end_and_settled(
    start: Callable[..., Any], moment: str
) -> None:
    whole = HEAD + chunk(TEXT) + chunk(REPORT) + b"0\r\n\r\n"
    split = 0 if moment == "before the headers" else whole.index(REPORT) - 5
    provider = Gated(whole[:split], whole[split:])
    async with start() as shim, shim.connection() as connection:
        shim.provider.script = provider
        await connection.send(post())
        await shim.provider.until_asked()
        if split:
            await connection.read_until(TEXT)
        connection.hang_up()
        await anyio.sleep(0.1)
        assert shim.session.kinds == ["reserve"]
        assert shim.app.calls_under_way == 1
        provider.go.set()
        settle = await shim.session.until("settle")
        assert settle.usage.output_tokens == 5
        assert shim.session.kinds == ["reserve", "settle"]


@pytest.mark.parametrize("moment", ["as it is admitted", "as it has its connection"])
async def test_an_agent_that_leaves_at_the_last_moment_has_its_call_taken_back_or_read_to_its_end(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    async with start() as shim:
        shim.provider.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await shim.ask(post())  # leaves a connection that the next call needs not wait for

        def leave() -> None:
            for calls in shim.app._calls.values():
                for call in calls:
                    call.hung_up()

        if moment == "as it is admitted":
            reserve = shim.session.reserve

            async def reserved(operation: Any) -> Any:
                verdict = await reserve(operation)
                leave()
                return verdict

            monkeypatch.setattr(shim.session, "reserve", reserved)
        else:
            send = aiohttp.ClientRequest.send

            async def sent(self: aiohttp.ClientRequest, conn: Any) -> Any:
                asyncio.get_running_loop().call_soon(leave)
                return await send(self, conn)

            monkeypatch.setattr(aiohttp.ClientRequest, "send", sent)
        async with shim.connection() as connection:
            await connection.send(post())
            await shim.session.until("reserve", 2)
            with anyio.fail_after(5):
                while shim.app.calls_under_way:  # noqa: ASYNC110 (it tells nobody)
                    await anyio.sleep(0.005)
        outcome, asked = shim.session.kinds[3:], len(shim.provider.asked)
        # From Python 3.12 on the client has written the request before anybody else has a turn: then it is read on.
        assert (outcome, asked) in ((["void"], 1), (["settle"], 2))
        assert outcome == ["void"] or moment == "as it has its connection"


@pytest.mark.parametrize("bound", ["bytes", "seconds"])
async def test_an_answer_without_end_is_not_read_forever_for_an_agent_that_left(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr("leash_shim.flow.DRAIN_BYTES" if bound == "bytes" else "leash_shim.flow.DRAIN_SECONDS", 0.2)

    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + chunk(REPORT))
        while not writer.is_closing():
            writer.write(chunk(TEXT))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with start() as shim, shim.connection() as connection:
        shim.provider.script = script
        await connection.send(post())
        await connection.read_until(TEXT)
        connection.hang_up()
        abandon = await shim.session.until("abandon")
        assert abandon.known.output_tokens == 5
        assert shim.session.kinds == ["reserve", "abandon"]


async def test_a_kill_at_once_cuts_a_stream_on_both_sides(start: Callable[..., Any]) -> None:
    provider = Gated(HEAD + chunk(REPORT) + chunk(TEXT), b"")
    async with start() as shim, shim.connection() as connection:
        shim.provider.script = provider
        await connection.send(post())
        await connection.read_until(TEXT)
        shim.app.on_push(KILL)
        assert not (await connection.read_all()).endswith(b"0\r\n\r\n")
        with anyio.fail_after(5):
            await provider.cut.wait()
        assert shim.session.kinds == ["reserve", "abandon"]
        assert shim.session.last("abandon").known.output_tokens == 5
        assert shim.app.calls_under_way == 0


@pytest.mark.parametrize(
    ("user_agent", "code"), [("OpenAI/Python 3.54.0", "kill_switch"), ("codex_exec/0.169.0 (Debian)", "invalid_prompt")]
)
async def test_a_kill_at_once_ends_a_stream_of_responses_with_the_event_that_says_so(
    start: Callable[..., Any], user_agent: str, code: str
) -> None:
    delta = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"one"}\n\n'
    request = post(b'{"model":"m","input":"go on","stream":true}').replace(b"/chat/completions", b"/responses")
    async with start() as shim, shim.connection() as connection:
        shim.provider.script = Gated(HEAD + chunk(delta), b"")
        await connection.send(request.replace(b"Host: shim", b"Host: shim\r\nUser-Agent: " + user_agent.encode()))
        await connection.read_until(delta)
        shim.app.on_push(KILL)
        rest = await connection.read_all()
        assert rest.endswith(b"0\r\n\r\n")
        told = json.loads(rest[rest.index(b"{") : rest.rindex(b"}") + 1])
        assert (told["type"], told["response"]["status"]) == ("response.failed", "failed")
        assert told["response"]["error"]["code"] == code
        assert told["response"]["error"]["message"].startswith("leash stopped run a3f9: kill_switch")
        assert shim.session.kinds == ["reserve", "abandon"]


@pytest.mark.parametrize("first", [b'data: {"type":"response.out', b'data: {"type":"response.created"}\n'])
async def test_a_kill_at_once_cuts_a_stream_of_responses_within_an_event(
    start: Callable[..., Any], first: bytes
) -> None:
    request = post(b'{"model":"m","input":"go on","stream":true}').replace(b"/chat/completions", b"/responses")
    async with start() as shim, shim.connection() as connection:
        shim.provider.script = Gated(HEAD + chunk(first), b"")
        await connection.send(request)
        await connection.read_until(first)
        shim.app.on_push(KILL)
        assert not (await connection.read_all()).endswith(b"0\r\n\r\n")


async def test_a_kill_at_once_answers_a_call_whose_headers_had_not_come(start: Callable[..., Any]) -> None:
    async with start() as shim, shim.connection() as connection:
        shim.provider.script = Gated(b"", b"")
        await connection.send(post())
        await shim.provider.until_asked()
        shim.app.on_push(KILL)
        head, _, body = (await connection.read_all()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429")
        assert b"x-should-retry: false" in head
        assert json.loads(body)["error"]["code"] == "kill_switch"
        assert shim.session.kinds == ["reserve", "abandon"]


async def test_a_kill_between_the_admission_and_the_request_voids_the_call(start: Callable[..., Any]) -> None:
    async with start() as shim, shim.connection() as connection:
        shim.session.hold = anyio.Event()
        await connection.send(post())
        await shim.session.until("reserve")
        shim.app.on_push(KILL)
        shim.session.hold.set()
        assert (await connection.read_all()).startswith(b"HTTP/1.1 429")
        assert shim.session.kinds == ["reserve", "void"]
        assert shim.provider.asked == []


@pytest.mark.parametrize(
    "push",
    [
        shim_pb2.Push(run_stopped=shim_pb2.RunStopped(run="a3f9", reason=types_pb2.REASON_KILL_SWITCH)),
        shim_pb2.Push(run_stopped=shim_pb2.RunStopped(run="other", reason=types_pb2.REASON_KILL_SWITCH, now=True)),
        shim_pb2.Push(run_warned=shim_pb2.RunWarned(run="a3f9")),
    ],
)
async def test_any_other_push_leaves_calls_in_flight_alone(start: Callable[..., Any], push: shim_pb2.Push) -> None:
    provider = Gated(HEAD + chunk(TEXT), chunk(REPORT) + b"0\r\n\r\n")
    async with start() as shim, shim.connection() as connection:
        shim.provider.script = provider
        await connection.send(post())
        await connection.read_until(TEXT)
        shim.app.on_push(push)
        provider.go.set()
        assert (await connection.read_all()).endswith(b"0\r\n\r\n")
        assert shim.session.kinds == ["reserve", "settle"]


async def test_a_shim_that_is_ended_lets_its_answers_end(start: Callable[..., Any]) -> None:
    provider = Gated(HEAD + chunk(TEXT), chunk(REPORT) + b"0\r\n\r\n")
    async with start() as shim, shim.connection() as connection:
        shim.provider.script = provider
        await connection.send(post())
        await connection.read_until(TEXT)
        shim.shutdown.set()
        await anyio.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", shim.port)
        provider.go.set()
        assert (await connection.read_all()).endswith(b"0\r\n\r\n")
        assert shim.session.kinds == ["reserve", "settle"]


async def test_what_outlasts_the_end_of_a_shim_is_abandoned(start: Callable[..., Any]) -> None:
    provider = Gated(HEAD + chunk(REPORT) + chunk(TEXT), b"")
    async with start(drain_s=0.2) as shim, shim.connection() as connection:
        shim.provider.script = provider
        await connection.send(post())
        await connection.read_until(TEXT)
        shim.shutdown.set()
        await connection.read_all()
        assert shim.session.kinds == ["reserve", "abandon"]
        assert shim.session.last("abandon").known.output_tokens == 5


async def test_a_shim_that_is_cancelled_abandons_what_is_under_way_and_ends_at_once(
    start: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    provider = Gated(HEAD + chunk(REPORT) + chunk(TEXT), b"")
    with anyio.fail_after(3):
        async with start(drain_s=60.0) as shim, shim.connection() as connection:
            shim.provider.script = provider
            await connection.send(post())
            await connection.read_until(TEXT)
            shim.serving.cancel()
            await connection.read_all()
            assert shim.session.kinds == ["reserve", "abandon"]
    assert caplog.text == ""


async def test_an_agent_that_reads_nothing_does_not_keep_a_shim_from_ending(start: Callable[..., Any]) -> None:
    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()

    with anyio.fail_after(8):
        async with start(drain_s=0.1) as shim, shim.connection() as connection:
            shim.provider.script = script
            await connection.send(post())
            await connection.read_until(b"\r\n\r\n")
            await anyio.sleep(0.3)
    assert shim.session.kinds == ["reserve", "abandon"]
