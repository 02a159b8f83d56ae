"""What the agent receives: the provider's bytes, as they come, without what only leash asked for."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from leash_shim.downstream import Downstream

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

STREAM = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
ASKING = STREAM[:-1] + b',"stream_options":{"include_usage":true}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
DONE = b"data: [DONE]\n\n"


def post(body: bytes, *, extra: str = "") -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: shim\r\nConnection: close\r\n{extra}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def delta(text: str) -> bytes:
    return event({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]})


def usage_chunk() -> bytes:
    return event({"id": "c", "model": "m", "choices": [], "usage": USAGE})


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def test_a_stream_comes_through_piece_by_piece(start: Callable[..., Any]) -> None:
    seen = anyio.Event()

    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"\r\n" + chunk(delta("one")))
        await writer.drain()
        await seen.wait()
        writer.write(chunk(delta("two")) + chunk(usage_chunk()) + chunk(DONE) + b"0\r\n\r\n")

    async with start() as shim, shim.connection() as connection:
        shim.provider.script = script
        await connection.send(post(STREAM))
        assert (await connection.read_until(b'one"}}]}\n\n')).startswith(b"HTTP/1.1 200")
        assert shim.session.kinds == ["reserve"]
        seen.set()
        await connection.read_all()
        assert shim.session.kinds == ["reserve", "settle"]


async def test_the_usage_chunk_that_leash_asked_for_is_not_shown(start: Callable[..., Any]) -> None:
    parts = [delta("one"), delta("two"), usage_chunk(), DONE]

    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"\r\n" + b"".join(map(chunk, parts)) + b"0\r\n\r\n")

    async with start() as shim:
        shim.provider.script = script
        got = await shim.ask(post(STREAM, extra="Accept-Encoding: gzip, br\r\n"))
        assert (got.body, got.whole) == (delta("one") + delta("two") + DONE, True)
        [asked] = shim.provider.asked
        assert json.loads(asked.body)["stream_options"] == {"include_usage": True}
        assert asked.header("accept-encoding") == "identity"
        usage = shim.session.last("settle").usage
        assert (usage.input_tokens, usage.output_tokens) == (11, 5)


@pytest.mark.parametrize("inject", [True, False])
async def test_an_agent_that_asked_for_the_usage_gets_every_byte(start: Callable[..., Any], *, inject: bool) -> None:
    parts = [delta("one"), usage_chunk(), DONE]

    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"\r\n" + b"".join(map(chunk, parts)) + b"0\r\n\r\n")

    async with start(inject=inject) as shim:
        shim.provider.script = script
        got = await shim.ask(post(ASKING, extra="Accept-Encoding: gzip\r\n"))
        assert got.body == b"".join(parts)
        [asked] = shim.provider.asked
        assert (asked.body, asked.header("accept-encoding")) == (ASKING, "gzip")
        assert shim.session.last("settle").usage.output_tokens == 5


async def test_without_injection_the_request_stays_as_it_is_and_the_call_is_blind(start: Callable[..., Any]) -> None:
    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"\r\n" + chunk(delta("one")) + chunk(DONE) + b"0\r\n\r\n")

    async with start(inject=False) as shim:
        shim.provider.script = script
        assert (await shim.ask(post(STREAM))).body == delta("one") + DONE
        assert shim.provider.asked[0].body == STREAM
        assert not shim.session.last("settle").HasField("usage")


async def test_a_provider_that_compresses_all_the_same_is_decoded_where_a_chunk_is_hidden(
    start: Callable[..., Any],
) -> None:
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in (delta("one"), usage_chunk(), DONE)]
    packed.append(packer.flush())

    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Encoding: gzip\r\n\r\n" + b"".join(map(chunk, packed)) + b"0\r\n\r\n")

    async with start() as shim:
        shim.provider.script = script
        got = await shim.ask(post(STREAM))
        assert (got.body, got.header("content-encoding")) == (delta("one") + DONE, None)
        assert shim.session.last("settle").usage.output_tokens == 5


@pytest.mark.parametrize("encoding", ["gzip", "x-unknown"])
async def test_a_compressed_answer_is_passed_compressed(start: Callable[..., Any], encoding: str) -> None:
    packed = gzip.compress(json.dumps({"model": "m", "choices": [], "usage": USAGE}).encode())
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Type: application/json\r\n"

    async with start() as shim:
        shim.provider.answers(f"{head}Content-Length: {len(packed)}\r\n\r\n".encode() + packed)
        got = await shim.ask(post(STREAM.replace(b"true", b"false"), extra="Accept-Encoding: gzip\r\n"))
        assert (got.body, got.header("content-encoding")) == (packed, encoding)
        assert shim.provider.asked[0].header("accept-encoding") == "gzip"
        assert shim.session.last("settle").HasField("usage") is (encoding == "gzip")


async def test_an_error_that_answers_a_stream_request_keeps_its_bytes(start: Callable[..., Any]) -> None:
    body = usage_chunk()
    async with start() as shim:
        shim.provider.answers(
            b"HTTP/1.1 400 Bad\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        got = await shim.ask(post(STREAM))
        assert (got.status, got.body, got.header("content-length")) == (400, body, str(len(body)))
        assert not shim.session.last("settle").HasField("usage")


async def test_an_agent_that_reads_slowly_makes_the_provider_wait(start: Callable[..., Any]) -> None:
    total = 64 << 20
    sent = 0

    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(bytes(1 << 16))
            sent += 1 << 16
            await writer.drain()

    async with start() as shim, shim.connection() as connection:
        shim.provider.script = script
        await connection.send(post(STREAM))
        await connection.read_until(b"\r\n\r\n")
        before = -1
        with anyio.fail_after(10):
            while sent != before:
                before = sent
                await anyio.sleep(0.3)
        assert sent < total // 2
        rest = await connection.read_all()
        assert len(rest) == total
        assert shim.session.kinds == ["reserve", "settle"]


async def test_calls_of_one_connection_follow_each_other(start: Callable[..., Any]) -> None:
    body = json.dumps({"model": "m", "choices": [], "usage": USAGE}).encode()
    async with start() as shim, shim.connection() as connection:
        shim.provider.answers(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        for _ in range(3):
            await connection.send(post(ASKING).replace(b"Connection: close\r\n", b""))
            await connection.read_until(body)
        assert shim.session.kinds == ["reserve", "settle"] * 3
        assert shim.provider.connections == 1


async def test_a_call_is_settled_before_its_last_byte_is_sent(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled_at_the_end = []
    finish = Downstream.finish

    async def observed(downstream: Downstream, data: bytes = b"") -> None:
        settled_at_the_end.append((shim.session.kinds[-1], data))
        await finish(downstream, data)

    monkeypatch.setattr(Downstream, "finish", observed)
    body = json.dumps({"model": "m", "choices": [], "usage": USAGE}).encode()
    async with start() as shim:
        shim.provider.answers(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await shim.ask(post(ASKING))
        assert settled_at_the_end == [("settle", body)]
