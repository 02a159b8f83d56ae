"""A provider that costs nothing: OpenAI's chat completions on this machine, for the demo and for trying things out.

It answers as OpenAI does, to the byte where SDKs look: ``stream_options.include_usage``, ``"usage":null`` on the other
chunks, ``max_tokens``, ``n``. What it says is made up, and the same for the same settings and request number.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio import move_on_after

from leash_shim.asgi import acknowledge_lifespan
from leash_shim.downstream import BodyTooLarge, Downstream, HungUp
from leash_shim.headers import first
from leash_shim.server import serve

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from anyio import Event

    from leash_shim.asgi import Message, Receive, Send

# More than any demonstration sends; it only keeps a mistake from filling the memory.
_MAX_BODY_BYTES = 64 << 20

# OpenAI's own limit on ``n``.
_MOST_CHOICES = 128

_OK = 200
_CREATED = 1_700_000_000
_JSON = (b"content-type", b"application/json")
_EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
_GZIP_WINDOW = zlib.MAX_WBITS | 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeProviderSettings:
    """How the provider behaves.

    ``prompt_tokens`` and ``completion_tokens`` are reported for each call and choice. ``delay_s`` passes before each
    answer, ``chunk_delay_s`` before each of a stream's ``chunks`` pieces of text. A ``status`` other than 200 is every
    answer's. Without ``reports_usage`` no answer has a usage. ``tool_calls`` answers with a call of a function rather
    than with text. ``reply`` is every answer's text; empty, each answer has its own. ``gzip`` compresses for whoever
    accepts it.
    """

    model: str = "demo-model"
    prompt_tokens: int = 1000
    completion_tokens: int = 500
    delay_s: float = 0.0
    chunks: int = 10
    chunk_delay_s: float = 0.0
    status: int = 200
    reports_usage: bool = True
    tool_calls: bool = False
    reply: str = ""
    gzip: bool = False


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
        if scope["type"] == "lifespan":
            await acknowledge_lifespan(receive, send)
        elif scope["type"] == "http":
            try:
                await self._serve(scope, Downstream(receive, send))
            except HungUp:
                return

    async def _serve(self, scope: Message, downstream: Downstream) -> None:
        method, path = scope["method"], scope["path"]
        accepts_gzip = self._settings.gzip and "gzip" in first(scope["headers"], b"accept-encoding")
        try:
            body = await downstream.read_body(_MAX_BODY_BYTES)
        except BodyTooLarge:
            await _reply(downstream, 413, _error("The request is too large."))
            return
        if method == "POST" and path.endswith("/chat/completions"):
            await self._complete(body, downstream, accepts_gzip=accepts_gzip)
        elif method == "GET" and path.endswith("/models"):
            await _reply(downstream, 200, self._models(), gzip=accepts_gzip)
        elif method == "GET" and path == "/_stats":
            await _reply(downstream, 200, {"served": self._served})
        else:
            await _reply(downstream, 404, _error(f"Unknown request URL: {method} {path}."))

    async def _complete(self, body: bytes, downstream: Downstream, *, accepts_gzip: bool) -> None:
        """Answers one chat completion."""
        self._served += 1
        number = self._served
        settings = self._settings
        await self._pause(settings.delay_s)
        try:
            asked = _Asked.parse(body)
        except (ValueError, TypeError, AttributeError):
            await _reply(downstream, 400, _error("We could not parse the JSON body of your request."))
            return
        if settings.status != _OK:
            await _reply(downstream, settings.status, _error("The fake provider was told to answer so."))
            return
        completion = _Completion(settings, asked, number)
        if not asked.stream:
            await _reply(downstream, 200, completion.whole(), gzip=accepts_gzip, request_number=number)
            return
        await self._stream(completion, downstream, number, compressor=_compressor(accepts_gzip=accepts_gzip))

    async def _stream(
        self, completion: _Completion, downstream: Downstream, number: int, *, compressor: _Compressor | None
    ) -> None:
        head = [_EVENT_STREAM, (b"cache-control", b"no-cache"), _request_id(number)]
        if compressor is not None:
            head.append((b"content-encoding", b"gzip"))
        await downstream.start(200, head)
        for event in completion.events():
            await self._pause(self._settings.chunk_delay_s)
            await downstream.write(event if compressor is None else compressor.feed(event))
        await downstream.finish(b"" if compressor is None else compressor.finish())

    async def _pause(self, seconds: float) -> None:
        with move_on_after(seconds):
            await self._shutdown.wait()

    def _models(self) -> dict[str, Any]:
        model = {"id": self._settings.model, "object": "model", "created": _CREATED, "owned_by": "leash"}
        return {"object": "list", "data": [model]}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request asks for. ``most_tokens`` is its own limit on the answer, if it has one."""

    stream: bool
    include_usage: bool
    choices: int
    most_tokens: int | None

    @classmethod
    def parse(cls, body: bytes) -> _Asked:
        """Reads a request's body. ValueError, TypeError or AttributeError where it is none."""
        asked = json.loads(body)
        options = asked.get("stream_options") or {}
        most = asked.get("max_completion_tokens") or asked.get("max_tokens")
        return cls(
            stream=bool(asked.get("stream")),
            include_usage=bool(options.get("include_usage")),
            choices=min(max(int(asked.get("n") or 1), 1), _MOST_CHOICES),
            most_tokens=int(most) if most else None,
        )


