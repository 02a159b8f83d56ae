"""A shim on real sockets, between a provider that a test scripts and a client that shows every byte.

Only the daemon is missing: its session is recorded here, so that a test reads the order of what the shim asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from leash.client.errors import SessionFailure
from leash.v1 import shim_pb2, types_pb2
from leash_shim.app import ShimApp
from leash_shim.door import Visitor
from leash_shim.gateway.door import GatewayDoor
from leash_shim.server import serve
from leash_shim.settings import ShimSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from leash_shim.door import Door
    from leash_shim.gateway.config import GatewayConfig
    from leash_shim.headers import Headers
    from leash_shim.observer import Observer
    from leash_shim.server import ServerOptions

# Longer than any step here takes on a busy machine; reaching it is a failure.
PATIENCE_S = 10.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


class Changes:
    """Lets a test wait for something that another task does."""

    def __init__(self) -> None:
        self._changed = anyio.Event()

    def tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, reached: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE_S):
            while not reached():
                await self._changed.wait()


class RecordingSession:
    """A session that admits every call, unless told otherwise, and keeps what it was asked."""

    def __init__(self) -> None:
        self.operations: list[tuple[str, Any]] = []
        self.verdict: shim_pb2.Admitted | shim_pb2.Refused | Exception = shim_pb2.Admitted()
        self.hold: anyio.Event | None = None
        self.full: shim_pb2.FailureCode.ValueType | None = None
        self._changes = Changes()

    def _record(self, kind: str, operation: Any) -> None:
        self.operations.append((kind, operation))
        self._changes.tell()

    async def reserve(self, operation: shim_pb2.Reserve, /) -> shim_pb2.Admitted | shim_pb2.Refused:
        self._record("reserve", operation)
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self._record("cancel", operation)
                raise
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict

    def settle(self, operation: shim_pb2.Settle, /) -> None:
        self._record("settle", operation)

    def void(self, operation: shim_pb2.Void, /) -> None:
        self._record("void", operation)

    def abandon(self, operation: shim_pb2.Abandon, /) -> None:
        self._record("abandon", operation)

    async def open_run(self, message: shim_pb2.OpenRun) -> types_pb2.Account:
        self._record("open_run", message)
        if self.full is not None:
            raise SessionFailure(self.full, "too many runs")
        return types_pb2.Account(run=message.run)

    async def close_run(self, run: str, *, unfinished: bool = False) -> types_pb2.Account:
        self._record("close_run", (run, unfinished))
        return types_pb2.Account(run=run)

    async def put_prices(self, text: bytes) -> bytes:
        self._record("put_prices", text)
        return b""

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.operations]

    def last(self, kind: str) -> Any:
        return next(operation for name, operation in reversed(self.operations) if name == kind)

    async def until(self, kind: str, count: int = 1) -> Any:
        """The last operation of a kind, as soon as there are so many."""
        await self._changes.until(lambda: self.kinds.count(kind) >= count)
        return self.last(kind)


@dataclass
class Asked:
    """A request as the provider got it."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    reader: asyncio.StreamReader

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    async def cut(self) -> None:
        """Returns when the shim has closed the connection."""
        with contextlib.suppress(ConnectionError):
            await self.reader.read()


