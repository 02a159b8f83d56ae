"""Ollama's chat, generate and embed. A line of JSON for each part, unless the request says ``"stream": false``.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leashctl.fake.answer import TOOL_NAME, VECTOR, Asked, Streamed, Whole, arguments, dump, inputs, pieces, reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leashctl.fake.answer import Reply
    from leashctl.fake.settings import FakeProviderSettings

_LINES = b"application/x-ndjson"
_CREATED_AT = "2023-11-14T22:13:20Z"

# What it would have taken, in nanoseconds.
_LOAD_NS = 1_000_000
_EVAL_NS = 2_000_000


def error(status: int, message: str) -> dict[str, Any]:
    """The body of an error."""
    del status
    return {"error": message}


def chat(settings: FakeProviderSettings, asked: Asked) -> Whole | Streamed:
    """The answer to one chat request."""
    call = {"function": {"name": TOOL_NAME, "arguments": arguments(_reply(settings, asked).text)}}

    def saying(text: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if text and settings.tool_calls:
            message |= {"content": "", "tool_calls": [call]}
        return {"message": message}

    return _answer(settings, asked, saying)


def generate(settings: FakeProviderSettings, asked: Asked) -> Whole | Streamed:
    """The answer to one request without roles. It has no tools."""

    def saying(text: str) -> dict[str, Any]:
        return {"response": text}

    return _answer(settings, asked, saying)


def embed(settings: FakeProviderSettings, asked: Asked) -> Whole:
    """The answer to one request for vectors."""
    vectors = [list(VECTOR) for _ in range(inputs(asked.content.get("input")))]
    content = {"model": settings.model, "embeddings": vectors, "total_duration": _LOAD_NS, "load_duration": _LOAD_NS}
    return Whole(content | ({"prompt_eval_count": settings.prompt_tokens} if settings.reports_usage else {}))


def _answer(settings: FakeProviderSettings, asked: Asked, saying: Callable[[str], dict[str, Any]]) -> Whole | Streamed:
    """The answer whose text is put as ``saying`` puts it."""
    said = _reply(settings, asked)
    head = {"model": settings.model, "created_at": _CREATED_AT}
    end = {"done": True, "done_reason": "length" if said.is_cut else "stop"} | _usage(settings, said)

    def lines() -> Iterator[bytes]:
        for text in [said.text] if settings.tool_calls else pieces(said.text, settings.chunks):
            yield dump(head | saying(text) | {"done": False}) + b"\n"
        yield dump(head | saying("") | end) + b"\n"

    if asked.content.get("stream", True):
        return Streamed(_LINES, lines())
    return Whole(head | saying(said.text) | end)


def _reply(settings: FakeProviderSettings, asked: Asked) -> Reply:
    options = asked.content.get("options") or {}
    most = options.get("num_predict") or 0
    # Below zero it stands for no limit.
    return reply(settings, asked.number, most if most > 0 else None)


def _usage(settings: FakeProviderSettings, said: Reply) -> dict[str, Any]:
    durations = {"total_duration": _LOAD_NS + 2 * _EVAL_NS, "load_duration": _LOAD_NS}
    if not settings.reports_usage:
        return durations
    return durations | {
        "prompt_eval_count": settings.prompt_tokens,
        "prompt_eval_duration": _EVAL_NS,
        "eval_count": said.tokens,
        "eval_duration": _EVAL_NS,
    }
