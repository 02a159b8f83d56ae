"""OpenAI's images and audio, where the answer tells what it came to in tokens.

The rule: whatever bills by the picture, the second or the character has no tokens on the wire, and is told to be
unmeterable before it is sent where the request shows it (text formats, binary speech).
Source: https://platform.openai.com/docs/api-reference/images and …/audio
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from leash_shim.meter import json_text, multipart
from leash_shim.meter.bodies import MAX_LARGE_EVENT_BYTES, EventMeter, OutlineMeter, is_event_stream
from leash_shim.meter.json_text import mapping
from leash_shim.meter.openai_request import MAX_CHOICES, requested_model
from leash_shim.meter.openai_usage import read_input_output
from leash_shim.meter.plain import PlainFormat
from leash_shim.meter.reply import ReadReply
from leash_shim.meter.wire import RequestFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash.usage import Usage
    from leash_shim.meter.wire import Asked, Meter

# The fields that shape what a call costs or answers.
_FIELDS = ("model", "n", "stream", "response_format", "stream_format")

# Transcripts that are no JSON have no room for a usage.
_TRANSCRIPTS_WITHOUT_USAGE = ("text", "srt", "vtt")
_NO_TRANSCRIPT_USAGE = (
    'a transcript as "response_format" {format} has no usage beside it; ask for "json" of a model that bills by tokens'
)
_NO_SPEECH_USAGE = (
    'speech as plain audio has no usage beside it; ask for "stream_format": "sse" of a model that bills by tokens'
)

# How the types of events end that end a picture, a speech or a transcript.
_LAST = (".completed", ".done")
_LAST_EVENT = tuple(last.encode() for last in _LAST)

# What an event has in it that is not just a piece.
_SIGNS = (b'"usage"', b'"error"', *(last + b'"' for last in _LAST_EVENT))

_SUMMED = (
    *("input_tokens", "cached_input_tokens", "audio_input_tokens", "image_input_tokens"),
    *("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens"),
    "other_tool_requests",
)


class _OpenAIMedia(PlainFormat):
    """What images and audio have in common: answers as one JSON body or as events."""

    generated: ClassVar[str] = ""  # which count has what is generated, where it is not text

    def meter(self, *, content_type: str, facts: RequestFacts, want_fingerprint: bool = True) -> Meter:
        """A meter for an answer of this content type."""
        if is_event_stream(content_type):
            reply = _Reply(facts, want_fingerprint=want_fingerprint, generated=self.generated)
            return EventMeter(reply, max_event_bytes=MAX_LARGE_EVENT_BYTES)
        return OutlineMeter(lambda: _Reply(facts, want_fingerprint=want_fingerprint, generated=self.generated))


class OpenAIImages(_OpenAIMedia):
    """The format of ``/images/generations`` and ``/images/edits``."""

    name = "openai_images"
    generated = "image_output_tokens"

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request. A picture's tokens are not bound by anything in it."""
        fields = _fields(asked)
        return RequestFacts(
            model=requested_model(asked, fields.get("model")),
            stream=fields.get("stream") in (True, "true"),
            choices=min(json_text.whole(fields.get("n")) or 1, MAX_CHOICES),
        )


class OpenAITranscriptions(_OpenAIMedia):
    """The format of ``/audio/transcriptions``."""

    name = "openai_transcriptions"

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request. A recording's tokens are not bound by its bytes."""
        fields = _fields(asked)
        answer = fields.get("response_format")
        streams = fields.get("stream") in (True, "true")
        silent = answer in _TRANSCRIPTS_WITHOUT_USAGE and not streams
        return RequestFacts(
            model=requested_model(asked, fields.get("model")),
            stream=streams,
            unmeterable=_NO_TRANSCRIPT_USAGE.format(format=f'"{answer}"') if silent else "",
        )


class OpenAISpeech(_OpenAIMedia):
    """The format of ``/audio/speech``."""

    name = "openai_speech"
    generated = "audio_output_tokens"

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request."""
        fields = _fields(asked)
        streams = fields.get("stream_format") == "sse"
        return RequestFacts(
            model=requested_model(asked, fields.get("model")),
            stream=streams,
            unmeterable="" if streams else _NO_SPEECH_USAGE,
        )


OPENAI_IMAGES = OpenAIImages()
OPENAI_TRANSCRIPTIONS = OpenAITranscriptions()
OPENAI_SPEECH = OpenAISpeech()


def _fields(asked: Asked) -> Mapping[str, object]:
    """The fields of a request in either of the two forms that these endpoints take."""
    if multipart.is_multipart(asked.content_type):
        return multipart.read_fields(asked.body, asked.content_type, _FIELDS)
    return mapping(json_text.parse(asked.body))


class _Reply(ReadReply):
    """One answer, or the events of one. Each picture has a last event with a usage of its own."""

    __slots__ = ("_generated",)

    marks_end: ClassVar[bool] = True

    def __init__(self, facts: RequestFacts, *, want_fingerprint: bool, generated: str) -> None:
        super().__init__(facts, want_fingerprint=want_fingerprint)
        self._generated = generated

    def skips(self, data: bytes, event: bytes, /) -> bool:
        """Pieces of a picture, of speech or of a transcript, which may be large, and have no usage."""
        wanted = self.fingerprint is not None or not self.begun or event == b"error" or event.endswith(_LAST_EVENT)
        return not wanted and all(sign not in data for sign in _SIGNS)

    def add(self, value: object, event: bytes, /) -> None:
        """Reads an answer or an event."""
        members = mapping(value)
        kind = json_text.text(members.get("type")) or event.decode("latin-1")
        self.take_model(members)
        self.begun = self.begun or bool(members)
        self.ended = self.ended or kind.endswith(_LAST)
        if kind == "error" or members.get("error"):
            self.failed = True
        usage = self._usage(members)
        if usage is not None:
            self.usage = _sum(self.usage, usage) if self.usage and kind.endswith(_LAST) else usage
        # A streamed transcript tells its text in pieces, and whole in its last event.
        if self.fingerprint is not None and kind in ("", "transcript.text.done"):
            self.fingerprint.add_text(0, "content", json_text.text(members.get("text")))

    def _usage(self, members: Mapping[str, object]) -> Usage | None:
        block = mapping(members.get("usage"))
        usage = read_input_output(block, service_tier=members.get("service_tier"))
        if usage is None:
            return None
        if self._generated and not mapping(block.get("output_tokens_details")):
            generated: dict[str, Any] = {self._generated: usage.output_tokens}
            usage = replace(usage, **generated)
        # A drawing is written by another model, whose tokens bill at prices that this call does not name.
        return replace(usage, other_tool_requests=1) if mapping(members.get("svg_usage")) else usage


def _sum(one: Usage, other: Usage) -> Usage:
    """Both usages together, as far as a count goes."""
    counts = {name: min(getattr(one, name) + getattr(other, name), json_text.LARGEST_NUMBER) for name in _SUMMED}
    return replace(other, **counts)
