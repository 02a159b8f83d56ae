"""Exchanges in Gemini's formats, written after the documentation of the Gemini API and of Vertex."""

from __future__ import annotations

from typing import Any

from leash.usage import Usage
from tests.exchanges.exchange import EVENTS, JSON, Exchange, dump, events, pretty

_MODEL = "gemini-2.5-flash"
_PATH = f"/v1beta/models/{_MODEL}"
_VERTEX = f"/v1/projects/p/locations/us-central1/publishers/google/models/{_MODEL}"
_ASKED: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Where is it raining?"}]}]}

_TEXT = {"text": "In Bergen 🌧"}
_THOUGHT = {"text": "It always rains there.", "thought": True}
_CALL = {"functionCall": {"name": "look_up", "args": {"city": "Bern", "days": 2}}, "thoughtSignature": "CvcQAdHtim9Y"}
_EMPTY_CALL = {"functionCall": {"name": "look_around", "args": {}}}
_CODE = {"executableCode": {"language": "PYTHON", "code": "print(2)"}}
_RESULT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2\n"}}

# Thoughts stand beside the candidates: 1,000 + 200 + 300.
_USAGE = {"promptTokenCount": 1_000, "candidatesTokenCount": 200, "totalTokenCount": 1_500, "thoughtsTokenCount": 300}
_READ = Usage(input_tokens=1_000, output_tokens=500, reasoning_tokens=300)
_BEGUN = {"promptTokenCount": 1_000, "totalTokenCount": 1_180, "thoughtsTokenCount": 180}
_BEGUN_READ = Usage(input_tokens=1_000, output_tokens=180, reasoning_tokens=180)
_OVERLOADED = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


def _chunk(*parts: dict[str, Any], usage: Any = None, finish: str = "", **candidate: Any) -> dict[str, Any]:
    finished = {"finishReason": finish} if finish else {}
    told = {} if usage is None else {"usageMetadata": usage}
    return {
        "candidates": [{"content": {"role": "model", "parts": list(parts)}, "index": 0} | finished | candidate],
        **told,
        "modelVersion": _MODEL,
        "responseId": "r1",
    }


def _cut(part: dict[str, Any]) -> list[dict[str, Any]]:
    """A part in two, where it is text."""
    return [{"text": part["text"][:5]}, {"text": part["text"][5:]}] if set(part) == {"text"} else [part]


def _array(*chunks: Any) -> bytes:
    """An array as Google sends it."""
    return b"[" + b"\n,\r\n".join(map(pretty, chunks)) + b"\n]\n"


def _exchange(name: str, answer: bytes, **fields: Any) -> Exchange:
    defaults: dict[str, Any] = {"path": f"{_PATH}:generateContent", "request": dump(_ASKED), "model": _MODEL}
    return Exchange(name=f"gemini-{name}", answer=answer, **(defaults | fields))


def _json(name: str, *parts: dict[str, Any], usage: Any = None, read: Usage | None = _READ, **fields: Any) -> Exchange:
    """One whole answer; ``fields`` are of the exchange, or of the candidate under ``told``."""
    told = fields.pop("told", {})
    chunk = _chunk(*parts, usage=_USAGE if usage is None else usage, finish="STOP", **told)
    return _exchange(name, pretty(chunk), usage=read, **fields)


def _events(name: str, *chunks: dict[str, Any], **fields: Any) -> Exchange:
    return _streamed(name, events(*chunks, newline=b"\r\n"), EVENTS, fields)


def _chunks(name: str, *chunks: dict[str, Any], **fields: Any) -> Exchange:
    return _streamed(name, _array(*chunks), JSON, fields)


def _streamed(name: str, body: bytes, answer_type: str, fields: dict[str, Any]) -> Exchange:
    """A stream, of which ``cut`` bytes at the end are missing."""
    cut = fields.pop("cut", 0)
    defaults = {"path": f"{_PATH}:streamGenerateContent", "usage": _READ, "answer_type": answer_type}
    return _exchange(name, body[: len(body) - cut], **(defaults | fields))


