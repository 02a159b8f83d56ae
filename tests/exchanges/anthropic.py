"""Exchanges in the format of Anthropic's messages, written after Anthropic's and the vendors' documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from leash.usage import Usage
from tests.exchanges.exchange import EVENTS, Exchange, dump, events, pretty

_MODEL = "claude-sonnet-4-5-20250929"
_OTHER_MODEL = "claude-opus-4-8"
_ASKED: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1_024,
    "messages": [{"role": "user", "content": "Where is it raining?"}],
}
_STREAMED = _ASKED | {"stream": True}
_TOOL = {"name": "look_up", "input_schema": {"type": "object"}}
_SEARCH = {"type": "web_search_20250305", "name": "web_search"}
_SEARCH_AND_FILTER = {"type": "web_search_20260209", "name": "web_search"}
_EXECUTION = {"type": "code_execution_20250825", "name": "code_execution"}
_VERTEX = "/v1/projects/p/locations/europe-west1/publishers/anthropic/models/claude-sonnet-4-5@20250929"

_TEXT = {"type": "text", "text": "In Bergen 🌧"}
_THINKING = {"type": "thinking", "thinking": "It always rains there.", "signature": "EqQBCkYIARgC"}
_REDACTED = {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3"}
_CALL = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"city": "Bern", "days": 2}}
_EMPTY_CALL = {"type": "tool_use", "id": "toolu_2", "name": "look_around", "input": {}}
_QUERY = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rain today"}}
_FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
_RUN = {"type": "server_tool_use", "id": "srvtoolu_2", "name": "bash_code_execution", "input": {"command": "date"}}
_RAN = {
    "type": "bash_code_execution_tool_result",
    "tool_use_id": "srvtoolu_2",
    "content": {"stdout": "", "content": []},
}
_CONTAINER = {"id": "container_1", "expires_at": "2026-01-01T00:00:00Z"}
_COMPACTION = {"type": "compaction", "content": "They asked for rain."}
_FALLBACK = {"type": "fallback", "from": {"model": "claude-sonnet-4-5"}, "to": {"model": _OTHER_MODEL}}

_USAGE = {
    "input_tokens": 21,
    "cache_creation_input_tokens": 500,
    "cache_read_input_tokens": 1_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 64,
    "service_tier": "standard",
}
_BEGUN = _USAGE | {"output_tokens": 1}
# 21 + 1,000 + 500, of which 300 and 200 written.
_READ = Usage(
    input_tokens=1_521,
    output_tokens=64,
    cached_input_tokens=1_000,
    cache_write_5m_tokens=300,
    cache_write_1h_tokens=200,
    service_tier="standard",
)
_ONE_TOKEN_READ = Usage(
    input_tokens=1_521,
    output_tokens=1,
    cached_input_tokens=1_000,
    cache_write_5m_tokens=300,
    cache_write_1h_tokens=200,
    service_tier="standard",
)
_OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def _message(*content: dict[str, Any], usage: Any = None, model: str = _MODEL, **fields: Any) -> dict[str, Any]:
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": list(content)}
    return whole | {"stop_reason": "end_turn", "stop_sequence": None, "usage": usage} | fields


def _began(usage: Any, model: str = _MODEL) -> dict[str, Any]:
    return {"type": "message_start", "message": _message(usage=usage, model=model, stop_reason=None)}


def _ended(usage: Any, **delta: Any) -> list[dict[str, Any]]:
    told = {} if usage is None else {"usage": usage}
    return [
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None} | delta} | told,
        {"type": "message_stop"},
    ]


def _blocks(*content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The events of the blocks, each of which is written in two pieces where it is written at all."""
    for index, block in enumerate(content):
        empty, kind, key, pieces = _written(block)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        if not index:
            yield {"type": "ping"}
        for piece in pieces:
            yield {"type": "content_block_delta", "index": index, "delta": {"type": kind, key: piece}}
        yield {"type": "content_block_stop", "index": index}


def _written(block: dict[str, Any]) -> tuple[dict[str, Any], str, str, list[str]]:
    """How a block begins, and then the type of its deltas, their key and their pieces."""
    match block["type"]:
        case "text":
            return block | {"text": ""}, "text_delta", "text", [block["text"][:5], block["text"][5:]]
        case "thinking":
            return block | {"thinking": ""}, "thinking_delta", "thinking", [block["thinking"]]
        case "tool_use" | "server_tool_use":
            told = json.dumps(block["input"]) if block["input"] else ""
            return block | {"input": {}}, "input_json_delta", "partial_json", [told[:9], told[9:]]
        case _:
            return block, "", "", []


