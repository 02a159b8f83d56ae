"""Gemini: ``generateContent``, ``streamGenerateContent`` as events or as one JSON array, and ``embedContent``.

The rule: every chunk of a stream may have ``usageMetadata``, and the last one that has a count stands. An array is
read object by object as it comes.
Source: https://ai.google.dev/api/generate-content, and …/gemini-api/docs/google-search for what a search is
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from leash_shim.meter import gemini_request, gemini_usage, json_text
from leash_shim.meter.bodies import DONE, MAX_LARGE_EVENT_BYTES, EventMeter, ObjectsMeter, is_event_stream
from leash_shim.meter.fingerprint import MAX_CALLS, MAX_CHOICES
from leash_shim.meter.gemini_request import camel
from leash_shim.meter.json_text import elements, mapping
from leash_shim.meter.plain import PlainFormat
from leash_shim.meter.reply import ReadReply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash.usage import Usage
    from leash_shim.meter.fingerprint import Fingerprint
    from leash_shim.meter.wire import Asked, Meter, RequestFacts

# What tells that a stream of this format has begun.
_SIGNS = ("candidates", "usageMetadata")

# Every different query that is not empty is one search. A stream may tell them more than once.
_QUERIES = ("webSearchQueries", "imageSearchQueries")
# More than a model makes for one answer.
_MAX_QUERIES = 1_000

# The value of a piece of a call's arguments, by its type.
_PIECE_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")
_MAX_PATH_CHARACTERS = 256


class GeminiContent(PlainFormat):
    """The format of ``:generateContent`` and ``:streamGenerateContent``."""

    name = "gemini_content"

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request."""
        return gemini_request.read_request(asked)

    def meter(self, *, content_type: str, facts: RequestFacts, want_fingerprint: bool = True) -> Meter:
        """A meter for an answer of this content type."""
        reply = _Reply(facts, want_fingerprint=want_fingerprint)
        if is_event_stream(content_type):
            return EventMeter(reply, max_event_bytes=MAX_LARGE_EVENT_BYTES)
        return ObjectsMeter(reply)


class GeminiEmbeddings(GeminiContent):
    """The format of ``:embedContent`` and ``:batchEmbedContents``, whose answers differ in what they have beside."""

    name = "gemini_embeddings"

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request."""
        return gemini_request.read_embedding(asked)


GEMINI_CONTENT = GeminiContent()
GEMINI_EMBEDDINGS = GeminiEmbeddings()


class _Reply(ReadReply):
    """One answer, whole or in chunks, which have the same shape."""

    __slots__ = ("_calls", "_finished", "_grounded", "_paths", "_pictured", "_queries", "_tokens")

    marks_end: ClassVar[bool] = True

    def __init__(self, facts: RequestFacts, *, want_fingerprint: bool) -> None:
        super().__init__(facts, want_fingerprint=want_fingerprint)
        self._finished = False
        self._tokens: Usage | None = None
        self._queries: set[int] = set()
        self._grounded = False
        self._pictured = False
        self._calls: dict[int, int] = {}  # by candidate, how many there were
        self._paths: dict[int, str] = {}  # by candidate, which argument of its last call was written last

    def add(self, value: object, event: bytes, /) -> None:
        """Reads an answer or a chunk."""
        members = camel(value)
        self.take_model(members, "modelVersion")
        self.failed = self.failed or event == b"error" or members.get("error") is not None
        for position, candidate in enumerate(map(camel, elements(members.get("candidates")))):
            index = json_text.count(candidate.get("index", position))
            if index is not None and index < MAX_CHOICES:
                self._add_candidate(index, candidate)
        if value == DONE or camel(members.get("promptFeedback")).get("blockReason"):
            self._finished = True
        tokens = gemini_usage.read_usage(camel(members.get("usageMetadata")), pictured=self._pictured)
        self.begun = self.begun or (self.facts.stream and not members.keys().isdisjoint(_SIGNS))
        # A usage is a running total, so that a stream may end without a word after one; but not with an error, and
        # not in the middle of a chunk.
        self.ended = self._finished or (tokens is not None and not self.failed)
        self._tokens = tokens or self._tokens
        if self._tokens is not None:
            self.usage = replace(
                self._tokens,
                web_search_requests=len(self._queries),
                other_tool_requests=int(self._grounded and self.facts.other_tools),
            )

    def _add_candidate(self, index: int, candidate: Mapping[str, object]) -> None:
        self._finished = self._finished or bool(candidate.get("finishReason"))
        grounding = camel(candidate.get("groundingMetadata"))
        self._grounded = self._grounded or bool(grounding)
        for query in (each for name in _QUERIES for each in map(json_text.text, elements(grounding.get(name)))):
            if query and len(self._queries) < _MAX_QUERIES:
                self._queries.add(hash((index, query)))
        for part in map(camel, elements(mapping(candidate.get("content")).get("parts"))):
            mime_type = json_text.text(camel(part.get("inlineData")).get("mimeType"))
            self._pictured = self._pictured or mime_type.startswith("image/")
            if self.fingerprint is not None:
                self._add_part(self.fingerprint, index, part)

    def _add_part(self, fingerprint: Fingerprint, index: int, part: Mapping[str, object]) -> None:
        if part.get("thought") is True:
            return
        fingerprint.add_text(index, "content", json_text.text(part.get("text")))
        fingerprint.add_text(index, "code", json_text.text(mapping(part.get("executableCode")).get("code")))
        call = camel(part.get("functionCall"))
        if not call:
            return
        number = self._calls.get(index, 0)
        if not call.get("name"):
            # A piece of the arguments of the call that was opened before.
            number = max(number - 1, 0)
        elif number < MAX_CALLS:
            self._calls[index] = number + 1
            self._paths.pop(index, None)
        fingerprint.add_json_call(index, number, call.get("name"), self._arguments(index, call))

    def _arguments(self, index: int, call: Mapping[str, object]) -> object:
        """The arguments of a call: all of them, or the next pieces, which tell where in them they belong."""
        written: list[str] = []
        for piece in map(camel, elements(call.get("partialArgs"))):
            path = json_text.text(piece.get("jsonPath"))[:_MAX_PATH_CHARACTERS]
            if self._paths.get(index) != path:
                self._paths[index] = path
                written.append(f"\n{path} ")
            value = next((piece[name] for name in _PIECE_VALUES if name in piece), "")
            written.append(value if isinstance(value, str) else json_text.canonical(value))
        return "".join(written) or call.get("args") or None
