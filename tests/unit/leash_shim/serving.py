"""A server on a real socket with an application of the tests' own, and clients that show every byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel

from leash_shim.server import ServerOptions, serve

# Longer than any step here takes on a busy machine; reaching it is a failure.
PATIENCE_S = 10.0

GET = b"GET /%b HTTP/1.1\r\nhost: leash\r\n\r\n"
# What the application answers when nothing else is said.
ANSWER = b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok"


@dataclass
class App:
    """Answers ``ok``, when it has the whole request; some paths go another way.

    ``/slow`` is answered once ``go`` is set, ``/unread`` is not read before, ``/early`` is answered before it is read,
    ``/half`` not to its end, ``/broken`` not at all, and ``/endless`` for as long as the agent is there.
    """

    go: anyio.Event = field(default_factory=anyio.Event)
    asked: list[str] = field(default_factory=list)
    gone: anyio.Event = field(default_factory=anyio.Event)
    leaving: bool = False
    cut: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    received_bytes: int = 0
    sent_bytes: int = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"]
        self.asked.append(path)
        if path == "/unread":
            await self.go.wait()
        elif path != "/early" and not await self._read(receive):
            self.gone.set()
            return
        if path == "/endless":
            await self._stream(receive, send)
            return
        if path == "/broken":
            raise ValueError(path)
        if path == "/slow":
            with self.cut:
                await self.go.wait()
        head = [(b"content-length", b"2"), *([(b"connection", b"close")] if self.leaving else [])]
        if scope["http_version"] == "2":
            del head[1:]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        if path == "/half":
            await send({"type": "http.response.body", "body": b"o", "more_body": True})
        else:
            await send({"type": "http.response.body", "body": b"ok", "more_body": False})

    async def _read(self, receive: Any) -> bool:
        """Reads a request; whether it came to its end."""
        while (message := await receive())["type"] == "http.request":
            self.received_bytes += len(message["body"])
            if not message["more_body"]:
                return True
        return False

    async def _stream(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                self.gone.set()

            group.start_soon(watch)
            while not self.gone.is_set():
                await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
                self.sent_bytes += 10_000
                await anyio.lowlevel.checkpoint()


class Client:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def read(self, size: int) -> bytes:
        with anyio.fail_after(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def read_all(self) -> bytes:
        with anyio.fail_after(PATIENCE_S), suppress(ConnectionError):
            return await self.reader.read()
        return b""

    async def ask(self, path: bytes = b"") -> bytes:
        """The answer to a request on this connection, as a server that is not leaving gives it."""
        await self.send(GET % path)
        return await self.read(len(ANSWER))


@dataclass
class Served:
    """A server under test."""

    app: App
    port: int
    shutdown: anyio.Event
    ended: anyio.Event
    serving: anyio.CancelScope

    @asynccontextmanager
    async def connect(self, **arguments: Any) -> AsyncIterator[Client]:
        async with self._connected(host="127.0.0.1", port=self.port, **arguments) as client:
            yield client

    @asynccontextmanager
    async def connect_slow(self) -> AsyncIterator[Client]:
        """A client whose side of the connection holds little of what it does not read."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        sock.connect(("127.0.0.1", self.port))
        async with self._connected(sock=sock, limit=1) as client:
            yield client

    @asynccontextmanager
    async def _connected(self, **arguments: Any) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection(**arguments)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()

    async def until_asked(self, count: int = 1) -> None:
        with anyio.fail_after(PATIENCE_S):
            while len(self.app.asked) < count:  # noqa: ASYNC110 (the application tells nobody)
                await anyio.sleep(0.005)

    async def until_ended(self) -> float:
        """How long it takes until the server has ended."""
        began = anyio.current_time()
        with anyio.fail_after(PATIENCE_S):
            await self.ended.wait()
        return anyio.current_time() - began


@asynccontextmanager
async def serving(*, drain_s: float = 5.0, **options: Any) -> AsyncIterator[Served]:
    """Serves with options of the test's own."""
    app = App()
    sock = socket.create_server(("127.0.0.1", 0))
    served = Served(app, sock.getsockname()[1], anyio.Event(), anyio.Event(), anyio.CancelScope())

    def leave() -> None:
        app.leaving = True

    async def run() -> None:
        with served.serving:
            await serve(
                app,
                sock,
                shutdown=served.shutdown,
                drain_s=drain_s,
                options=ServerOptions(**options),
                leave=leave,
                cut=app.cut.cancel,
            )
        served.ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        try:
            yield served
        finally:
            served.app.gone.set()
            served.app.go.set()
            served.shutdown.set()