class _Completion:
    """One answer, whole or as a stream of events."""

    def __init__(self, settings: FakeProviderSettings, asked: _Asked, number: int) -> None:
        self._settings = settings
        self._asked = asked
        self._number = number
        self._text = settings.reply or f"This is answer number {number} of the fake provider: nothing was spent on it."
        most = asked.most_tokens
        self._cut = most is not None and most < settings.completion_tokens
        self._tokens = min(settings.completion_tokens, most) if most is not None else settings.completion_tokens

    def whole(self) -> dict[str, Any]:
        """The answer as one object."""
        message: dict[str, Any] = {"role": "assistant", "content": self._text, "refusal": None}
        if self._settings.tool_calls:
            message |= {"content": None, "tool_calls": [self._tool_call()]}
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": self._finish_reason()}
            for index in range(self._asked.choices)
        ]
        answer = self._head("chat.completion") | {"choices": choices}
        return answer | {"usage": self._usage()} if self._settings.reports_usage else answer

    def events(self) -> Iterator[bytes]:
        """The answer as server-sent events."""
        for index in range(self._asked.choices):
            yield self._event(index, {"role": "assistant", "content": "", "refusal": None})
            for delta in self._deltas():
                yield self._event(index, delta)
            yield self._event(index, {}, finish_reason=self._finish_reason())
        if self._asked.include_usage and self._settings.reports_usage:
            yield _event(self._head("chat.completion.chunk") | {"choices": [], "usage": self._usage()})
        yield b"data: [DONE]\n\n"

    def _deltas(self) -> Iterator[dict[str, Any]]:
        pieces = max(self._settings.chunks, 1)
        if self._settings.tool_calls:
            call = self._tool_call()
            arguments = call["function"]["arguments"]
            opening = call | {"index": 0, "function": call["function"] | {"arguments": ""}}
            yield {"tool_calls": [opening]}
            for piece in _pieces(arguments, pieces):
                yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
        else:
            for piece in _pieces(self._text, pieces):
                yield {"content": piece}

    def _event(self, index: int, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = self._head("chat.completion.chunk") | {"choices": [choice]}
        return _event(chunk | {"usage": None} if self._asked.include_usage else chunk)

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-fake-{self._number}",
            "object": kind,
            "created": _CREATED,
            "model": self._settings.model,
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
        }

    def _finish_reason(self) -> str:
        if self._cut:
            return "length"
        return "tool_calls" if self._settings.tool_calls else "stop"

    def _tool_call(self) -> dict[str, Any]:
        arguments = json.dumps({"query": self._text}, separators=(",", ":"))
        return {
            "id": f"call_fake_{self._number}",
            "type": "function",
            "function": {"name": "look_up", "arguments": arguments},
        }

    def _usage(self) -> dict[str, Any]:
        output = self._tokens * self._asked.choices
        return {
            "prompt_tokens": self._settings.prompt_tokens,
            "completion_tokens": output,
            "total_tokens": self._settings.prompt_tokens + output,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


class _Compressor:
    """gzip for a body that is sent in parts, each of which can be read at once."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(wbits=_GZIP_WINDOW)

    def feed(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._stream.flush()


def _compressor(*, accepts_gzip: bool) -> _Compressor | None:
    return _Compressor() if accepts_gzip else None


def _pieces(text: str, count: int) -> Iterator[str]:
    """The text in ``count`` pieces, the last of which may be shorter or missing."""
    size = max(-(-len(text) // count), 1)
    return (text[start : start + size] for start in range(0, len(text), size))


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + _dump(content) + b"\n\n"


def _dump(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "fake_provider_error", "param": None, "code": None}}


def _request_id(number: int) -> tuple[bytes, bytes]:
    return b"x-request-id", f"req_fake_{number}".encode("ascii")


async def _reply(
    downstream: Downstream, status: int, content: dict[str, Any], *, gzip: bool = False, request_number: int = 0
) -> None:
    """Sends a whole JSON answer."""
    body = _dump(content)
    head = [_JSON]
    if request_number:
        head.append(_request_id(request_number))
    if gzip:
        compressor = _Compressor()
        body = compressor.feed(body) + compressor.finish()
        head.append((b"content-encoding", b"gzip"))
    head.append((b"content-length", str(len(body)).encode("ascii")))
    await downstream.start(status, head)
    await downstream.finish(body)
