"""Agents of a gateway that leave, take nothing, or speak HTTP/2: what becomes of their calls, and what is told of them.

An answer that is on its way is read to its end and settled, whatever its agent does.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import h2.config
import h2.connection
import h2.events
import pytest

from leash.v1 import shim_pb2, types_pb2
from leash_shim.hall import Patience
from leash_shim.server import ServerOptions
from tests.e2e.shim.asking import BODY, TOKEN, Seen, answer, gateway, post
from tests.e2e.shim.conftest import PATIENCE_S
from tests.unit.leash_shim.gateway.settings import gateway_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TEXT = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"one"}}]}\n\n'
REPORT = b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}}\n\n'
STREAMED = b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}'

# More than every buffer between a provider and an agent holds.
LONG = 8_000_000


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def long_answer(_asked: Any, writer: asyncio.StreamWriter) -> None:
    """More than an agent that takes nothing leaves room for, and then what it cost."""
    writer.write(HEAD)
    for _ in range(LONG // 100_000):
        writer.write(chunk(b": %s\n\n" % (b"x" * 99_996)))
        await writer.drain()
    writer.write(chunk(REPORT) + b"0\r\n\r\n")


def impatient() -> ServerOptions:
    return ServerOptions(patience=Patience(idle_s=0.3))


class Streams:
    """An agent that speaks HTTP/2, and gives each answer only the room that it starts with."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._connection.initiate_connection()
        # Of the connection there is enough to take.
        self._connection.increment_flow_control_window(LONG)

    async def ask(self, *parts: bytes, path: str = "/v1/chat/completions", method: str = "POST") -> None:
        """Sends a request without a length, with what body there is in these parts."""
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "g"), ("authorization", "k")]
        stream_id = self._connection.get_next_available_stream_id()
        self._connection.send_headers(stream_id, head, end_stream=not parts)
        for part in parts:
            self._connection.send_data(stream_id, part, end_stream=part is parts[-1])
        await self._flush()

    async def until(self, kind: type[h2.events.Event]) -> Any:
        with anyio.fail_after(PATIENCE_S):
            while True:
                found = [
                    event
                    for event in self._connection.receive_data(await self._reader.read(1 << 16))
                    if isinstance(event, kind)
                ]
                await self._flush()
                if found:
                    return found[0]

    async def _flush(self) -> None:
        self._writer.write(self._connection.data_to_send())
        await self._writer.drain()


@asynccontextmanager
async def streams(shim: Any) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", shim.port)
    try:
        yield Streams(reader, writer)
    finally:
        writer.close()


async def test_an_agent_that_takes_nothing_is_left_and_its_call_settled(start: Callable[..., Any]) -> None:
    seen = Seen()
    async with start(gateway=gateway_config(), options=impatient(), observer=seen) as shim:
        shim.provider.script = long_answer
        with socket.socket() as agent:
            agent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            agent.connect(("127.0.0.1", shim.port))
            agent.sendall(post(body=STREAMED))
            settle = await shim.session.until("settle")
        await seen.until_ended()

    assert settle.usage.output_tokens == 5
    assert shim.session.kinds == ["open_run", "reserve", "settle", "close_run"]
    assert 0 < seen.last.sent_bytes < LONG / 2
    assert (seen.last.decision, seen.last.reason, seen.last.status) == ("admitted", "", 200)


async def test_a_stream_of_http2_that_is_not_taken_is_left_and_its_call_settled(start: Callable[..., Any]) -> None:
    async with start(gateway=gateway_config(), options=impatient()) as shim, streams(shim) as agent:
        shim.provider.script = long_answer
        await agent.ask(STREAMED)
        await agent.until(h2.events.StreamReset)
        settle = await shim.session.until("settle")

    assert settle.usage.output_tokens == 5


@pytest.mark.parametrize(
    ("method", "parts", "framing"),
    [("POST", (b"what ", b"goes"), "chunked"), ("GET", (), None), ("DELETE", (), None)],
)
async def test_a_free_request_of_http2_keeps_its_body(
    start: Callable[..., Any], method: str, parts: tuple[bytes, ...], framing: str | None
) -> None:
    async with start(gateway=gateway_config()) as shim, streams(shim) as agent:
        shim.provider.answers(answer(b"{}"))
        await agent.ask(*parts, path="/v1/files", method=method)
        await agent.until(h2.events.StreamEnded)

    [asked] = shim.provider.asked
    assert asked.line == f"{method} /v1/files HTTP/1.1"
    assert (asked.body, asked.header("transfer-encoding")) == (b"".join(parts), framing)


