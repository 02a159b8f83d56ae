"""Exchanges in the format of OpenAI's chat completions, written after OpenAI's and the vendors' documentation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from leash.usage import Usage
from tests.exchanges.exchange import EVENTS, Exchange, dump, events, pretty

_MODEL = "gpt-4o-2024-08-06"
_ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Where is it raining?"}]}
_STREAMED = _ASKED | {"stream": True}
_HEAD = {"id": "chatcmpl-1", "created": 1_760_000_000, "model": _MODEL, "service_tier": "default"}
_USAGE = {
    "prompt_tokens": 1_200,
    "completion_tokens": 340,
    "total_tokens": 1_540,
    "prompt_tokens_details": {"cached_tokens": 1_024, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 256, "audio_tokens": 0},
}
_READ = Usage(
    input_tokens=1_200, output_tokens=340, cached_input_tokens=1_024, reasoning_tokens=256, service_tier="default"
)
_CALL = {"name": "look_up", "arguments": '{"city":"Bern","days":2}'}


def _whole(message: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return _HEAD | {"object": "chat.completion", "choices": [choice], "usage": _USAGE}


def _chunk(delta: dict[str, Any] | None, **fields: object) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]
    return _HEAD | {"object": "chat.completion.chunk", "choices": choices} | fields


# What Azure tells of the prompt, before the answer.
_FILTERED = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": []}
_DELTAS: tuple[dict[str, Any], ...] = (
    {"role": "assistant", "content": ""},
    {"content": "In  Be"},
    {"content": "rgen 🌧"},
    {},
)
_CALL_DELTAS: tuple[dict[str, Any], ...] = (
    {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "look_up", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"days": 2, "ci'}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": 'ty": "Bern"}'}}]},
)

EXCHANGES = (
    Exchange(
        name="chat",
        path="/v1/chat/completions",
        request=dump(_ASKED),
        answer=pretty(_whole({"content": "In Bergen 🌧"})),
        usage=_READ,
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="chat-tool",
        path="/openai/deployments/gpt-4o/chat/completions",
        request=dump(_ASKED),
        answer=dump(_whole({"content": None, "tool_calls": [{"id": "call_9", "type": "function", "function": _CALL}]})),
        usage=_READ,
        model=_MODEL,
        says="tool",
    ),
    Exchange(
        name="chat-stream",
        path="/v1/chat/completions",
        request=dump(_STREAMED),
        answer=events(*map(_chunk, _DELTAS), done=True),
        with_option=events(*(_chunk(delta, usage=None) for delta in _DELTAS), _chunk(None, usage=_USAGE), done=True),
        answer_type=EVENTS,
        usage=_READ,
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="chat-stream-tool-asked",
        path="/api/v1/chat/completions",
        request=dump(_STREAMED | {"stream_options": {"include_usage": True}}),
        answer=b": OPENROUTER PROCESSING\r\n\r\n"
        + events(*map(_chunk, _CALL_DELTAS), _chunk(None, usage=_USAGE), done=True, newline=b"\r\n"),
        answer_type=EVENTS,
        usage=_READ,
        model=_MODEL,
        says="tool",
    ),
    Exchange(
        # A server that closes its connection in the middle of a text, as some do when they are restarted.
        name="chat-stream-cut",
        path="/v1/chat/completions",
        request=dump(_STREAMED),
        answer=events(*map(_chunk, _DELTAS[:2])),
        with_option=events(*(_chunk(delta, usage=None) for delta in _DELTAS[:2])),
        answer_type=EVENTS,
        model=_MODEL,
        says="cut",
        broken_off=True,
    ),
    Exchange(
        # An older server that does not know the option, and ends its stream as always.
        name="chat-stream-blind",
        path="/v1/chat/completions",
        request=dump(_STREAMED),
        answer=events(*map(_chunk, _DELTAS), done=True),
        with_option=events(*map(_chunk, _DELTAS), done=True),
        answer_type=EVENTS,
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="chat-azure-stream",
        path="/openai/deployments/weather/chat/completions",
        request=dump(_STREAMED),
        answer=events(_FILTERED, *map(_chunk, _DELTAS), done=True),
        with_option=events(
            _FILTERED | {"usage": None},
            *(_chunk(delta, usage=None) for delta in _DELTAS),
            _chunk(None, usage=_USAGE),
            done=True,
        ),
        answer_type=EVENTS,
        usage=_READ,
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="chat-obfuscated-stream",
        path="/v1/chat/completions",
        request=dump(_STREAMED | {"stream_options": {"include_obfuscation": True}}),
        answer=events(*(_chunk(delta, obfuscation="x0Yz") for delta in _DELTAS), done=True),
        with_option=events(
            *(_chunk(delta, usage=None, obfuscation="x0Yz") for delta in _DELTAS),
            _chunk(None, usage=_USAGE, obfuscation=""),
            done=True,
        ),
        answer_type=EVENTS,
        usage=_READ,
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="chat-custom-tool",
        path="/v1/chat/completions",
        request=dump(_ASKED | {"tools": [{"type": "custom", "custom": {"name": "shell"}}]}),
        answer=dump(
            _whole(
                {
                    "content": None,
                    "tool_calls": [{"id": "call_3", "type": "custom", "custom": {"name": "shell", "input": "ls  -l"}}],
                }
            )
        ),
        usage=_READ,
        model=_MODEL,
        says="custom",
    ),
    Exchange(
        name="chat-legacy-function",
        path="/v1/chat/completions",
        request=dump(_ASKED | {"functions": [{"name": "look_up"}]}),
        answer=dump(_whole({"content": None, "function_call": _CALL})),
        usage=_READ,
        model=_MODEL,
        says="legacy function",
    ),
    Exchange(
        name="chat-refusal",
        path="/v1/chat/completions",
        request=dump(_ASKED),
        answer=dump(_whole({"content": None, "refusal": "In Bergen 🌧"})),
        usage=_READ,
        model=_MODEL,
        says="refusal",
    ),
    Exchange(
        name="chat-audio",
        path="/v1/chat/completions",
        request=dump(_ASKED | {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
        answer=dump(
            _whole({"content": None, "audio": {"id": "audio_1", "data": "UklGRg==", "transcript": "In Bergen"}})
            | {
                "usage": {
                    "prompt_tokens": 60,
                    "completion_tokens": 90,
                    "total_tokens": 150,
                    "prompt_tokens_details": {"text_tokens": 20, "audio_tokens": 40, "cached_tokens": 0},
                    "completion_tokens_details": {"text_tokens": 10, "audio_tokens": 80, "reasoning_tokens": 0},
                }
            }
        ),
        usage=Usage(
            input_tokens=60, output_tokens=90, audio_input_tokens=40, audio_output_tokens=80, service_tier="default"
        ),
        model=_MODEL,
        says="spoken",
    ),
    Exchange(
        name="chat-web-search",
        path="/v1/chat/completions",
        request=dump(_ASKED | {"web_search_options": {}}),
        answer=dump(_whole({"content": "In Bergen 🌧", "annotations": [{"type": "url_citation"}]})),
        usage=replace(_READ, web_search_requests=1),
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="chat-nothing-said",
        path="/v1/chat/completions",
        request=dump(_ASKED | {"max_completion_tokens": 340}),
        answer=dump(_whole({"content": ""})),
        usage=_READ,
        model=_MODEL,
    ),
)