def _stream(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a stream with these parts: each tells the usage so far, and the last one that it has ended."""
    pieces = [piece for part in parts for piece in _cut(part)]
    return [
        *(_chunk(piece, usage=_BEGUN) for piece in pieces[:-1]),
        _chunk(pieces[-1], usage=_USAGE, finish="STOP"),
    ]


_WHOLE = (
    _json("text", _THOUGHT, _TEXT, says="text"),
    _json("tool", _CALL, path=f"{_VERTEX}:generateContent", says="tool"),
    _json("tool-empty", _EMPTY_CALL, says="tool-empty"),
    _json("tools", _TEXT, _EMPTY_CALL, _CALL, says="tools"),
    # Thoughts are within the candidates, as the total shows: 1,000 + 500.
    _json("thoughts-within", _TEXT, usage=_USAGE | {"candidatesTokenCount": 500}, says="text"),
    # No candidates are told, but the total has 500 more than the prompt.
    _json(
        "total",
        _TEXT,
        usage={"promptTokenCount": 1_000, "totalTokenCount": 1_500, "thoughtsTokenCount": 300},
        says="text",
    ),
    # 100 of the prompt and 900 that the tool gave; 1,000 + 50 + 20 in total.
    _json(
        "code",
        *(_CODE, _RESULT),
        request=dump(_ASKED | {"tools": [{"codeExecution": {}}]}),
        usage={
            "promptTokenCount": 100,
            "toolUsePromptTokenCount": 900,
            "candidatesTokenCount": 50,
            "thoughtsTokenCount": 20,
            "totalTokenCount": 1_070,
        },
        read=Usage(input_tokens=1_000, output_tokens=70, reasoning_tokens=20),
        says="code",
    ),
    _json(
        "cached",
        _TEXT,
        usage=_USAGE | {"cachedContentTokenCount": 800},
        read=Usage(input_tokens=1_000, output_tokens=500, reasoning_tokens=300, cached_input_tokens=800),
        says="text",
    ),
    _json(
        "audio",
        _TEXT,
        usage={
            "promptTokenCount": 700,
            "candidatesTokenCount": 150,
            "totalTokenCount": 850,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 60},
                {"modality": "AUDIO", "tokenCount": 640},
            ],
            "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 120}],
        },
        read=Usage(input_tokens=700, output_tokens=150, audio_input_tokens=640, audio_output_tokens=120),
        says="text",
    ),
    _json(
        "picture",
        *(_TEXT, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}),
        usage={
            "promptTokenCount": 300,
            "candidatesTokenCount": 1_300,
            "totalTokenCount": 1_600,
            "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 258}, {"modality": "TEXT", "tokenCount": 42}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}],
        },
        read=Usage(input_tokens=300, output_tokens=1_300, image_input_tokens=258, image_output_tokens=1_290),
        says="text",
    ),
    *(
        _json(
            f"tier-{told}",
            _TEXT,
            path=f"{_VERTEX}:generateContent",
            usage=_USAGE | {key: told},
            read=Usage(input_tokens=1_000, output_tokens=500, reasoning_tokens=300, service_tier=tier),
            says="text",
        )
        for key, told, tier in (
            ("trafficType", "ON_DEMAND_PRIORITY", "ON_DEMAND_PRIORITY"),
            ("trafficType", "TRAFFIC_TYPE_UNSPECIFIED", ""),
            ("serviceTier", "flex", "flex"),
        )
    ),
    _exchange(
        "candidates",
        dump(
            _chunk(usage=_USAGE)
            | {"candidates": [{"content": {"parts": [{"text": text}]}, "index": at} for at, text in enumerate("ab")]}
        ),
        request=dump(_ASKED | {"generationConfig": {"candidateCount": 2}}),
        usage=_READ,
        says="candidates",
    ),
    _exchange(
        "blocked",
        dump({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}}),
        usage=Usage(input_tokens=9),
        model="",
    ),
    _exchange("blind", dump(_chunk(_TEXT, finish="STOP")), says="text"),
    _exchange("blind-empty", dump(_chunk(_TEXT, usage={"trafficType": "ON_DEMAND"})), says="text"),
    _exchange(
        "snake",
        dump(
            {
                "candidates": [{"content": {"parts": [{"function_call": _CALL["functionCall"]}]}}],
                "usage_metadata": {
                    "prompt_token_count": 1_000,
                    "candidates_token_count": 500,
                    "candidates_tokens_details": [{"modality": "AUDIO", "token_count": 7}],
                },
                "model_version": _MODEL,
            }
        ),
        usage=Usage(input_tokens=1_000, output_tokens=500, audio_output_tokens=7),
        says="tool",
    ),
    _exchange("error", dump(_OVERLOADED), model="", broken_off=True),
    _exchange("page", b"<html>Bad Gateway</html>", model=""),
    _exchange("cut-whole", dump(_chunk(_TEXT, usage=_USAGE))[:-1], model=""),
)

_GROUNDED = {
    # An empty query is none, and the same one is not asked twice.
    "webSearchQueries": ["rain today", "rain bergen", "rain today", ""],
    "groundingChunks": [{"web": {"uri": "https://example.com", "title": "Rain"}}],
}

_GROUNDING = (
    _json(
        "grounded",
        _TEXT,
        request=dump(_ASKED | {"tools": [{"google_search": {}}]}),
        told={"groundingMetadata": _GROUNDED},
        read=Usage(input_tokens=1_000, output_tokens=500, reasoning_tokens=300, web_search_requests=2),
        says="text",
    ),
    _events(
        "grounded-stream",
        _chunk(_TEXT, usage=_USAGE, groundingMetadata={"webSearchQueries": ["rain today"]}),
        _chunk(finish="STOP", groundingMetadata=_GROUNDED),
        request=dump(_ASKED | {"tools": {"googleSearch": {}}}),
        usage=Usage(input_tokens=1_000, output_tokens=500, reasoning_tokens=300, web_search_requests=2),
        says="text",
    ),
    _json(
        "maps",
        _TEXT,
        request=dump(_ASKED | {"tools": [{"googleMaps": {}}]}),
        told={"groundingMetadata": {"groundingChunks": [{"maps": {"title": "Bergen"}}]}},
        read=Usage(input_tokens=1_000, output_tokens=500, reasoning_tokens=300, other_tool_requests=1),
        says="text",
    ),
    # Offered, and not used.
    _json("maps-unused", _TEXT, request=dump(_ASKED | {"tools": [{"googleMaps": {}}]}), says="text"),
)


def _piece(**fields: Any) -> dict[str, Any]:
    return _chunk({"functionCall": fields}, usage=_BEGUN)


_STREAMS = (
    _events("text-events", *_stream(_THOUGHT, _TEXT), says="text"),
    _chunks("text-array", *_stream(_TEXT), says="text"),
    _events("tool-events", *_stream(_CALL), path=f"{_VERTEX}:streamGenerateContent", says="tool"),
    _chunks("tools-array", *_stream(_TEXT, _EMPTY_CALL, _CALL), says="tools"),
    # Arguments that are written in pieces, which are cut anywhere.
    *(
        _events(
            f"arguments-{len(city)}",
            _piece(name="look_up", willContinue=True),
            *(_piece(partialArgs=[{"jsonPath": "$.city", "stringValue": text}], willContinue=True) for text in city),
            _piece(partialArgs=[{"jsonPath": "$.days", "numberValue": 2}, {"jsonPath": "$.now", "boolValue": True}]),
            _chunk({"functionCall": {}}, usage=_USAGE, finish="STOP"),
            says="arguments",
        )
        for city in (["Bern"], ["Be", "r", "n"])
    ),
    # Vertex tells the kind of traffic with every chunk, and the counts with some.
    _events(
        "traffic",
        _chunk(_TEXT, usage=_USAGE, finish="STOP"),
        _chunk(usage={"trafficType": "ON_DEMAND"}),
        says="text",
    ),
    _chunks(
        "blocked-array",
        {"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}},
        usage=Usage(input_tokens=9),
        model="",
    ),
    _events("blind-stream", _chunk(_TEXT, finish="STOP"), usage=None, says="text"),
    # The usage so far is told with each chunk, so that nothing is missing.
    _events("unfinished", _chunk(_TEXT, usage=_USAGE), says="text"),
    _streamed(
        "done",
        events(_chunk(_TEXT, usage=_USAGE), done=True),
        EVENTS,
        {"path": f"/gemini{_PATH}:streamGenerateContent", "says": "text"},
    ),
)

_FAILURES = (
    _events("silent", _chunk(_TEXT), usage=None, says="text", broken_off=True),
    _events("failed-events", _chunk(_TEXT, usage=_BEGUN), _OVERLOADED, usage=_BEGUN_READ, says="text", broken_off=True),
    _chunks("failed-array", _chunk(_TEXT, usage=_BEGUN), _OVERLOADED, usage=_BEGUN_READ, says="text", broken_off=True),
    _chunks("failed-first", _OVERLOADED, usage=None, model="", broken_off=True),
    _events("failed-last", *_stream(_TEXT), _OVERLOADED, says="text"),
    _chunks("cut-within", *_stream(_THOUGHT, _TEXT), cut=200, usage=_BEGUN_READ, says="cut-text", broken_off=True),
    _chunks("cut-between", _chunk(_TEXT, usage=_BEGUN), cut=3, usage=_BEGUN_READ, says="text", broken_off=True),
    # The array is not closed, but what it had to tell has been told.
    _chunks("cut-last", *_stream(_TEXT), cut=3, says="text"),
    _events("cut-event", *_stream(_THOUGHT, _TEXT), cut=60, usage=_BEGUN_READ, says="cut-text", broken_off=True),
)

_EMBED = {"content": {"parts": [{"text": "rain"}]}}
_VECTOR = {"values": [0.5, -0.25]}


def _embedding(name: str, answer: dict[str, Any], method: str, *, path: str = _PATH, **fields: Any) -> Exchange:
    request = {"requests": [_EMBED, _EMBED]} if method.startswith("batch") else _EMBED
    return _exchange(f"embed-{name}", dump(answer), path=f"{path}:{method}", request=dump(request), model="", **fields)


_EMBEDDINGS = (
    _embedding(
        "usage",
        {
            "embedding": _VECTOR,
            "usageMetadata": {
                "promptTokenCount": 4,
                "totalTokenCount": 4,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}],
            },
        },
        "embedContent",
        path=_VERTEX,
        usage=Usage(input_tokens=4),
    ),
    _embedding("blind", {"embedding": _VECTOR}, "embedContent"),
    _embedding(
        "batch",
        {"embeddings": [_VECTOR, _VECTOR], "usageMetadata": {"totalTokenCount": 8}},
        "batchEmbedContents",
        usage=Usage(input_tokens=8),
    ),
)

EXCHANGES = (*_WHOLE, *_GROUNDING, *_STREAMS, *_FAILURES, *_EMBEDDINGS)