def _json(name: str, *content: dict[str, Any], usage: Any, read: Usage | None, **fields: Any) -> Exchange:
    """One whole message; ``fields`` are of the exchange, or of the message under ``told``."""
    told = fields.pop("told", {})
    defaults: dict[str, Any] = {"path": "/v1/messages", "request": dump(_ASKED), "model": _MODEL}
    answer = dump(_message(*content, usage=usage, **told))
    return Exchange(name=f"anthropic-{name}", answer=answer, usage=read, **(defaults | fields))


def _stream(name: str, *values: dict[str, Any], read: Usage | None, **fields: Any) -> Exchange:
    """A stream of these events, of which ``cut`` bytes at the end are missing."""
    cut = fields.pop("cut", 0)
    body = events(*values, named=True)
    defaults: dict[str, Any] = {"path": "/v1/messages", "request": dump(_STREAMED), "model": _MODEL}
    answer = body[: len(body) - cut]
    return Exchange(name=f"anthropic-{name}", answer=answer, answer_type=EVENTS, usage=read, **(defaults | fields))


_MESSAGES = (
    _json("text", _TEXT, usage=_USAGE, read=_READ, says="text"),
    _json(
        "thinking",
        *(_THINKING, _REDACTED, _TEXT),
        path="/anthropic/v1/messages",
        usage={"input_tokens": 21, "output_tokens": 640, "output_tokens_details": {"thinking_tokens": 600}},
        read=Usage(input_tokens=21, output_tokens=640, reasoning_tokens=600),
        says="text",
    ),
    _json("tool", _CALL, request=dump(_ASKED | {"tools": [_TOOL]}), usage=_USAGE, read=_READ, says="tool"),
    _json("tool-empty", _EMPTY_CALL, usage=_USAGE, read=_READ, says="tool-empty"),
    _json("tool-and-text", *(_TEXT, _CALL), usage=_USAGE, read=_READ, says="tool-and-text"),
    _json(
        "old-cache",
        _TEXT,
        usage={
            "input_tokens": 10,
            "cache_creation_input_tokens": 400,
            "cache_read_input_tokens": 0,
            "output_tokens": 5,
        },
        read=Usage(input_tokens=410, output_tokens=5, cache_write_tokens=400),
        says="text",
    ),
    _json(
        "fast",
        _TEXT,
        request=dump(_ASKED | {"speed": "fast"}),
        usage={"input_tokens": 10, "output_tokens": 5, "service_tier": "standard", "speed": "fast"},
        read=Usage(input_tokens=10, output_tokens=5, service_tier="fast"),
        says="text",
    ),
    *(
        _json(
            tier,
            _TEXT,
            usage={"input_tokens": 10, "output_tokens": 5, "service_tier": tier, "speed": "standard"},
            read=Usage(input_tokens=10, output_tokens=5, service_tier=tier),
            says="text",
        )
        for tier in ("batch", "priority")
    ),
    _json(
        "vertex",
        _TEXT,
        path=f"{_VERTEX}:rawPredict",
        request=dump({"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": _ASKED["messages"]}),
        usage=_USAGE,
        read=_READ,
        says="text",
    ),
    _json("refused", usage={"input_tokens": 106, "output_tokens": 1}, read=Usage(input_tokens=106, output_tokens=1)),
    _json("blind", _TEXT, usage=None, read=None, says="text"),
    _json("blind-empty", _TEXT, usage={"service_tier": "standard"}, read=None, says="text"),
)

