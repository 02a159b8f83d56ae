"""The table of outcomes: what happens at the provider, and how the one reserve of the call is closed."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from leash.client.errors import DaemonUnavailable, SessionFailure
from leash.v1 import shim_pb2, types_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":7}'
USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
COMPLETION = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "model": "m-2024",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
).encode()


def post(
    body: bytes = BODY, *, path: str = "/openai/v1/chat/completions", method: str = "POST", extra: str = ""
) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: shim\r\nConnection: close\r\nAuthorization: Bearer sk-secret\r\n{extra}"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def answer(body: bytes, *, status: str = "200 OK", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_an_answer_is_passed_byte_for_byte_and_settled_with_what_it_reports(start: Callable[..., Any]) -> None:
    extra = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: theirs\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
    async with start() as shim:
        shim.provider.answers(answer(COMPLETION, extra=extra + "X-Request-Id: req_1\r\nConnection: keep-alive\r\n"))
        got = await shim.ask(post(extra="X-Request-Id: mine\r\nX-Loop-Id: a\r\nX-Leash-Token: t\r\n"))

        assert (got.status, got.body) == (200, COMPLETION)
        assert got.headers == [
            ("Content-Type", "application/json"),
            ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("Server", "theirs"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("X-Request-Id", "req_1"),
            ("Content-Length", str(len(COMPLETION))),
            ("Connection", "close"),
        ]
        [asked] = shim.provider.asked
        assert (asked.line, asked.body) == ("POST /v1/chat/completions HTTP/1.1", BODY)
        assert asked.headers == [
            ("Host", f"127.0.0.1:{shim.provider.port}"),
            ("authorization", "Bearer sk-secret"),
            ("x-request-id", "mine"),
            ("content-type", "application/json"),
            ("Content-Length", str(len(BODY))),
        ]
        assert shim.session.kinds == ["reserve", "settle"]
        reserve = shim.session.last("reserve")
        assert (reserve.run, reserve.format, reserve.model) == ("a3f9", "openai_chat", "m")
        assert (len(reserve.call_id), reserve.output_bound_tokens, reserve.unmeterable) == (16, 7, False)
        settle = shim.session.last("settle")
        assert (settle.call_id, settle.run, settle.http_status) == (reserve.call_id, "a3f9", 200)
        assert (settle.usage.input_tokens, settle.usage.output_tokens, settle.model) == (11, 5, "m-2024")
        assert len(settle.fingerprint) == 8


async def test_an_answer_without_a_request_id_gets_the_calls(start: Callable[..., Any]) -> None:
    async with start() as shim:
        shim.provider.answers(answer(COMPLETION))
        got = await shim.ask(post())
        assert got.header("x-request-id") == shim.session.last("settle").call_id.hex()


@pytest.mark.parametrize("status", ["500 Oops", "429 Slow down", "404 Not Found", "307 Temporary Redirect"])
async def test_an_error_or_a_redirect_is_passed_on_and_settled_with_its_status(
    start: Callable[..., Any], status: str
) -> None:
    async with start() as shim:
        location = f"Location: http://127.0.0.1:{shim.provider.port}/elsewhere\r\nRetry-After: 7\r\n"
        shim.provider.answers(answer(b'{"error":{}}', status=status, extra=location))
        got = await shim.ask(post())
        assert (got.status, got.body, got.header("retry-after")) == (int(status[:3]), b'{"error":{}}', "7")
        assert len(shim.provider.asked) == 1
        settle = shim.session.last("settle")
        assert settle.http_status == int(status[:3])
        assert not settle.HasField("usage")
        assert shim.session.kinds == ["reserve", "settle"]


async def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:{unused}", "http://no-such-host.invalid", "https://127.0.0.1:{plain}"]
)
async def test_a_provider_that_cannot_be_reached_voids_the_call(start: Callable[..., Any], origin: str) -> None:
    async def speak_no_tls(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 no TLS here\r\n")
        writer.close()

    plain = await asyncio.start_server(speak_no_tls, "127.0.0.1", 0)
    address = origin.format(unused=await unused_port(), plain=plain.sockets[0].getsockname()[1])
    async with start(origin=address) as shim:
        got = await shim.ask(post())
        assert got.status == 502
        error = json.loads(got.body)["error"]
        assert (error["type"], error["code"]) == ("leash_gateway", "upstream_failed")
        assert "Nothing was sent" in error["message"]
        assert shim.session.kinds == ["reserve", "void"]
        assert shim.session.last("void").call_id == shim.session.last("reserve").call_id
    plain.close()


@pytest.mark.parametrize("way", ["reset", "close", "garbage"])
async def test_a_request_that_was_sent_and_not_answered_is_abandoned(start: Callable[..., Any], way: str) -> None:
    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        if way == "reset":
            writer.transport.abort()
        elif way == "garbage":
            writer.write(b"\x00\x01 no HTTP\r\n\r\n")
        writer.close()

    async with start() as shim:
        shim.provider.script = script
        got = await shim.ask(post())
        assert got.status == 502
        call = shim.session.last("reserve").call_id
        assert f"leashctl resolve a3f9 {call.hex()[:8]}" in json.loads(got.body)["error"]["message"]
        assert shim.session.kinds == ["reserve", "abandon"]
        assert not shim.session.last("abandon").HasField("known")
        assert len(shim.provider.asked) == 1


async def test_headers_that_do_not_come_are_waited_for_no_longer_than_told(start: Callable[..., Any]) -> None:
    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.05)

    async with start(header_timeout_s=0.3) as shim:
        shim.provider.script = script
        with anyio.fail_after(5):
            got = await shim.ask(post())
        assert got.status == 504
        assert json.loads(got.body)["error"]["code"] == "upstream_timeout"
        assert shim.session.kinds == ["reserve", "abandon"]


async def test_a_slow_body_has_no_time_limit(start: Callable[..., Any]) -> None:
    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        raw = answer(COMPLETION)
        writer.write(raw[:-5])
        await asyncio.sleep(0.6)
        writer.write(raw[-5:])

    async with start(header_timeout_s=0.2) as shim:
        shim.provider.script = script
        assert (await shim.ask(post())).body == COMPLETION
        assert shim.session.kinds == ["reserve", "settle"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_answer_that_is_cut_is_abandoned_and_cut_for_the_agent_too(
    start: Callable[..., Any], framing: str
) -> None:
    if framing == "length":
        raw = answer(COMPLETION)[:-5]
    else:
        raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(COMPLETION), COMPLETION)

    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    async with start() as shim:
        shim.provider.script = script
        got = await shim.ask(post())
        assert (got.status, got.whole) == (200, False)
        assert shim.session.kinds == ["reserve", "abandon"]


async def test_a_cut_stream_is_abandoned_with_what_it_had_reported(start: Callable[..., Any]) -> None:
    events = b'data: {"model":"m","choices":[],"usage":%s}\n\n' % json.dumps(USAGE).encode()

    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"%x\r\n%s\r\n" % (len(events), events))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    async with start() as shim:
        shim.provider.script = script
        got = await shim.ask(post(BODY[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'))
        assert (got.body, got.whole) == (events, False)
        known = shim.session.last("abandon").known
        assert (known.input_tokens, known.output_tokens) == (11, 5)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_pooled_connection_that_closes_under_a_request_is_no_second_request(
    start: Callable[..., Any], method: str
) -> None:
    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        if len(shim.provider.asked) == 1:
            writer.write(answer(COMPLETION))
        else:
            writer.close()

    async with start() as shim:
        shim.provider.script = script
        assert (await shim.ask(post())).status == 200
        got = await shim.ask(post(method=method))
        assert got.status == 502
        await anyio.sleep(0.1)
        assert (len(shim.provider.asked), shim.provider.connections) == (2, 1)
        assert shim.session.kinds == ["reserve", "settle", "reserve", "abandon"]


async def test_a_pooled_connection_that_closed_while_idle_is_replaced(start: Callable[..., Any]) -> None:
    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(COMPLETION))
        await writer.drain()
        writer.close()

    async with start() as shim:
        shim.provider.script = script
        for _ in range(3):
            assert (await shim.ask(post())).status == 200
            await anyio.sleep(0.02)
        assert len(shim.provider.asked) == shim.provider.connections == 3
        assert shim.session.kinds == ["reserve", "settle"] * 3


async def test_a_refused_call_is_not_forwarded(start: Callable[..., Any]) -> None:
    async with start(refusal_status=402) as shim:
        shim.session.verdict = shim_pb2.Refused(
            reason=types_pb2.REASON_MAX_CALLS, unit=types_pb2.UNIT_CALLS, used=3, limit=3, calls=3
        )
        got = await shim.ask(post())
        assert (got.status, got.header("x-should-retry"), got.header("retry-after")) == (402, "false", None)
        assert json.loads(got.body)["error"]["message"] == "leash stopped run a3f9: max_calls (3 of 3 calls)"
        assert shim.provider.asked == []
        assert shim.session.kinds == ["reserve"]


@pytest.mark.parametrize(
    "failure",
    [DaemonUnavailable("no daemon answers"), SessionFailure(shim_pb2.FAILURE_CODE_BUSY, "the queue is full")],
)
async def test_without_the_daemons_word_nothing_is_forwarded(start: Callable[..., Any], failure: Exception) -> None:
    async with start() as shim:
        shim.session.verdict = failure
        got = await shim.ask(post())
        assert (got.status, got.header("retry-after")) == (503, "1")
        error = json.loads(got.body)["error"]
        assert (error["type"], error["code"], error["message"]) == ("leash_gateway", "leash_unavailable", str(failure))
        assert shim.provider.asked == []
        assert shim.session.kinds == ["reserve"]
    failure.__traceback__ = None  # the parameter lives as long as the session, and the frames would with it


async def test_an_endpoint_that_cannot_be_metered_is_the_daemons_to_decide(start: Callable[..., Any]) -> None:
    async with start() as shim:
        shim.provider.answers(answer(b"{}"))
        got = await shim.ask(post(b"{}", path="/openai/v1/videos"))
        assert got.status == 200
        reserve = shim.session.last("reserve")
        assert (reserve.unmeterable, reserve.format, reserve.choices) == (True, "", 1)
        settle = shim.session.last("settle")
        assert (settle.http_status, settle.HasField("usage"), settle.fingerprint) == (200, False, b"")


async def test_an_error_in_leash_itself_closes_the_call_and_quotes_nothing(
    start: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: Any, **_options: Any) -> None:
        raise LookupError("sk-secret hi")

    async with start() as shim:
        shim.provider.answers(answer(COMPLETION))
        monkeypatch.setattr("leash_shim.flow.tap_for", broken)
        got = await shim.ask(post())
        assert (got.status, json.loads(got.body)["error"]["code"]) == (502, "internal")
        assert shim.session.kinds == ["reserve", "abandon"]
    assert "LookupError at " in caplog.text
    assert "sk-secret" not in caplog.text


async def test_no_log_at_any_level_shows_a_key_or_a_body(
    start: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    async with start() as shim:
        shim.provider.answers(answer(COMPLETION))
        await shim.ask(post())
    assert "run a3f9 call" in caplog.text
    assert "sk-secret" not in caplog.text
    assert "hello" not in caplog.text
    assert '"hi"' not in caplog.text
