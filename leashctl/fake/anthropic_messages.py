"""Anthropic's messages, and their stream from ``message_start`` to ``message_stop``.

Source: https://docs.anthropic.com/en/api/messages and …/messages-streaming; errors: …/errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leashctl.fake.answer import (
    EVENT_STREAM,
    TOOL_NAME,
    Asked,
    Streamed,
    Whole,
    arguments,
    dump,
    named_event,
    pieces,
    reply,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leashctl.fake.settings import FakeProviderSettings

REQUEST_ID_HEADER = b"request-id"

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def error(status: int, message: str) -> dict[str, Any]:
    """The body of an error."""
    return {"type": "error", "error": {"type": _ERROR_TYPES.get(status, "api_error"), "message": message}}


def answer(settings: FakeProviderSettings, asked: Asked) -> Whole | Streamed:
    """The answer to one request."""
    message = _Message(settings, asked)
    if asked.content.get("stream"):
        return Streamed(EVENT_STREAM, map(named_event, message.events()))
    return Whole(message.whole())


class _Message:
    """One answer, whole or as a stream of events."""

    def __init__(self, settings: FakeProviderSettings, asked: Asked) -> None:
        self._settings = settings
        self._number = asked.number
        self._reply = reply(settings, asked.number, asked.content.get("max_tokens"))

    def whole(self) -> dict[str, Any]:
        content = self._tool_use() if self._settings.tool_calls else {"type": "text", "text": self._reply.text}
        return self._message([content], stop_reason=self._stop_reason(), output_tokens=self._reply.tokens)

    def events(self) -> Iterator[dict[str, Any]]:
        # The provider has written one token when it begins to tell; the last event has them all.
        yield {"type": "message_start", "message": self._message([], stop_reason=None, output_tokens=1)}
        if self._settings.tool_calls:
            opening = self._tool_use() | {"input": {}}
            told = dump(arguments(self._reply.text)).decode()
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in self._pieces(told)]
        else:
            opening = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in self._pieces(self._reply.text)]
        yield {"type": "content_block_start", "index": 0, "content_block": opening}
        yield {"type": "ping"}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": 0, "delta": delta}
        yield {"type": "content_block_stop", "index": 0}
        end = {"type": "message_delta", "delta": {"stop_reason": self._stop_reason(), "stop_sequence": None}}
        yield end | ({"usage": {"output_tokens": self._reply.tokens}} if self._settings.reports_usage else {})
        yield {"type": "message_stop"}

    def _message(self, content: list[dict[str, Any]], *, stop_reason: str | None, output_tokens: int) -> dict[str, Any]:
        message = {
            "id": f"msg_fake_{self._number}",
            "type": "message",
            "role": "assistant",
            "model": self._settings.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
        }
        return message | ({"usage": self._usage(output_tokens)} if self._settings.reports_usage else {})

    def _usage(self, output_tokens: int) -> dict[str, Any]:
        return {
            "input_tokens": self._settings.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output_tokens,
            "service_tier": "standard",
        }

    def _tool_use(self) -> dict[str, Any]:
        tool_id = f"toolu_fake_{self._number}"
        return {"type": "tool_use", "id": tool_id, "name": TOOL_NAME, "input": arguments(self._reply.text)}

    def _pieces(self, text: str) -> list[str]:
        return pieces(text, self._settings.chunks)

    def _stop_reason(self) -> str:
        if self._reply.is_cut:
            return "max_tokens"
        return "tool_use" if self._settings.tool_calls else "end_turn"