async def test_a_call_of_http2_needs_no_length(start: Callable[..., Any]) -> None:
    async with start(gateway=gateway_config()) as shim, streams(shim) as agent:
        shim.provider.answers(answer())
        await agent.ask(BODY[:9], BODY[9:])
        await agent.until(h2.events.StreamEnded)

    [asked] = shim.provider.asked
    assert (asked.body, asked.header("content-length")) == (BODY, str(len(BODY)))


async def _waits_for_its_reserve(shim: Any, agent: Any) -> None:
    shim.session.hold = anyio.Event()
    await agent.send(post(body=STREAMED))
    await shim.session.until("reserve")
    agent.hang_up()


async def _stops_within_its_body(shim: Any, agent: Any) -> None:
    del shim
    await agent.send(post(body=STREAMED)[:-5])
    agent.hang_up()


async def _leaves_an_answer_without_end(shim: Any, agent: Any) -> None:
    await _begins_a_stream(shim, agent)
    agent.hang_up()


async def _is_killed_in_a_stream(shim: Any, agent: Any) -> None:
    await _begins_a_stream(shim, agent)
    shim.app.abort("default", types_pb2.REASON_KILL_SWITCH)


async def _is_cut_with_the_gateway(shim: Any, agent: Any) -> None:
    await _begins_a_stream(shim, agent)
    shim.serving.cancel()


async def _gets_no_answer(shim: Any, agent: Any) -> None:
    async def script(asked: Any, _writer: asyncio.StreamWriter) -> None:
        await asked.cut()

    shim.provider.script = script
    await agent.send(post(body=STREAMED))
    await agent.read_all()


async def _leaves_what_is_free(shim: Any, agent: Any) -> None:
    async def script(asked: Any, _writer: asyncio.StreamWriter) -> None:
        agent.hang_up()
        await asked.cut()

    shim.provider.script = script
    await agent.send(post("/v1/models", b"", method="GET"))


async def _begins_a_stream(shim: Any, agent: Any) -> None:
    async def script(asked: Any, writer: asyncio.StreamWriter) -> None:
        cut = asyncio.ensure_future(asked.cut())
        writer.write(HEAD + chunk(REPORT))
        while not cut.done():
            writer.write(chunk(TEXT))
            await asyncio.sleep(0.002)

    shim.provider.script = script
    await agent.send(post(body=STREAMED))
    await agent.read_until(TEXT)


@pytest.mark.parametrize(
    ("way", "expected", "told"),
    [
        (_waits_for_its_reserve, ("denied", "hung_up", 0), []),
        (_stops_within_its_body, ("denied", "hung_up", 0), []),
        (_leaves_an_answer_without_end, ("admitted", "hung_up", 200), ["reserved Admitted"]),
        (_is_killed_in_a_stream, ("admitted", "kill_switch", 200), ["reserved Admitted"]),
        (_is_cut_with_the_gateway, ("admitted", "cut", 200), ["reserved Admitted"]),
        (_gets_no_answer, ("admitted", "upstream_timeout", 504), ["reserved Admitted", "failed 0"]),
        (_leaves_what_is_free, ("passed", "hung_up", 0), []),
    ],
)
async def test_every_end_before_the_end_is_told(
    start: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    way: Callable[[Any, Any], Awaitable[None]],
    expected: tuple[str, str, int],
    told: list[str],
) -> None:
    monkeypatch.setattr("leash_shim.flow.DRAIN_BYTES", 1_000)
    seen = Seen()
    settings = {"gateway": gateway_config(), "observer": seen, "header_timeout_s": 0.3}
    async with start(**settings) as shim, shim.connection() as agent:
        await way(shim, agent)
        await seen.until_ended()

    assert (seen.last.decision, seen.last.reason, seen.last.status) == expected
    assert seen.told == told


