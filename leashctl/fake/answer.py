"""What every format's answer is made of: the request, the reply's text and length, and the two forms of an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leashctl.fake.settings import FakeProviderSettings

# OpenAI's own limit on ``n``; Gemini's on ``candidateCount`` is lower.
_MOST_CHOICES = 128

# Unix seconds, the same in every answer, so that an answer is the same each time.
CREATED = 1_700_000_000

TOOL_NAME = "look_up"

# Each of these is the same number as a 32-bit float, which is how OpenAI sends vectors in base64.
VECTOR = (0.5, -0.25, 0.125, -0.0625)

EVENT_STREAM = b"text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: the object in its body, its query string, and its number among those that were asked."""

    content: dict[str, Any]
    query: str
    number: int


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer in one piece."""

    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is written part by part."""

    content_type: bytes
    parts: Iterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a format is asked, and how it answers.

    ``suffix`` is how the path of its requests ends. ``answer`` raises ValueError, TypeError or AttributeError for a
    request that it cannot read. ``error`` makes the body of a status that is not 200. ``request_id_header`` is empty
    where the format has none.
    """

    suffix: str
    answer: Callable[[FakeProviderSettings, Asked], Whole | Streamed]
    error: Callable[[int, str], dict[str, Any]]
    request_id_header: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What one answer says. It ``is_cut`` where the request's own limit allows fewer tokens than there would be."""

    text: str
    tokens: int
    is_cut: bool


def reply(settings: FakeProviderSettings, number: int, most_tokens: Any) -> Reply:
    """The reply to request ``number``, under the limit that the request names, if it names one."""
    text = settings.reply or f"This is answer number {number} of the fake provider: nothing was spent on it."
    most = int(most_tokens) if most_tokens else settings.completion_tokens
    return Reply(text, min(settings.completion_tokens, most), is_cut=most < settings.completion_tokens)


def choices(wanted: Any) -> int:
    """How many alternatives a request gets."""
    return min(max(int(wanted or 1), 1), _MOST_CHOICES)


def inputs(given: Any) -> int:
    """How many vectors an embedding request gets: one for a text or a list of token numbers, else one for each."""
    if not isinstance(given, list) or not given or isinstance(given[0], int):
        return 1
    return len(given)


def arguments(text: str) -> dict[str, str]:
    """The arguments of the function that is called instead of saying ``text``."""
    return {"query": text}


def pieces(text: str, count: int) -> list[str]:
    """The text in ``count`` pieces, the last of which may be shorter or missing."""
    size = max(-(-len(text) // max(count, 1)), 1)
    return [text[start : start + size] for start in range(0, len(text), size)]


def dump(content: object) -> bytes:
    """Compact JSON."""
    return json.dumps(content, separators=(",", ":")).encode()


def data_event(content: object) -> bytes:
    """A server-sent event without a name."""
    return b"data: " + dump(content) + b"\n\n"


def named_event(content: dict[str, Any]) -> bytes:
    """A server-sent event whose name is its content's type."""
    return f"event: {content['type']}\n".encode() + data_event(content)
