"""A provider that costs nothing, on this machine, for the demo and for trying things out.

It speaks OpenAI, Anthropic, Gemini and Ollama as their own SDKs expect them: ``leashctl.fake`` says what, this serves
it. What it says is made up, and the same for the same settings and request number.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

from anyio import move_on_after

from leash_shim.downstream import BodyTooLarge, Downstream, HungUp
from leash_shim.headers import first
from leash_shim.server import serve
from leashctl.fake import openai_shared
from leashctl.fake.answer import Asked, Streamed, dump
from leashctl.fake.endpoints import endpoint
from leashctl.fake.settings import FakeProviderSettings

if TYPE_CHECKING:
    import socket

    from anyio import Event

    from leash_shim.asgi import Message, Receive, Send
    from leashctl.fake.answer import Endpoint

__all__ = ["FakeProvider", "FakeProviderSettings", "serve_fake_provider"]

# More than any demonstration sends; it only keeps a mistake from filling the memory.
_MAX_BODY_BYTES = 64 << 20

_OK = 200
_JSON = (b"content-type", b"application/json")
_GZIP = (b"content-encoding", b"gzip")
_GZIP_WINDOW = zlib.MAX_WBITS | 16


async def serve_fake_provider(settings: FakeProviderSettings, sock: socket.socket, *, shutdown: Event) -> None:
    """Serves on a bound socket, which it takes over, until ``shutdown`` is set."""
    await serve(FakeProvider(settings, shutdown), sock, shutdown=shutdown)


class FakeProvider:
    """The provider as an ASGI application. ``GET /_stats`` tells how many calls it was asked to answer.

    Once ``shutdown`` is set, it answers without delay what it was asked before.
    """

    def __init__(self, settings: FakeProviderSettings, shutdown: Event) -> None:
        self._settings = settings
        self._shutdown = shutdown
        self._served = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http":
            try:
                await self._serve(scope, Downstream(receive, send))
            except HungUp:
                return

    async def _serve(self, scope: Message, downstream: Downstream) -> None:
        method, path = scope["method"], scope["path"]
        asked_at = endpoint(path) if method == "POST" else None
        error = asked_at.error if asked_at is not None else openai_shared.error
        accepts_gzip = self._settings.gzip and "gzip" in first(scope["headers"], b"accept-encoding")
        try:
            body = await downstream.read_body(_MAX_BODY_BYTES)
        except BodyTooLarge:
            await _reply(downstream, 413, error(413, "The request is too large."))
            return
        if asked_at is not None:
            query = scope["query_string"].decode("latin-1")
            await self._answer(asked_at, body, query, downstream=downstream, accepts_gzip=accepts_gzip)
        elif method == "GET" and path.endswith("/models"):
            await _reply(downstream, 200, openai_shared.models(self._settings), gzip=accepts_gzip)
        elif method == "GET" and path == "/_stats":
            await _reply(downstream, 200, {"served": self._served})
        else:
            await _reply(downstream, 404, error(404, f"Unknown request URL: {method} {path}."))

    async def _answer(
        self, asked_at: Endpoint, body: bytes, query: str, *, downstream: Downstream, accepts_gzip: bool
    ) -> None:
        """Answers one call in the format of its endpoint."""
        self._served += 1
        number = self._served
        settings = self._settings
        await self._pause(settings.delay_s)
        try:
            answer = asked_at.answer(settings, Asked(content=_object(body), query=query, number=number))
        except (ValueError, TypeError, AttributeError):
            unread = asked_at.error(400, "We could not parse the JSON body of your request.")
            await _reply(downstream, 400, unread)
            return
        if settings.status != _OK:
            told = asked_at.error(settings.status, "The fake provider was told to answer so.")
            await _reply(downstream, settings.status, told)
            return
        name = asked_at.request_id_header
        named = [(name, f"req_fake_{number}".encode("ascii"))] if name else []
        if isinstance(answer, Streamed):
            await self._stream(answer, downstream, named, compressor=_Compressor() if accepts_gzip else None)
        else:
            await _reply(downstream, 200, answer.content, gzip=accepts_gzip, named=named)

    async def _stream(
        self,
        answer: Streamed,
        downstream: Downstream,
        named: list[tuple[bytes, bytes]],
        *,
        compressor: _Compressor | None,
    ) -> None:
        head = [(b"content-type", answer.content_type), (b"cache-control", b"no-cache"), *named]
        if compressor is not None:
            head.append(_GZIP)
        await downstream.start(200, head)
        for part in answer.parts:
            await self._pause(self._settings.chunk_delay_s)
            await downstream.write(part if compressor is None else compressor.feed(part))
        await downstream.finish(b"" if compressor is None else compressor.finish())

    async def _pause(self, seconds: float) -> None:
        with move_on_after(seconds):
            await self._shutdown.wait()


class _Compressor:
    """gzip for a body that is sent in parts, each of which can be read at once."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(wbits=_GZIP_WINDOW)

    def feed(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._stream.flush()


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object of a request. ValueError or TypeError where there is none."""
    content = json.loads(body)
    if not isinstance(content, dict):
        raise TypeError("no object")
    return content


async def _reply(
    downstream: Downstream,
    status: int,
    content: dict[str, Any],
    *,
    gzip: bool = False,
    named: list[tuple[bytes, bytes]] | None = None,
) -> None:
    """Sends a whole JSON answer, with the header that names it."""
    body = dump(content)
    head = [_JSON, *(named or ())]
    if gzip:
        compressor = _Compressor()
        body = compressor.feed(body) + compressor.finish()
        head.append(_GZIP)
    head.append((b"content-length", str(len(body)).encode("ascii")))
    await downstream.start(status, head)
    await downstream.finish(body)
