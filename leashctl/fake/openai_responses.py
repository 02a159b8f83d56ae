"""OpenAI's responses, with the events of their stream from ``response.created`` to ``response.completed``.

Source: https://platform.openai.com/docs/api-reference/responses and …/responses-streaming.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from leashctl.fake.answer import (
    CREATED,
    EVENT_STREAM,
    TOOL_NAME,
    Asked,
    Streamed,
    Whole,
    arguments,
    named_event,
    pieces,
    reply,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leashctl.fake.settings import FakeProviderSettings


def answer(settings: FakeProviderSettings, asked: Asked) -> Whole | Streamed:
    """The answer to one request."""
    response = _Response(settings, asked)
    if not asked.content.get("stream"):
        return Whole(response.ended())
    numbered = (event | {"sequence_number": number} for number, event in enumerate(response.events()))
    return Streamed(EVENT_STREAM, map(named_event, numbered))


class _Response:
    """One answer, whole or as a stream of events."""

    def __init__(self, settings: FakeProviderSettings, asked: Asked) -> None:
        self._settings = settings
        self._asked = asked
        self._reply = reply(settings, asked.number, asked.content.get("max_output_tokens"))
        self._status = "incomplete" if self._reply.is_cut else "completed"

    def ended(self) -> dict[str, Any]:
        """The response once there is nothing to come."""
        usage = self._usage() if self._settings.reports_usage else None
        item = self._call(self._arguments()) if self._settings.tool_calls else self._message([self._part()])
        reason = {"reason": "max_output_tokens"} if self._reply.is_cut else None
        return self._response(self._status) | {"incomplete_details": reason, "output": [item], "usage": usage}

    def events(self) -> Iterator[dict[str, Any]]:
        """The stream's events, but for their numbers."""
        begun = self._response("in_progress")
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        yield from self._call_events() if self._settings.tool_calls else self._message_events()
        yield {"type": f"response.{self._status}", "response": self.ended()}

    def _message_events(self) -> Iterator[dict[str, Any]]:
        place = {"item_id": self._message([])["id"], "output_index": 0, "content_index": 0}
        opening = self._message([]) | {"status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": 0, "item": opening}
        yield {"type": "response.content_part.added", **place, "part": self._part() | {"text": ""}}
        for piece in pieces(self._reply.text, self._settings.chunks):
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": self._reply.text, "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": self._part()}
        yield {"type": "response.output_item.done", "output_index": 0, "item": self._message([self._part()])}

    def _call_events(self) -> Iterator[dict[str, Any]]:
        whole = self._arguments()
        place = {"item_id": self._call(whole)["id"], "output_index": 0}
        opening = self._call("") | {"status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": 0, "item": opening}
        for piece in pieces(whole, self._settings.chunks):
            yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        yield {"type": "response.function_call_arguments.done", **place, "name": TOOL_NAME, "arguments": whole}
        yield {"type": "response.output_item.done", "output_index": 0, "item": self._call(whole)}

    def _response(self, status: str) -> dict[str, Any]:
        return {
            "id": f"resp_fake_{self._asked.number}",
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": self._asked.content.get("instructions"),
            "max_output_tokens": self._asked.content.get("max_output_tokens"),
            "model": self._settings.model,
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
            "user": None,
            "metadata": {},
        }

    def _message(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"msg_fake_{self._asked.number}",
            "type": "message",
            "status": self._status,
            "role": "assistant",
            "content": parts,
        }

    def _part(self) -> dict[str, Any]:
        return {"type": "output_text", "text": self._reply.text, "annotations": [], "logprobs": []}

    def _call(self, told: str) -> dict[str, Any]:
        return {
            "id": f"fc_fake_{self._asked.number}",
            "type": "function_call",
            "status": self._status,
            "call_id": f"call_fake_{self._asked.number}",
            "name": TOOL_NAME,
            "arguments": told,
        }

    def _arguments(self) -> str:
        return json.dumps(arguments(self._reply.text), separators=(",", ":"))

    def _usage(self) -> dict[str, Any]:
        return {
            "input_tokens": self._settings.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": self._reply.tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self._settings.prompt_tokens + self._reply.tokens,
        }