_STREAMS = (
    _stream("text-stream", _began(_BEGUN), *_blocks(_TEXT), *_ended({"output_tokens": 64}), read=_READ, says="text"),
    _stream(
        "thinking-stream",
        _began(_BEGUN),
        *_blocks(_THINKING, _REDACTED, _TEXT),
        *_ended({"output_tokens": 640, "output_tokens_details": {"thinking_tokens": 600}}),
        path="/messages",
        read=Usage(
            input_tokens=1_521,
            output_tokens=640,
            cached_input_tokens=1_000,
            cache_write_5m_tokens=300,
            cache_write_1h_tokens=200,
            reasoning_tokens=600,
            service_tier="standard",
        ),
        says="text",
    ),
    _stream("tool-stream", _began(_BEGUN), *_blocks(_CALL), *_ended(_USAGE), read=_READ, says="tool"),
    _stream("empty-stream", _began(_BEGUN), *_blocks(_EMPTY_CALL), *_ended(_USAGE), read=_READ, says="tool-empty"),
    _stream(
        "vertex-stream",
        _began(_BEGUN),
        *_blocks(_TEXT, _CALL),
        *_ended({"output_tokens": 64}),
        path=f"{_VERTEX}:streamRawPredict",
        read=_READ,
        says="tool-and-text",
    ),
    _stream(
        "fast-stream",
        _began({"input_tokens": 10, "output_tokens": 1, "service_tier": "standard", "speed": "fast"}),
        *_blocks(_TEXT),
        *_ended({"output_tokens": 5}),
        read=Usage(input_tokens=10, output_tokens=5, service_tier="fast"),
        says="text",
    ),
    _stream("blind-stream", _began(None), *_blocks(_TEXT), *_ended(None), read=None, says="text"),
)

# Two searches and one fetch; what they found made the prompt longer than message_start knew.
_GROWN = {
    "input_tokens": 10_500,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 900,
    "output_tokens": 510,
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
}
_GROWN_READ = Usage(
    input_tokens=11_400, output_tokens=510, cached_input_tokens=900, web_search_requests=2, web_fetch_requests=1
)

_SERVER_TOOLS = (
    _json(
        "search",
        *(_QUERY, _FOUND, _TEXT),
        request=dump(_ASKED | {"tools": [_SEARCH]}),
        usage=_GROWN,
        read=_GROWN_READ,
        says="search",
    ),
    _stream(
        "search-stream",
        _began({"input_tokens": 2_000, "cache_read_input_tokens": 300, "output_tokens": 3}),
        *_blocks(_QUERY, _FOUND, _TEXT),
        *_ended(_GROWN),
        request=dump(_STREAMED | {"tools": [_SEARCH]}),
        read=_GROWN_READ,
        says="search",
    ),
    _json(
        "execution",
        *(_RUN, _RAN, _TEXT),
        request=dump(_ASKED | {"tools": [_EXECUTION]}),
        usage={"input_tokens": 3_000, "output_tokens": 80},
        read=Usage(input_tokens=3_000, output_tokens=80, other_tool_requests=1),
        says="execution",
    ),
    # A web tool of before 2026 does not make it free.
    _stream(
        "execution-stream",
        _began({"input_tokens": 3_000, "output_tokens": 1}),
        *_blocks(_RUN, _RAN, _TEXT),
        *_ended({"output_tokens": 80}, container=_CONTAINER),
        request=dump(_STREAMED | {"tools": [_EXECUTION, _SEARCH]}),
        read=Usage(input_tokens=3_000, output_tokens=80, other_tool_requests=1),
        says="execution",
    ),
    _json(
        "execution-free",
        *(_RUN, _RAN, _TEXT),
        request=dump(_ASKED | {"tools": [_EXECUTION, _SEARCH_AND_FILTER]}),
        told={"container": _CONTAINER},
        usage={"input_tokens": 3_000, "output_tokens": 80},
        read=Usage(input_tokens=3_000, output_tokens=80),
        says="execution",
    ),
    # A container into which files were put bills although nothing ran in it.
    _json(
        "container",
        _TEXT,
        request=dump(_ASKED | {"tools": [_EXECUTION]}),
        told={"container": _CONTAINER},
        usage={"input_tokens": 3_000, "output_tokens": 80},
        read=Usage(input_tokens=3_000, output_tokens=80, other_tool_requests=1),
        says="text",
    ),
)


def _iteration(kind: str, input_tokens: int, output_tokens: int, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "input_tokens": input_tokens, "output_tokens": output_tokens} | fields


