"""Gemini's generateContent, streamGenerateContent and embeddings, on any path that ends so, Vertex's among them.

A stream is server-sent events with CRLF where the query asks with ``alt=sse``, and one JSON array otherwise.
Source: https://ai.google.dev/api/generate-content and …/api/embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from leashctl.fake.answer import TOOL_NAME, VECTOR, Asked, Streamed, Whole, arguments, choices, dump, pieces, reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leashctl.fake.settings import FakeProviderSettings

_EVENT_STREAM = b"text/event-stream"
_JSON = b"application/json; charset=UTF-8"

# google.rpc.Code, by the HTTP status that it is told with.
_ERROR_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def error(status: int, message: str) -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"code": status, "message": message, "status": _ERROR_STATUSES.get(status, "UNKNOWN")}}


def answer(settings: FakeProviderSettings, asked: Asked) -> Whole:
    """The answer to one request for a whole answer."""
    return Whole(_Content(settings, asked).whole())


def stream(settings: FakeProviderSettings, asked: Asked) -> Streamed:
    """The answer to one request for a stream."""
    chunks = _Content(settings, asked).chunks()
    if parse_qs(asked.query).get("alt") == ["sse"]:
        return Streamed(_EVENT_STREAM, (b"data: " + dump(chunk) + b"\r\n\r\n" for chunk in chunks))
    return Streamed(_JSON, _array(chunks))


def embed(settings: FakeProviderSettings, asked: Asked) -> Whole:
    """The answer to one request for one vector."""
    del asked
    return Whole({"embedding": {"values": list(VECTOR)}} | _embedding_usage(settings))


def embed_batch(settings: FakeProviderSettings, asked: Asked) -> Whole:
    """The answer to one request for several vectors."""
    vectors = [{"values": list(VECTOR)} for _ in asked.content.get("requests") or ()]
    return Whole({"embeddings": vectors} | _embedding_usage(settings))


class _Content:
    """One answer, whole or in chunks."""

    def __init__(self, settings: FakeProviderSettings, asked: Asked) -> None:
        config = asked.content.get("generationConfig") or {}
        self._settings = settings
        self._number = asked.number
        self._candidates = choices(config.get("candidateCount"))
        self._reply = reply(settings, asked.number, config.get("maxOutputTokens"))

    def whole(self) -> dict[str, Any]:
        return self._chunk(self._parts()[0] if self._settings.tool_calls else {"text": self._reply.text}, part=1, of=1)

    def chunks(self) -> Iterator[dict[str, Any]]:
        parts = self._parts()
        for number, part in enumerate(parts, start=1):
            yield self._chunk(part, part=number, of=len(parts))

    def _parts(self) -> list[dict[str, Any]]:
        if self._settings.tool_calls:
            return [{"functionCall": {"name": TOOL_NAME, "args": arguments(self._reply.text)}}]
        return [{"text": piece} for piece in pieces(self._reply.text, self._settings.chunks)]

    def _chunk(self, content: dict[str, Any], *, part: int, of: int) -> dict[str, Any]:
        """One part of the answer, with what had been used when it was written."""
        finish = {"finishReason": "MAX_TOKENS" if self._reply.is_cut else "STOP"} if part == of else {}
        candidates = [
            {"content": {"parts": [content], "role": "model"}, **finish, "index": index}
            for index in range(self._candidates)
        ]
        output_tokens = self._reply.tokens * self._candidates * part // of
        usage = {"usageMetadata": self._usage(output_tokens)} if self._settings.reports_usage else {}
        told = {"modelVersion": self._settings.model, "responseId": f"fake-{self._number}"}
        return {"candidates": candidates} | usage | told

    def _usage(self, output_tokens: int) -> dict[str, Any]:
        prompt_tokens = self._settings.prompt_tokens
        return {
            "promptTokenCount": prompt_tokens,
            "candidatesTokenCount": output_tokens,
            "totalTokenCount": prompt_tokens + output_tokens,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt_tokens}],
        }


def _array(chunks: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """One JSON array, in parts that begin with what separates them."""
    separator = b"["
    for chunk in chunks:
        yield separator + dump(chunk)
        separator = b",\r\n"
    yield b"]"


def _embedding_usage(settings: FakeProviderSettings) -> dict[str, Any]:
    if not settings.reports_usage:
        return {}
    tokens = settings.prompt_tokens
    return {"usageMetadata": {"promptTokenCount": tokens, "totalTokenCount": tokens}}
