"""OpenAI's chat completions, to the byte where SDKs look: ``include_usage``, ``"usage":null`` on the other chunks.

Source: https://platform.openai.com/docs/api-reference/chat.
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
    choices,
    data_event,
    pieces,
    reply,
)
from leashctl.fake.openai_shared import usage, wants_usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leashctl.fake.settings import FakeProviderSettings


def answer(settings: FakeProviderSettings, asked: Asked) -> Whole | Streamed:
    """The answer to one request."""
    completion = _Completion(settings, asked)
    return Streamed(EVENT_STREAM, completion.events()) if asked.content.get("stream") else Whole(completion.whole())


class _Completion:
    """One answer, whole or as a stream of events."""

    def __init__(self, settings: FakeProviderSettings, asked: Asked) -> None:
        content = asked.content
        self._settings = settings
        self._number = asked.number
        self._include_usage = wants_usage(content)
        self._choices = choices(content.get("n"))
        self._reply = reply(settings, asked.number, content.get("max_completion_tokens") or content.get("max_tokens"))

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self._reply.text, "refusal": None}
        if self._settings.tool_calls:
            message |= {"content": None, "tool_calls": [self._tool_call()]}
        alternatives = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": self._finish_reason()}
            for index in range(self._choices)
        ]
        whole = self._head("chat.completion") | {"choices": alternatives}
        return whole | {"usage": self._usage()} if self._settings.reports_usage else whole

    def events(self) -> Iterator[bytes]:
        for index in range(self._choices):
            yield self._event(index, {"role": "assistant", "content": "", "refusal": None})
            for delta in self._deltas():
                yield self._event(index, delta)
            yield self._event(index, {}, finish_reason=self._finish_reason())
        if self._include_usage and self._settings.reports_usage:
            yield data_event(self._head("chat.completion.chunk") | {"choices": [], "usage": self._usage()})
        yield b"data: [DONE]\n\n"

    def _deltas(self) -> Iterator[dict[str, Any]]:
        if self._settings.tool_calls:
            call = self._tool_call()
            opening = call | {"index": 0, "function": call["function"] | {"arguments": ""}}
            yield {"tool_calls": [opening]}
            for piece in pieces(call["function"]["arguments"], self._settings.chunks):
                yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
        else:
            for piece in pieces(self._reply.text, self._settings.chunks):
                yield {"content": piece}

    def _event(self, index: int, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = self._head("chat.completion.chunk") | {"choices": [choice]}
        return data_event(chunk | {"usage": None} if self._include_usage else chunk)

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-fake-{self._number}",
            "object": kind,
            "created": CREATED,
            "model": self._settings.model,
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
        }

    def _finish_reason(self) -> str:
        if self._reply.is_cut:
            return "length"
        return "tool_calls" if self._settings.tool_calls else "stop"

    def _tool_call(self) -> dict[str, Any]:
        return {
            "id": f"call_fake_{self._number}",
            "type": "function",
            "function": {
                "name": TOOL_NAME,
                "arguments": json.dumps(arguments(self._reply.text), separators=(",", ":")),
            },
        }

    def _usage(self) -> dict[str, Any]:
        return usage(self._settings, self._reply.tokens * self._choices)