# The block's own input is that of the first iteration only, and its output that of both of the asked model.
_ADVISED = {
    "input_tokens": 400,
    "output_tokens": 530,
    "cache_read_input_tokens": 0,
    "iterations": [
        _iteration("message", 400, 90),
        _iteration("advisor_message", 800, 1_600, model=_OTHER_MODEL, cache_read_input_tokens=50),
        _iteration("message", 1_300, 440, model=_MODEL, cache_read_input_tokens=400),
    ],
}
# Input: 400 + 1,300 + 800, and 400 + 50 from the cache. Output: 90 + 440 + 1,600.
_ADVISED_READ = Usage(input_tokens=2_950, output_tokens=2_130, cached_input_tokens=450, other_tool_requests=1)

_ITERATIONS = (
    _json("advisor", _TEXT, usage=_ADVISED, read=_ADVISED_READ, says="text"),
    _stream(
        "advisor-stream",
        _began({"input_tokens": 400, "output_tokens": 1}),
        *_blocks(_TEXT),
        *_ended(_ADVISED),
        read=_ADVISED_READ,
        says="text",
    ),
    # What an advisor used is told while the message goes on, and a stream may end there.
    _stream(
        "advisor-cut",
        _began({"input_tokens": 400, "output_tokens": 1}),
        *_blocks(_TEXT),
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": _ADVISED},
        read=_ADVISED_READ,
        says="text",
        broken_off=True,
    ),
    # The same model as its own advisor bills at its own prices, by whichever of its names it is told.
    _json(
        "advisor-same",
        _TEXT,
        usage=_iteration("", 400, 90)
        | {"iterations": [_iteration("message", 400, 90), _iteration("advisor_message", 7, 8, model=_ASKED["model"])]},
        read=Usage(input_tokens=407, output_tokens=98),
        says="text",
    ),
    _json(
        "compacted",
        *(_COMPACTION, _TEXT),
        usage={
            "input_tokens": 23_000,
            "output_tokens": 1_000,
            "cache_creation_input_tokens": 600,
            "cache_creation": {"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 0},
            "iterations": [
                _iteration("compaction", 180_000, 3_500, cache_creation_input_tokens=70),
                _iteration("message", 23_000, 1_000, cache_creation_input_tokens=600),
            ],
        },
        # What the compaction wrote to the cache is told without its time to live.
        read=Usage(input_tokens=203_670, output_tokens=4_500, cache_write_tokens=70, cache_write_5m_tokens=600),
        says="text",
    ),
    # A request that is for the compaction alone has nothing in its own counts.
    _stream(
        "compaction-stream",
        _began({"input_tokens": 0, "output_tokens": 0}),
        *_blocks(_COMPACTION),
        *_ended(_iteration("", 0, 0) | {"iterations": [_iteration("compaction", 50_000, 800)]}),
        request=dump(_STREAMED | {"compaction": {"type": "summarize"}}),
        read=Usage(input_tokens=50_000, output_tokens=800),
    ),
    # The asked model wrote 12 tokens and declined; the block is of the one that stood in for it.
    _stream(
        "fallback-stream",
        _began({"input_tokens": 408, "cache_creation_input_tokens": 90, "output_tokens": 1}),
        *_blocks(_FALLBACK, _TEXT),
        *_ended(
            _iteration("", 412, 264)
            | {
                "cache_creation_input_tokens": 0,
                "iterations": [
                    _iteration("message", 408, 12, model="claude-sonnet-4-5", cache_creation_input_tokens=90),
                    _iteration("fallback_message", 412, 264, model=_OTHER_MODEL, cache_creation_input_tokens=0),
                ],
            }
        ),
        request=dump(_STREAMED | {"fallbacks": "default"}),
        read=Usage(input_tokens=910, output_tokens=276, cache_write_tokens=90, other_tool_requests=1),
        says="text",
    ),
    # Once a conversation has fallen back, the other model is asked at once.
    _json(
        "fallback-again",
        _TEXT,
        request=dump(_ASKED | {"fallbacks": [{"model": _OTHER_MODEL}]}),
        told={"model": _OTHER_MODEL},
        model=_OTHER_MODEL,
        usage=_iteration("", 412, 264) | {"iterations": [_iteration("fallback_message", 412, 264, model=_OTHER_MODEL)]},
        read=Usage(input_tokens=412, output_tokens=264, other_tool_requests=1),
        says="text",
    ),
)

_ZEROS = {"input_tokens": 0, "output_tokens": 0}
_LATE = {"input_tokens": 18, "output_tokens": 426, "cache_read_input_tokens": 8_831, "cache_creation_input_tokens": 0}
_LATE_READ = Usage(input_tokens=8_849, output_tokens=426, cached_input_tokens=8_831)


def _without_types(*values: dict[str, Any]) -> bytes:
    """Events that only their names tell apart."""
    return b"".join(
        b"event: " + value["type"].encode() + b"\r\ndata: " + dump({**value, "type": None}) + b"\r\n\r\n"
        for value in values
    )


_VENDORS = (
    _stream("zeros-first", _began(_ZEROS), *_blocks(_TEXT), *_ended(_LATE), read=_LATE_READ, says="text"),
    # The whole prompt is estimated as uncached when the stream begins.
    _stream(
        "estimated",
        _began({"input_tokens": 8_834, "output_tokens": 0}),
        *_blocks(_TEXT),
        *_ended(_LATE),
        read=_LATE_READ,
        says="text",
    ),
    _stream("zeros-last", _began(_USAGE), *_blocks(_TEXT), *_ended(_ZEROS), read=_READ, says="text"),
    Exchange(
        name="anthropic-no-types",
        path="/v1/messages",
        request=dump(_STREAMED),
        answer=_without_types(_began(_BEGUN), *_blocks(_CALL), *_ended({"output_tokens": 64})),
        answer_type=EVENTS,
        usage=_READ,
        model=_MODEL,
        says="tool",
    ),
    Exchange(
        name="anthropic-no-names",
        path="/proxy/anthropic/v1/messages",
        request=dump(_STREAMED),
        answer=events(_began(_BEGUN), *_blocks(_TEXT), *_ended({"output_tokens": 64}), done=True),
        answer_type=EVENTS,
        usage=_READ,
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="anthropic-no-type",
        path="/v1/messages",
        request=dump(_ASKED),
        answer=pretty({"model": "glm-4.6", "content": [_CALL], "usage": {"input_tokens": 9, "output_tokens": 3}}),
        usage=Usage(input_tokens=9, output_tokens=3),
        model="glm-4.6",
        says="tool",
    ),
)

_FAILURES = (
    _stream(
        "failed-midway",
        *(_began(_BEGUN), *_blocks(_TEXT), _OVERLOADED),
        read=_ONE_TOKEN_READ,
        says="text",
        broken_off=True,
    ),
    _stream("failed-first", _OVERLOADED, read=None, model="", broken_off=True),
    # What comes after the usage takes nothing back.
    _stream(
        "failed-last",
        *(_began(_BEGUN), *_blocks(_TEXT), _ended({"output_tokens": 64})[0], _OVERLOADED),
        read=_READ,
        says="text",
    ),
    _stream("cut", _began(_BEGUN), *_blocks(_TEXT), read=_ONE_TOKEN_READ, says="text", broken_off=True),
    _stream(
        "cut-within",
        *(_began(_BEGUN), *_blocks(_TEXT), _ended({"output_tokens": 64})[0]),
        cut=6,
        read=_ONE_TOKEN_READ,
        says="text",
        broken_off=True,
    ),
    # With its blank line missing the last event is still whole.
    _stream(
        "cut-after",
        *(_began(_BEGUN), *_blocks(_TEXT), _ended({"output_tokens": 64})[0]),
        cut=2,
        read=_READ,
        says="text",
    ),
    Exchange(
        name="anthropic-error", path="/v1/messages", request=dump(_ASKED), answer=dump(_OVERLOADED), broken_off=True
    ),
    Exchange(
        name="anthropic-error-no-type",
        path="/v1/messages",
        request=dump(_ASKED),
        answer=dump({"error": {"message": "upstream is busy", "code": 529}}),
        broken_off=True,
    ),
    Exchange(
        name="anthropic-error-event",
        path="/v1/messages",
        request=dump(_STREAMED),
        answer=b"event: error\ndata: overloaded\n\n",
        answer_type=EVENTS,
        broken_off=True,
    ),
    Exchange(name="anthropic-page", path="/v1/messages", request=dump(_ASKED), answer=b"<html>Bad Gateway</html>"),
)

EXCHANGES = (*_MESSAGES, *_STREAMS, *_SERVER_TOOLS, *_ITERATIONS, *_VENDORS, *_FAILURES)
