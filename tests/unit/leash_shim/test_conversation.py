"""HTTP/2 on one connection: streams beside each other, what each may hold up, and how a connection is left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from leash_shim.hall import Patience
from tests.unit.leash_shim.serving import PATIENCE_S, Client, Served, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@dataclass
class Streams:
    """An agent that speaks HTTP/2, without TLS and knowing that beforehand."""

    client: Client
    connection: h2.connection.H2Connection
    events: list[h2.events.Event] = field(default_factory=list)
    closed: bool = False

    async def flush(self) -> None:
        await self.client.send(self.connection.data_to_send())

    async def ask(self, path: str = "/", *, ends: bool = True) -> int:
        """Begins a request; returns its stream."""
        stream_id: int = self.connection.get_next_available_stream_id()
        head = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "leash")]
        self.connection.send_headers(stream_id, head, end_stream=ends)
        await self.flush()
        return stream_id

    async def send(self, stream_id: int, data: bytes, *, ends: bool = False) -> None:
        self.connection.send_data(stream_id, data, end_stream=ends)
        await self.flush()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Reads until something is there, or the connection is closed."""
        with anyio.fail_after(PATIENCE_S):
            while not reached():
                raw = await self.client.reader.read(1 << 16)
                if not raw:
                    self.closed = True
                    return
                self.events += self.connection.receive_data(raw)
                await self.flush()

    async def until_closed(self) -> None:
        await self.until(lambda: False)
        assert self.closed

    def of(self, kind: type[h2.events.Event], stream_id: int | None = None) -> list[Any]:
        return [
            event
            for event in self.events
            if isinstance(event, kind) and stream_id in (None, getattr(event, "stream_id", None))
        ]

    async def answer(self, stream_id: int) -> bytes:
        """The body of an answer, once it is whole."""
        await self.until(lambda: bool(self.of(h2.events.StreamEnded, stream_id)))
        return b"".join(event.data for event in self.of(h2.events.DataReceived, stream_id))


@asynccontextmanager
async def streams(served: Served) -> AsyncIterator[Streams]:
    async with served.connect() as client:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        agent = Streams(client, connection)
        await agent.flush()
        await agent.until(lambda: bool(agent.of(h2.events.RemoteSettingsChanged)))
        yield agent


async def test_streams_are_answered_beside_each_other() -> None:
    async with serving() as served, streams(served) as agent:
        slow = await agent.ask("/slow")
        for _ in range(3):
            assert await agent.answer(await agent.ask()) == b"ok"
        served.app.go.set()
        assert await agent.answer(slow) == b"ok"


async def test_an_agent_is_told_how_many_streams_it_may_have() -> None:
    async with serving() as served, streams(served) as agent:
        [settings] = agent.of(h2.events.RemoteSettingsChanged)
        most = settings.changed_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS]
        assert most.new_value == 100


async def test_an_answer_that_is_not_whole_is_reset() -> None:
    async with serving() as served, streams(served) as agent:
        stream_id = await agent.ask("/half")
        await agent.until(lambda: bool(agent.of(h2.events.StreamReset, stream_id)))
        assert not agent.of(h2.events.StreamEnded, stream_id)
        assert await agent.answer(await agent.ask()) == b"ok"


async def test_a_body_that_nobody_reads_holds_up_no_other_stream() -> None:
    async with serving() as served, streams(served) as agent:
        unread = await agent.ask("/unread", ends=False)
        await served.until_asked()
        for _ in range(3):
            await agent.send(unread, b"x" * 16_000)
        assert await agent.answer(await agent.ask()) == b"ok"
        assert agent.connection.local_flow_control_window(unread) < 20_000
        served.app.go.set()
        await agent.answer(unread)


async def test_a_large_body_comes_whole() -> None:
    async with serving() as served, streams(served) as agent:
        stream_id = await agent.ask(ends=False)
        left = 300_000
        while left:
            await agent.until(lambda: agent.connection.local_flow_control_window(stream_id) > 0)
            size = min(left, agent.connection.local_flow_control_window(stream_id), 16_000)
            left -= size
            await agent.send(stream_id, b"x" * size, ends=not left)
        assert await agent.answer(stream_id) == b"ok"
        assert served.app.received_bytes == 300_000


async def test_what_is_sent_after_its_answer_costs_no_other_stream() -> None:
    async with serving() as served, streams(served) as agent:
        slow = await agent.ask("/slow")
        early = await agent.ask("/early", ends=False)
        assert await agent.answer(early) == b"ok"
        for _ in range(3):
            await agent.send(early, b"x" * 16_000)
        served.app.go.set()
        assert await agent.answer(slow) == b"ok"


async def test_an_agent_that_leaves_a_stream_unread_leaves_nothing_behind() -> None:
    async with serving() as served:
        async with streams(served) as agent:
            await agent.ask("/endless")
            await served.until_asked()
            await anyio.sleep(0.1)
        with anyio.fail_after(PATIENCE_S):
            await served.app.gone.wait()
        served.shutdown.set()
        assert await served.until_ended() < 1


async def test_a_stream_that_is_not_taken_is_given_up_and_the_others_go_on() -> None:
    async with serving(patience=Patience(idle_s=0.3)) as served, streams(served) as agent:
        # Of the connection there is enough to take, and of the one stream nothing is.
        agent.connection.increment_flow_control_window(1 << 20)
        stalled = await agent.ask("/endless")
        slow = await agent.ask("/slow")
        await agent.until(lambda: bool(agent.of(h2.events.StreamReset, stalled)))
        assert served.app.gone.is_set()
        assert served.app.sent_bytes < 200_000
        served.app.go.set()
        assert await agent.answer(slow) == b"ok"


async def test_an_idle_connection_is_told_of_its_end() -> None:
    async with serving(patience=Patience(idle_s=0.1)) as served, streams(served) as agent:
        stream_id = await agent.ask()
        assert await agent.answer(stream_id) == b"ok"
        await agent.until_closed()
        [farewell] = agent.of(h2.events.ConnectionTerminated)
        assert (farewell.error_code, farewell.last_stream_id) == (0, stream_id)


async def test_a_server_that_leaves_lets_streams_end_and_then_says_goodbye() -> None:
    async with serving(linger_s=0.1) as served, streams(served) as agent:
        slow = await agent.ask("/slow")
        await served.until_asked()
        served.shutdown.set()
        await anyio.sleep(0.2)
        assert await agent.answer(await agent.ask()) == b"ok"
        served.app.go.set()
        assert await agent.answer(slow) == b"ok"
        await agent.until_closed()
        assert len(agent.of(h2.events.ConnectionTerminated)) == 1
        assert await served.until_ended() < 1


async def test_a_connection_that_stays_busy_is_asked_to_end_before_it_is_cut() -> None:
    async with serving(drain_s=0.6, linger_s=0.1) as served, streams(served) as agent:
        await agent.ask("/slow")
        await served.until_asked()
        served.shutdown.set()
        await agent.until(lambda: bool(agent.of(h2.events.ConnectionTerminated)))
        [announced] = agent.of(h2.events.ConnectionTerminated)
        assert announced.last_stream_id == (1 << 31) - 1
        assert not served.ended.is_set()


async def test_what_is_no_http2_costs_its_connection() -> None:
    async with serving() as served, streams(served) as agent:
        await agent.client.send(b"\x00" * 100)
        await agent.until_closed()


async def test_an_upgrade_is_passed_over() -> None:
    async with serving() as served, served.connect() as client:
        upgrade = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
        await client.send(b"GET / HTTP/1.1\r\nhost: leash\r\n" + upgrade + b"\r\n")
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 200 ")
