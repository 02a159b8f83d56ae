"""What agents send: large, chunked, compressed and odd requests, and those that cost nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from leash_shim import families
from leash_shim.mounts import Target
from leash_shim.upstream import Upstream, UpstreamFailure, UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

BODY = b'{"model":"m","messages":[]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHAT = "/openai/v1/chat/completions"


def request(method: str, path: str, body: bytes = b"", *, extra: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    framing = "" if "Transfer-Encoding" in extra or method in {"GET", "HEAD"} else f"Content-Length: {size}\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: shim\r\nConnection: close\r\n{extra}{framing}\r\n"
    return head.encode() + body


async def test_a_chunked_request_is_read_whole_and_sent_with_its_length(start: Callable[..., Any]) -> None:
    chunked = b"%x\r\n%s\r\n1\r\n%s\r\n0\r\n\r\n" % (len(BODY) - 1, BODY[:-1], BODY[-1:])
    async with start() as shim:
        shim.provider.answers(OK)
        assert (await shim.ask(request("POST", CHAT, chunked, extra="Transfer-Encoding: chunked\r\n"))).status == 200
        [asked] = shim.provider.asked
        assert (asked.body, asked.header("content-length")) == (BODY, str(len(BODY)))
        assert asked.header("transfer-encoding") is None


async def test_a_client_that_expects_100_continue_gets_it_from_the_shim(start: Callable[..., Any]) -> None:
    async with start() as shim, shim.connection() as connection:
        shim.provider.answers(OK)
        await connection.send(request("POST", CHAT, length=len(BODY), extra="Expect: 100-continue\r\n"))
        assert (await connection.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        await connection.send(BODY)
        assert (await connection.read_all()).startswith(b"HTTP/1.1 200")
        assert shim.provider.asked[0].header("expect") is None


async def test_a_compressed_request_goes_on_untouched_and_is_read(start: Callable[..., Any]) -> None:
    packed = gzip.compress(BODY[:-1] + b',"stream":true}')
    async with start() as shim:
        shim.provider.answers(OK)
        await shim.ask(request("POST", CHAT, packed, extra="Content-Encoding: gzip\r\n"))
        [asked] = shim.provider.asked
        assert (asked.body, asked.header("content-encoding")) == (packed, "gzip")
        reserve = shim.session.last("reserve")
        assert (reserve.model, reserve.format, reserve.choices) == ("m", "openai_chat", 1)
        assert reserve.input_bound_tokens > len(gzip.decompress(packed))


async def test_a_request_whose_encoding_cannot_be_undone_is_forwarded_and_nothing_is_known_of_it(
    start: Callable[..., Any],
) -> None:
    async with start() as shim:
        shim.provider.answers(OK)
        await shim.ask(request("POST", CHAT, BODY, extra="Content-Encoding: gzip\r\n"))
        assert shim.provider.asked[0].body == BODY
        reserve = shim.session.last("reserve")
        assert (reserve.model, reserve.format, reserve.choices) == ("", "openai_chat", 1)
        assert not reserve.HasField("input_bound_tokens")
        assert not reserve.HasField("output_bound_tokens")


async def test_a_request_that_grows_beyond_the_limit_is_not_read(start: Callable[..., Any]) -> None:
    bomb = gzip.compress(b'{"model":"m","messages":"' + b"x" * (3 << 20) + b'"}')
    async with start(max_body_bytes=1 << 20) as shim:
        shim.provider.answers(OK)
        await shim.ask(request("POST", CHAT, bomb, extra="Content-Encoding: gzip\r\n"))
        assert shim.provider.asked[0].body == bomb
        assert shim.session.last("reserve").model == ""


async def test_a_provider_that_reports_unasked_is_not_asked(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = BODY[:-1] + b',"stream":true}'
    async with start() as shim:
        shim.provider.answers(OK)
        await shim.ask(request("POST", CHAT, body))
        monkeypatch.setattr(families, "_REPORTING_UNASKED", (f"http://127.0.0.1:{shim.provider.port}",))
        await shim.ask(request("POST", CHAT, body))
        asked, unasked = shim.provider.asked
        assert b"include_usage" in asked.body
        assert unasked.body == body


async def test_a_large_request_arrives_whole(start: Callable[..., Any]) -> None:
    body = b'{"model":"m","messages":"' + b"x" * (5 << 20) + b'"}'
    async with start() as shim:
        shim.provider.answers(OK)
        assert (await shim.ask(request("POST", CHAT, body))).status == 200
        assert shim.provider.asked[0].body == body


@pytest.mark.parametrize("framing", ["announced", "chunked", "not sent"])
async def test_a_request_above_the_limit_is_refused_before_its_reserve(start: Callable[..., Any], framing: str) -> None:
    # More than the sockets and queues between hold, so that the agent would be stuck if nobody read on.
    body = b"x" * (8 << 20)
    if framing == "chunked":
        raw = request(
            "POST", CHAT, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), extra="Transfer-Encoding: chunked\r\n"
        )
    else:
        raw = request("POST", CHAT, body if framing == "announced" else b"", length=len(body))
    async with start(max_body_bytes=1 << 20) as shim:
        got = await shim.ask(raw)
        assert got.status == 413
        assert json.loads(got.body)["error"]["code"] == "body_too_large"
        assert shim.session.kinds == []
        assert shim.provider.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/openai/v1/../v1/chat/completions",
        "/openai//v1/chat/completions",
        "/openai/v1%2fchat/completions",
        "/openai/%2e%2e/v1/chat/completions",
        "http://elsewhere/v1/chat/completions",
    ],
)
async def test_a_path_with_two_readings_is_refused(start: Callable[..., Any], path: str) -> None:
    async with start() as shim:
        got = await shim.ask(request("POST", path, BODY))
        assert got.status == 400
        assert json.loads(got.body)["error"] == {
            "type": "leash_gateway",
            "code": "bad_path",
            "message": "no provider has such a path, or it may be read in two ways",
        }
        assert shim.session.kinds == []
        assert shim.provider.asked == []


async def test_path_and_query_go_on_as_they_were_written(start: Callable[..., Any]) -> None:
    async with start() as shim:
        shim.provider.answers(OK)
        await shim.ask(request("POST", "/openai/openai/deployments/a%20b/chat/completions?api-version=1%2F2&x", BODY))
        [asked] = shim.provider.asked
        assert asked.line == "POST /openai/deployments/a%20b/chat/completions?api-version=1%2F2&x HTTP/1.1"


async def test_a_path_without_a_mount_goes_to_the_providers_host(start: Callable[..., Any]) -> None:
    async with start() as shim:
        shim.provider.answers(OK)
        await shim.ask(request("POST", "/v1/chat/completions", BODY))
        assert shim.provider.asked[0].line == "POST /v1/chat/completions HTTP/1.1"
        assert shim.session.kinds == ["reserve", "settle"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/openai/v1/models"), ("DELETE", "/openai/v1/files/f")])
async def test_what_is_free_passes_uncounted(start: Callable[..., Any], method: str, path: str) -> None:
    async with start() as shim:
        shim.provider.answers(OK)
        got = await shim.ask(request(method, path, extra="Authorization: Bearer k\r\n"))
        assert (got.status, got.body) == (200, b"{}")
        [asked] = shim.provider.asked
        assert (asked.line.split()[0], asked.header("authorization")) == (method, "Bearer k")
        assert shim.session.kinds == []


async def test_head_has_the_headers_and_no_body(start: Callable[..., Any]) -> None:
    async with start() as shim:
        shim.provider.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
        got = await shim.ask(request("HEAD", "/openai/v1/models"))
        assert (got.status, got.header("content-length"), got.body) == (200, "1234", b"")


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_upload_streams_through_whatever_its_size(start: Callable[..., Any], framing: str) -> None:
    body = bytes(range(256)) * (8 << 10)
    if framing == "chunked":
        raw = request(
            "POST",
            "/openai/v1/files",
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
            extra="Transfer-Encoding: chunked\r\n",
        )
    else:
        raw = request("POST", "/openai/v1/files", body)
    async with start(max_body_bytes=1 << 10) as shim:
        shim.provider.answers(OK)
        assert (await shim.ask(raw)).status == 200
        [asked] = shim.provider.asked
        assert asked.body == body
        assert (asked.header("content-length") is None) is (framing == "chunked")
        assert shim.session.kinds == []


async def pour(connection: Any, raw: bytes) -> None:
    """Sends as much as the other side takes."""
    with contextlib.suppress(ConnectionError):
        await connection.send(raw)


@pytest.mark.parametrize("refused_by", ["the provider", "leash"])
async def test_an_agent_that_goes_on_sending_after_an_early_answer_sees_it_and_is_closed(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, refused_by: str
) -> None:
    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        # By then all that buffers between the agent and the provider is full.
        await anyio.sleep(0.3)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
        await anyio.sleep(0.1)
        writer.close()

    monkeypatch.setattr("leash_shim.downstream._LINGER_SECONDS", 0.0)
    path = "/openai/v1/files" if refused_by == "the provider" else CHAT
    # Less than what any answer under way is given at the shim's end: nothing may still be under way then.
    with anyio.fail_after(4):
        async with (
            start(max_body_bytes=1 << 10, drain_s=5.0) as shim,
            shim.connection() as connection,
            anyio.create_task_group() as group,
        ):
            shim.provider.reads_bodies = False
            shim.provider.script = script
            group.start_soon(pour, connection, request("POST", path, bytes(64 << 20)))
            assert (await connection.read_until(b"}")).startswith(b"HTTP/1.1 413")
            connection.hang_up()


async def test_a_free_request_to_a_provider_that_is_not_there(start: Callable[..., Any]) -> None:
    async with start(origin="http://no-such-host.invalid") as shim:
        for raw in (request("GET", "/openai/v1/models"), request("POST", "/openai/v1/files", b"x" * (4 << 20))):
            got = await shim.ask(raw)
            assert (got.status, json.loads(got.body)["error"]["code"]) == (502, "upstream_failed")
        assert shim.session.kinds == []


async def test_the_provider_is_cut_when_the_agent_leaves_a_free_request(start: Callable[..., Any]) -> None:
    cut = anyio.Event()

    async def script(asked: Any, _writer: asyncio.StreamWriter) -> None:
        await asked.cut()
        cut.set()

    async with start() as shim, shim.connection() as connection:
        shim.provider.script = script
        await connection.send(request("GET", "/openai/v1/models"))
        await shim.provider.until_asked()
        connection.hang_up()
        with anyio.fail_after(5):
            await cut.wait()


@pytest.mark.parametrize(("user_agent", "status"), [("undici", b"400"), ("codex_exec/0.169.0 (Debian)", b"426")])
async def test_a_websocket_is_refused(start: Callable[..., Any], user_agent: str, status: bytes) -> None:
    upgrade = (
        f"User-Agent: {user_agent}\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    raw = request("GET", "/openai/v1/realtime", extra=upgrade).replace(b"Connection: close", b"Connection: Upgrade")
    async with start() as shim, shim.connection() as connection:
        await connection.send(raw)
        assert (await connection.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 " + status)
        assert b"leash_gateway" in await connection.read_until(b"}}")
        assert shim.session.kinds == []


async def test_a_head_that_is_too_large_is_refused_by_the_server(start: Callable[..., Any]) -> None:
    async with start() as shim:
        got = await shim.ask(request("GET", "/openai/v1/models", extra=f"X: {'x' * (1 << 17)}\r\n"))
        assert got.status == 431


@pytest.mark.parametrize("framing", [b"1.1\r\nContent-Length: 500", b"1.1\r\nContent-Length: 3", b"1.0"])
async def test_a_body_in_chunks_that_may_be_read_in_another_way_is_refused(
    start: Callable[..., Any], framing: bytes
) -> None:
    raw = (
        b"POST /openai/v1/files HTTP/%s\r\nHost: shim\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        % framing
    )
    async with start() as shim:
        shim.provider.answers(OK)
        answered = await shim.ask(raw + b"GET /openai/v1/models HTTP/1.1\r\nHost: shim\r\n\r\n")
        assert answered.status == 400
        assert json.loads(answered.body)["error"]["code"] == "malformed_request"
        assert shim.provider.asked == []


@pytest.mark.parametrize("sent", [b"", b"abc", b"abcdefgh"], ids=["nothing", "less", "more"])
async def test_a_body_that_is_not_as_long_as_announced_ends_its_connection_to_the_provider(sent: bytes) -> None:
    """HTTP/2 has an agent announce what it does not send; what comes next must not be taken for the rest of it."""
    got = asyncio.Event()
    seen = bytearray()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            seen.extend(data)
        writer.close()
        got.set()

    async def body() -> AsyncIterator[bytes]:
        if sent:
            yield sent

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Upstream() as upstream, server:
        request = UpstreamRequest(
            method="POST", target=Target(f"http://127.0.0.1:{port}", "/"), query="", headers=[], body=body(), size=5
        )
        with pytest.raises(UpstreamFailure):
            await upstream.send(request)
        async with asyncio.timeout(10):
            await got.wait()
    assert bytes(seen).partition(b"\r\n\r\n")[2] in (b"", sent[:5])