class Provider:
    """A server that reads whole requests and then does what the script says with the connection."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self.port = 0
        self.reads_bodies = True
        self.script: Callable[[Asked, asyncio.StreamWriter], Awaitable[None]] | None = None
        self._changes = Changes()

    def answers(self, raw: bytes) -> None:
        async def script(_asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(raw)
            await writer.drain()

        self.script = script

    async def until_asked(self, count: int = 1) -> None:
        await self._changes.until(lambda: len(self.asked) >= count)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Provider]:
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await self._converse(reader, writer)
            except (ConnectionError, asyncio.CancelledError):
                pass
            finally:
                tasks.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            line, *fields = head.decode("latin-1").strip().split("\r\n")
            pairs = [(name, value) for name, _, value in (entry.partition(": ") for entry in fields)]
            asked = Asked(line, pairs, b"", reader)
            if self.reads_bodies:
                asked.body = await _request_body(asked, reader)
            self.asked.append(asked)
            self._changes.tell()
            assert self.script is not None
            await self.script(asked, writer)
            if writer.is_closing():
                return


async def _request_body(asked: Asked, reader: asyncio.StreamReader) -> bytes:
    if asked.header("transfer-encoding") != "chunked":
        return await reader.readexactly(int(asked.header("content-length") or 0))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


class _Socket:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


@dataclass
class Answered:
    """An answer as the client got it. ``whole`` is False where it was cut."""

    raw: bytes
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    whole: bool = True

    @classmethod
    def parse(cls, raw: bytes, method: str = "POST") -> Answered:
        response = http.client.HTTPResponse(_Socket(raw), method=method)  # type: ignore[arg-type]
        answered = cls(raw)
        try:
            response.begin()
            answered.status = response.status
            answered.headers = response.getheaders()
            answered.body = response.read()
        except http.client.IncompleteRead as cut:
            answered.whole = False
            answered.body = cut.partial
        finally:
            response.close()
        return answered

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


class Connection:
    """The client's end of one connection to the shim."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, raw: bytes) -> None:
        self._writer.write(raw)
        await self._writer.drain()

    async def read_until(self, wanted: bytes) -> bytes:
        with anyio.fail_after(PATIENCE_S):
            return await self._reader.readuntil(wanted)

    async def read_all(self) -> bytes:
        with anyio.fail_after(PATIENCE_S):
            return await self._reader.read()

    def hang_up(self) -> None:
        self._writer.close()


@dataclass
class Shim:
    """The shim under test, its provider and its session."""

    app: ShimApp
    port: int
    provider: Provider
    session: RecordingSession
    shutdown: anyio.Event
    serving: anyio.CancelScope
    door: GatewayDoor | None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()

    async def ask(self, raw: bytes) -> Answered:
        """Sends a request on a connection of its own, and reads the answer to its end."""
        async with self.connection() as connection:
            await connection.send(raw)
            return Answered.parse(await connection.read_all(), raw.split(b" ", 1)[0].decode())


class _Open:
    """A door for anybody, under one run."""

    def __init__(self, run: str) -> None:
        self._run = run

    def admit(self, path: str, request_headers: Headers, /) -> Visitor:
        return Visitor(path=path, run=self._run)

    async def enter(self, visitor: Visitor, /) -> None:
        pass

    def leave(self, visitor: Visitor, /) -> None:
        pass


@pytest.fixture
def start(anyio_backend: tuple[str, dict[str, bool]]) -> Callable[..., Any]:
    """Starts a shim with settings of the test's own: ``async with start(inject=False) as shim``."""

    @asynccontextmanager
    async def started(
        *,
        origin: str = "",
        drain_s: float = 5.0,
        gateway: GatewayConfig | None = None,
        observer: Observer | None = None,
        options: ServerOptions | None = None,
        **settings: Any,
    ) -> AsyncIterator[Shim]:
        async with AsyncExitStack() as stack:
            session = RecordingSession()
            door: Door = _Open("a3f9")
            if gateway is not None:
                door = await stack.enter_async_context(GatewayDoor(gateway, session))
            provider = await stack.enter_async_context(Provider().listening())
            upstreams = {"openai": origin or f"http://127.0.0.1:{provider.port}"}
            app = await stack.enter_async_context(
                ShimApp(
                    ShimSettings(upstreams=upstreams, session=session, **settings),
                    door=door,
                    observer=observer,
                )
            )
            sock = socket.create_server(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            shutdown = anyio.Event()
            serving = anyio.CancelScope()
            async with anyio.create_task_group() as group:

                async def run() -> None:
                    with serving:
                        await serve(app, sock, shutdown=shutdown, drain_s=drain_s, options=options, cut=app.cut)

                group.start_soon(run)
                try:
                    yield Shim(app, port, provider, session, shutdown, serving, door)
                finally:
                    shutdown.set()

    return started