UPGRADE = (
    "GET /t/{token}/v1/realtime?model=m HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("token", "status", "told"),
    [
        (TOKEN, 400, ("denied", "websocket", "/v1/realtime", "team-a/default")),
        ("no-such-token-here", 401, ("denied", "unauthorized", "", "")),
    ],
)
async def test_a_websocket_is_told_as_well(
    start: Callable[..., Any], token: str, status: int, told: tuple[str, str, str, str]
) -> None:
    seen = Seen()
    async with start(**gateway(), observer=seen) as shim:
        got = await shim.ask(UPGRADE.format(token=token).encode())

    assert got.status == status
    assert got.header("x-request-id") == seen.last.request_id.hex()
    assert (seen.last.decision, seen.last.reason, seen.last.path, seen.last.run) == told
    assert (seen.last.method, seen.last.status, seen.last.sent_bytes) == ("GET", status, len(got.body))


@pytest.mark.parametrize(
    "path",
    [
        f"/openai/t/{TOKEN}/v1/chat/completions",
        f"//t/{TOKEN}/v1/chat/completions",
        f"/%74/{TOKEN}/v1/chat/completions",
        f"/t/half/{TOKEN}/v1/chat/completions",
        f"http://user:{TOKEN}@gateway/t/{TOKEN}/v1/chat/completions",
    ],
)
async def test_a_token_in_the_wrong_place_is_told_to_nobody(start: Callable[..., Any], path: str) -> None:
    seen = Seen()
    async with start(**gateway(), observer=seen) as shim:
        without = await shim.ask(post(path))
        assert (seen.last.status, seen.last.path) == (401, "")
        assert TOKEN.encode() not in without.raw
        assert shim.provider.asked == []


async def test_a_whole_url_may_hold_a_password_and_is_not_told(start: Callable[..., Any]) -> None:
    seen = Seen()
    async with start(gateway=gateway_config(), observer=seen) as shim:
        assert (await shim.ask(post("http://user:password@gateway/v1/chat/completions"))).status == 400

    assert (seen.last.reason, seen.last.path) == ("bad_path", "")


async def test_a_run_that_is_idle_is_closed_and_opened_again(start: Callable[..., Any]) -> None:
    async with start(gateway=gateway_config(run_idle_s=0.05)) as shim:
        shim.provider.answers(answer())
        await shim.ask(post(X_Loop_Id="nightly", X_Leash_Max_Calls="3"))
        assert await shim.session.until("close_run") == ("nightly", False)
        await shim.ask(post(X_Loop_Id="nightly"))

        first, second = [message for kind, message in shim.session.operations if kind == "open_run"]
        assert (first.run, first.lowered.max_calls) == ("nightly", 3)
        assert (second.run, second.lowered.HasField("max_calls")) == ("nightly", False)


async def test_a_reload_in_the_middle_of_a_call_is_for_the_next(start: Callable[..., Any]) -> None:
    async with start(**gateway(max_open_runs=3)) as shim:
        shim.session.hold = anyio.Event()
        shim.provider.answers(answer())
        async with shim.connection() as agent:
            await agent.send(post(X_Leash_Token=TOKEN))
            await shim.session.until("reserve")
            shim.door.reload(gateway(max_open_runs=4)["gateway"])
            shim.session.hold.set()
            assert (await agent.read_all()).startswith(b"HTTP/1.1 200")
        assert (await shim.ask(post(X_Leash_Token=TOKEN))).status == 200

        opened = [message.max_open_runs for kind, message in shim.session.operations if kind == "open_run"]
        assert opened == [3, 4]


async def test_too_many_runs_are_refused_and_those_that_are_open_go_on(start: Callable[..., Any]) -> None:
    async with start(gateway=gateway_config()) as shim:
        shim.provider.answers(answer())
        await shim.ask(post(X_Loop_Id="first"))
        shim.session.full = shim_pb2.FAILURE_CODE_TOO_MANY_OPEN
        later = await shim.ask(post(X_Loop_Id="second"))
        shim.session.full = shim_pb2.FAILURE_CODE_TOO_MANY_RUNS
        never = await shim.ask(post(X_Loop_Id="third"))

        assert (later.status, later.header("retry-after"), later.header("x-should-retry")) == (503, "5", None)
        assert (never.status, never.header("retry-after"), never.header("x-should-retry")) == (402, None, "false")
        assert (await shim.ask(post(X_Loop_Id="first"))).status == 200
        assert len(shim.provider.asked) == 2
