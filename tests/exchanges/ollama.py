"""Exchanges with Ollama's own endpoints, written after its documentation."""

from __future__ import annotations

from typing import Any

from leash.usage import Usage
from tests.exchanges.exchange import LINES, Exchange, dump, lines, pretty

_MODEL = "qwen3:8b"
_CHAT: dict[str, Any] = {"model": _MODEL, "messages": [{"role": "user", "content": "Where is it raining?"}]}
_GENERATE: dict[str, Any] = {"model": _MODEL, "prompt": "Where is it raining?"}
_WHOLE = {"stream": False}
_CALL = {"function": {"name": "look_up", "arguments": {"city": "Bern", "days": 2}}}
_COUNTS = {"prompt_eval_count": 26, "prompt_eval_duration": 130_079_000, "eval_count": 259, "eval_duration": 1_000}
_READ = Usage(input_tokens=26, output_tokens=259)
_UNAVAILABLE = {"error": "an error was encountered while running the model: CUDA error"}


def _part(**fields: Any) -> dict[str, Any]:
    return {"model": _MODEL, "created_at": "2026-01-01T00:00:00Z", "done": False} | fields


def _says(content: str = "", **fields: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content} | fields}


def _done(counts: Any = None, reason: str = "stop", **fields: Any) -> dict[str, Any]:
    told = _COUNTS if counts is None else counts
    return _part(done=True, done_reason=reason, total_duration=4_883_583_458) | told | fields


def _exchange(name: str, answer: bytes, **fields: Any) -> Exchange:
    defaults: dict[str, Any] = {"path": "/api/chat", "request": dump(_CHAT | _WHOLE), "usage": _READ, "model": _MODEL}
    return Exchange(name=f"ollama-{name}", answer=answer, **(defaults | fields))


def _stream(name: str, *values: dict[str, Any], cut: int = 0, **fields: Any) -> Exchange:
    body = lines(*values)
    return _exchange(name, body[: len(body) - cut], **({"request": dump(_CHAT), "answer_type": LINES} | fields))


_TEXT = (_part(**_says("In  Be")), _part(**_says("rgen 🌧")))

EXCHANGES = (
    _exchange("chat", pretty(_done(**_says("In Bergen 🌧", thinking="Always."))), says="text"),
    _stream("chat-stream", _part(**_says(thinking="Always.")), *_TEXT, _done(**_says()), says="text"),
    _exchange("tool", dump(_done(**_says(tool_calls=[_CALL]))), says="tool"),
    _stream("tool-stream", _part(**_says(tool_calls=[_CALL])), _done(**_says()), says="tool"),
    _stream("tools-stream", *(_part(**_says(tool_calls=[_CALL])) for _ in "ab"), _done(**_says()), says="tools"),
    _exchange(
        "generate",
        dump(_done(response="In Bergen 🌧", context=[1, 2, 3])),
        path="/api/generate",
        request=dump(_GENERATE | _WHOLE),
        says="text",
    ),
    _stream(
        "generate-stream",
        *(_part(response=piece) for piece in ("In", " Bergen ", "🌧")),
        _done(response="", context=[1, 2, 3]),
        path="/api/generate",
        request=dump(_GENERATE),
        says="text",
    ),
    # A prompt that is in the cache as a whole was counted as none by older versions.
    _stream("cached", *_TEXT, _done({"eval_count": 259}), usage=Usage(output_tokens=259), says="text"),
    _stream("nothing", _done({"prompt_eval_count": 26}), usage=Usage(input_tokens=26)),
    _exchange("load", dump(_done({}, "load", **_says())), request=dump({"model": _MODEL}), usage=Usage()),
    _stream(
        "unload", _done({}, "unload", response=""), path="/api/generate", request=dump({"model": _MODEL}), usage=Usage()
    ),
    _exchange("blind", dump(_done({}, **_says("In Bergen 🌧"))), usage=None, says="text"),
    _stream("blind-stream", *_TEXT, _done({}), usage=None, says="text"),
    _stream("failed-midway", *_TEXT, _UNAVAILABLE, usage=None, says="text", broken_off=True),
    _stream("failed-first", _UNAVAILABLE, usage=None, model="", broken_off=True),
    _exchange("error", dump(_UNAVAILABLE), usage=None, model="", broken_off=True),
    _stream("cut", *_TEXT, usage=None, says="text", broken_off=True),
    _stream("cut-within", *_TEXT, _done(**_says()), cut=2, usage=None, says="text", broken_off=True),
    _stream("cut-after", *_TEXT, _done(**_says()), cut=1, says="text"),
    _exchange("page", b"<html>Bad Gateway</html>", usage=None, model=""),
    _exchange(
        "embed",
        dump({"model": _MODEL, "embeddings": [[0.5, -0.25]] * 2, "prompt_eval_count": 8}),
        path="/api/embed",
        request=dump({"model": _MODEL, "input": ["rain", "snow"]}),
        usage=Usage(input_tokens=8),
    ),
    _exchange(
        "embed-nothing",
        dump({"model": _MODEL, "embeddings": [], "total_duration": 14_143_917}),
        path="/api/embed",
        request=dump({"model": _MODEL, "input": ""}),
        usage=Usage(),
    ),
    _exchange(
        "embed-blind",
        dump({"model": _MODEL, "embeddings": [[0.5, -0.25]]}),
        path="/api/embed",
        request=dump({"model": _MODEL, "input": "rain"}),
        usage=None,
    ),
)
