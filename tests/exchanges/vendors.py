"""Exchanges with vendors whose chat completions are compatible with OpenAI's, and differ in small ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from leash.usage import Usage
from tests.exchanges.exchange import EVENTS, Exchange, dump, events

Chunk = dict[str, Any]

_ASKED = {"model": "some/model", "messages": [{"role": "user", "content": "Where is it raining?"}]}
_STREAMED = _ASKED | {"stream": True}
_ASKED_FOR_USAGE = _STREAMED | {"stream_options": {"include_usage": True}}
_TEXT = "In Bergen 🌧"
_DELTAS: tuple[Chunk, ...] = ({"role": "assistant", "content": "In "}, {"content": "Bergen"}, {"content": " 🌧"}, {})
_USAGE = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}
_READ = Usage(input_tokens=21, output_tokens=9)


def _chunk(model: str, delta: Chunk | None, **fields: object) -> Chunk:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]
    return {"id": "gen-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices} | fields


def _whole(model: str, **fields: object) -> Chunk:
    message = {"role": "assistant", "content": _TEXT}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "gen-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]} | fields


def _running(model: str, upto: int) -> list[Chunk]:
    """Chunks that each tell the usage so far."""
    return [
        _chunk(model, delta, usage=_USAGE | {"completion_tokens": 3 * number, "total_tokens": 21 + 3 * number})
        for number, delta in enumerate(_DELTAS[:upto])
    ]


_OPENROUTER_USAGE = _USAGE | {
    "cost": 0.00021,
    "is_byok": False,
    "cost_details": {"upstream_inference_cost": None},
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 4},
    "server_tool_use": {"web_search_requests": 2},
}
_OPENROUTER_READ = replace(_READ, cached_input_tokens=8, reasoning_tokens=4, web_search_requests=2)
_COMMENT = b": OPENROUTER PROCESSING\n\n"
_TROUBLE = {"code": 502, "message": "Provider returned error", "metadata": {"provider_name": "A"}}

_OPENROUTER = (
    Exchange(
        name="openrouter",
        path="/api/v1/chat/completions",
        request=dump(_ASKED | {"plugins": [{"id": "web"}]}),
        # Blank lines keep the connection alive until the answer is here.
        answer=b"\n         \n\n" + dump(_whole("some/model", provider="A", usage=_OPENROUTER_USAGE)) + b"\n",
        usage=_OPENROUTER_READ,
        model="some/model",
        says="text",
    ),
    Exchange(
        # The usage comes unasked, in a chunk that has a choice.
        name="openrouter-stream",
        path="/api/v1/chat/completions",
        request=dump(_STREAMED),
        answer=_COMMENT * 3
        + events(
            *(_chunk("some/model", delta, provider="A") for delta in _DELTAS),
            _chunk("some/model", {"role": "assistant", "content": ""}, usage=_OPENROUTER_USAGE),
            done=True,
        ),
        answer_type=EVENTS,
        usage=_OPENROUTER_READ,
        model="some/model",
        says="text",
    ),
    Exchange(
        name="openrouter-error-at-200",
        path="/api/v1/chat/completions",
        request=dump(_ASKED),
        answer=dump({"error": _TROUBLE, "user_id": "user_1"}),
        broken_off=True,
    ),
    Exchange(
        name="openrouter-stream-error",
        path="/api/v1/chat/completions",
        request=dump(_STREAMED),
        answer=_COMMENT
        + events(
            _chunk("some/model", {"content": "In "}),
            _chunk("some/model", {"content": ""}, error=_TROUBLE),
            done=True,
        ),
        answer_type=EVENTS,
        model="some/model",
        says="broken",
        broken_off=True,
    ),
)

_GROQ_TIMES = {"queue_time": 0.02, "prompt_time": 0.001, "completion_time": 0.01, "total_time": 0.011}

_HOSTED = (
    Exchange(
        # Without the option Groq tells the usage in a member of its own, with it in both.
        name="groq-stream",
        path="/openai/v1/chat/completions",
        request=dump(_STREAMED),
        answer=events(
            _chunk("llama-3.3-70b", _DELTAS[0], x_groq={"id": "req_1"}),
            *(_chunk("llama-3.3-70b", delta) for delta in _DELTAS[1:3]),
            _chunk("llama-3.3-70b", {}, x_groq={"id": "req_1", "usage": _USAGE | _GROQ_TIMES}),
            done=True,
        ),
        with_option=events(
            _chunk("llama-3.3-70b", _DELTAS[0], x_groq={"id": "req_1"}),
            *(_chunk("llama-3.3-70b", delta) for delta in _DELTAS[1:3]),
            _chunk("llama-3.3-70b", {}, x_groq={"id": "req_1", "usage": _USAGE | _GROQ_TIMES}),
            _chunk("llama-3.3-70b", None, usage=_USAGE | _GROQ_TIMES),
            done=True,
        ),
        answer_type=EVENTS,
        usage=_READ,
        model="llama-3.3-70b",
        says="text",
    ),
    Exchange(
        name="together-stream",
        path="/v1/chat/completions",
        request=dump(_ASKED_FOR_USAGE),
        answer=events(
            *(_chunk("llama-4", delta, usage=None) for delta in _DELTAS[:3]),
            _chunk("llama-4", {}, usage=_USAGE),
            done=True,
        ),
        answer_type=EVENTS,
        usage=_READ,
        model="llama-4",
        says="text",
    ),
    Exchange(
        name="deepseek",
        path="/chat/completions",
        request=dump(_ASKED),
        answer=b"\n\n"
        + dump(
            _whole(
                "deepseek-reasoner",
                usage=_USAGE
                | {
                    "prompt_cache_hit_tokens": 16,
                    "prompt_cache_miss_tokens": 5,
                    "completion_tokens_details": {"reasoning_tokens": 6},
                },
            )
        ),
        usage=replace(_READ, cached_input_tokens=16, reasoning_tokens=6),
        model="deepseek-reasoner",
        says="text",
    ),
    Exchange(
        # Its comments stand between the events, and one between the lines of an event.
        name="deepseek-stream",
        path="/chat/completions",
        request=dump(_STREAMED),
        answer=b": keep-alive\n\n" + events(*(_chunk("deepseek-chat", delta) for delta in _DELTAS), done=True),
        with_option=b": keep-alive\n\n"
        + events(
            *(_chunk("deepseek-chat", delta, usage=None) for delta in _DELTAS),
            _chunk("deepseek-chat", None, usage=_USAGE),
            done=True,
        ),
        answer_type=EVENTS,
        usage=_READ,
        model="deepseek-chat",
        says="text",
    ),
    Exchange(
        # xAI's completion tokens are without the reasoning; the total is with it.
        name="xai",
        path="/v1/chat/completions",
        request=dump(_ASKED),
        answer=dump(
            _whole(
                "grok-4",
                usage={
                    "prompt_tokens": 21,
                    "completion_tokens": 9,
                    "total_tokens": 530,
                    "prompt_tokens_details": {"text_tokens": 21, "cached_tokens": 4, "image_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 500},
                    "num_sources_used": 0,
                },
            )
        ),
        usage=Usage(input_tokens=21, output_tokens=509, cached_input_tokens=4, reasoning_tokens=500),
        model="grok-4",
        says="text",
    ),
    Exchange(
        name="perplexity-stream",
        path="/chat/completions",
        request=dump(_ASKED_FOR_USAGE),
        answer=events(
            *_running("sonar-deep-research", 3),
            _chunk(
                "sonar-deep-research",
                {},
                usage=_USAGE | {"citation_tokens": 1_000, "num_search_queries": 7, "reasoning_tokens": 200},
            ),
            newline=b"\r\n",
        ),
        answer_type="text/event-stream",
        usage=Usage(input_tokens=1_021, output_tokens=209, reasoning_tokens=200, web_search_requests=7),
        model="sonar-deep-research",
        says="text",
    ),
)

_DATA_LINES = (
    b'data: {"id":"gen-1","model":"m","choices":[\ndata: {"index":0,"delta":{"content":"%s"},\n'
    b'data: "finish_reason":%s}],\ndata: "usage":%s}\n\n'
)

_SELF_HOSTED = (
    Exchange(
        name="vllm-continuous-usage",
        path="/v1/chat/completions",
        request=dump(_STREAMED | {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
        answer=events(*_running("qwen", 4), _chunk("qwen", None, usage=_USAGE), done=True),
        answer_type=EVENTS,
        usage=_READ,
        model="qwen",
        says="text",
    ),
    Exchange(
        # What is settled from such a stream, cut, would be too little.
        name="vllm-continuous-usage-cut",
        path="/v1/chat/completions",
        request=dump(_STREAMED | {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
        answer=events(*_running("qwen", 3)),
        answer_type=EVENTS,
        usage=Usage(input_tokens=21, output_tokens=6),
        model="qwen",
        says="text",
        broken_off=True,
    ),
    Exchange(
        name="llama-cpp",
        path="/v1/chat/completions",
        request=dump(_ASKED),
        answer=dump(
            _whole("gguf", usage=_USAGE, timings={"prompt_n": 20, "prompt_ms": 31.5, "predicted_n": 9, "cache_n": 1})
        ),
        usage=_READ,
        model="gguf",
        says="text",
    ),
    Exchange(
        name="llama-cpp-stream",
        path="/v1/chat/completions",
        request=dump(_STREAMED),
        answer=events(
            *(_chunk("gguf", delta) for delta in _DELTAS[:3]),
            _chunk("gguf", {}, timings={"prompt_n": 21, "predicted_n": 9, "predicted_ms": 80.25}),
            done=True,
        ),
        with_option=events(
            *(_chunk("gguf", delta) for delta in _DELTAS[:3]),
            _chunk("gguf", {}, timings={"prompt_n": 21, "predicted_n": 9, "predicted_ms": 80.25}),
            _chunk("gguf", None, usage=_USAGE, timings={"prompt_n": 21, "predicted_n": 9, "predicted_ms": 80.25}),
            done=True,
        ),
        answer_type=EVENTS,
        usage=_READ,
        model="gguf",
        says="text",
    ),
    Exchange(
        # Zeros in every chunk but one, before it and after it.
        name="localai-stream",
        path="/v1/chat/completions",
        request=dump(_ASKED_FOR_USAGE),
        answer=events(
            *(_chunk("m", delta, usage=dict.fromkeys(_USAGE, 0)) for delta in _DELTAS[:3]),
            _chunk("m", {}, usage=_USAGE),
            _chunk("m", {"content": ""}, usage=dict.fromkeys(_USAGE, 0)),
            done=True,
        ),
        answer_type=EVENTS,
        usage=_READ,
        model="m",
        says="text",
    ),
    Exchange(
        # Data of several lines, which is one value when it is put together.
        name="data-of-several-lines",
        path="/v1/chat/completions",
        request=dump(_ASKED_FOR_USAGE),
        answer=_DATA_LINES % (_TEXT.encode(), b"null", b"null")
        + _DATA_LINES.replace(b"\n", b"\r\n") % (b"", b'"stop"', dump(_USAGE)),
        answer_type="Text/Event-Stream",
        usage=_READ,
        model="m",
        says="text",
    ),
    Exchange(
        # One line ending after each event, and nothing at the end.
        name="single-line-endings-and-no-end",
        path="/v1/chat/completions",
        request=dump(_ASKED_FOR_USAGE),
        answer=events(*(_chunk("m", delta, error=None) for delta in _DELTAS), _chunk("m", None, usage=_USAGE))
        .replace(b"\n\n", b"\n")
        .rstrip(),
        answer_type=EVENTS,
        usage=_READ,
        model="m",
        says="text",
    ),
    Exchange(
        # Content in parts, a call whose arguments are an object, and an error member that tells none.
        name="loose-types",
        path="/v1/chat/completions",
        request=dump(_ASKED),
        answer=dump(
            {
                "model": "m",
                "error": "",
                "choices": [
                    {
                        "message": {
                            "content": [{"type": "text", "text": "In Bergen"}, {"type": "thinking"}, None],
                            "tool_calls": [{"function": {"name": "look_up", "arguments": {"days": 2, "city": "Bern"}}}],
                        }
                    }
                ],
                "usage": _USAGE | {"prompt_tokens_details": None, "completion_tokens_details": []},
            }
        ),
        usage=_READ,
        model="m",
        says="text and tool",
    ),
)

EXCHANGES = _OPENROUTER + _HOSTED + _SELF_HOSTED
