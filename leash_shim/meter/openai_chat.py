"""OpenAI chat completions: JSON and event streams, from OpenAI and from whoever speaks the same format.

The rule: what is read follows the answer's content type, never the request or the model's name. The last readable
usage wins: OpenAI sends one, in a stream's last chunk, other vendors a running one in every chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash_shim.meter import json_text, openai_request, splice
from leash_shim.meter.fingerprint import MAX_CALLS, MAX_CHOICES, Fingerprint
from leash_shim.meter.openai_usage import mapping, read_usage
from leash_shim.meter.sse import EventReader
from leash_shim.meter.usage_filter import UsageChunkFilter
from leash_shim.meter.wire import Metered, Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash.usage import Usage
    from leash_shim.meter.wire import Meter, RequestFacts, VisibleFilter

# An answer of 100,000 tokens is half a megabyte; with the log probabilities of twenty alternatives for each, thirty.
MAX_JSON_BYTES = 32 << 20

_EVENT_STREAM = "text/event-stream"

# OpenAI's deprecated function_call stands before the tool calls that replaced it.
_LEGACY_CALL = 0
_FIRST_CALL = 1


class OpenAIChat:
    """The format of ``/chat/completions``."""

    name = "openai_chat"

    def read_request(self, body: bytes) -> RequestFacts:
        """The facts of a request's body."""
        return openai_request.read_request(body)

    def prepare(self, body: bytes, *, inject: bool) -> Prepared:
        """The body with ``stream_options.include_usage`` spliced in, where a stream would come without usage."""
        spliced = splice.splice_include_usage(body) if inject else None
        return Prepared(body, False) if spliced is None else Prepared(spliced, True)

    def meter(self, *, content_type: str, facts: RequestFacts, want_fingerprint: bool = True) -> Meter:
        """A meter for an answer of this content type."""
        if content_type.partition(";")[0].strip().lower() == _EVENT_STREAM:
            return _StreamMeter(facts, want_fingerprint=want_fingerprint)
        return _JsonMeter(facts, want_fingerprint=want_fingerprint)

    def visible_filter(self) -> VisibleFilter:
        """A filter that hides what the spliced option adds to a stream."""
        return UsageChunkFilter()


OPENAI_CHAT = OpenAIChat()


class _StreamMeter:
    """Reads the chunks of an event stream."""

    __slots__ = ("_reader", "_reply")

    def __init__(self, facts: RequestFacts, *, want_fingerprint: bool) -> None:
        self._reply = _Reply(facts, want_fingerprint=want_fingerprint)
        self._reader = EventReader(self._read)

    def feed(self, data: bytes, /) -> None:
        self._reader.feed(data)

    def peek(self) -> Usage | None:
        return self._reply.usage

    def finish(self) -> Metered:
        self._reader.finish()
        return self._reply.metered()

    def _read(self, data: bytes, event: bytes) -> bool:
        if b'"usage"' not in data and not self._reply.reads_every_chunk:
            return json_text.is_object(data)
        chunk = json_text.parse(data)
        self._reply.add(chunk, failed=event == b"error")
        return chunk is not None


class _JsonMeter:
    """Reads one JSON body, at its end."""

    __slots__ = ("_body", "_facts", "_overflowed", "_want_fingerprint")

    def __init__(self, facts: RequestFacts, *, want_fingerprint: bool) -> None:
        self._facts = facts
        self._want_fingerprint = want_fingerprint
        self._body = bytearray()
        self._overflowed = False

    def feed(self, data: bytes, /) -> None:
        if self._overflowed or len(self._body) + len(data) > MAX_JSON_BYTES:
            self._overflowed = True
            self._body.clear()
        else:
            self._body += data

    def peek(self) -> Usage | None:
        return self.finish().usage

    def finish(self) -> Metered:
        reply = _Reply(self._facts, want_fingerprint=self._want_fingerprint)
        reply.add(json_text.parse(self._body), failed=False)
        return reply.metered()


class _Reply:
    """What has been read of one reply, from one JSON body or from chunks, which have nearly the same shape."""

    __slots__ = ("_calls", "_facts", "_fingerprint", "model", "usage")

    def __init__(self, facts: RequestFacts, *, want_fingerprint: bool) -> None:
        self._facts = facts
        self._fingerprint = Fingerprint() if want_fingerprint else None
        self._calls: dict[int, _StreamedCalls] = {}
        self.usage: Usage | None = None
        self.model = ""

    @property
    def reads_every_chunk(self) -> bool:
        """Whether a chunk without usage still has something to tell."""
        return self._fingerprint is not None or not self.model

    def add(self, value: object, *, failed: bool) -> None:
        """Reads a completion or a chunk; ``failed`` where the event is told to be an error."""
        members = mapping(value)
        self.model = json_text.name(members.get("model")) or self.model
        # An error within a stream may come with numbers, which are not what was billed.
        if not failed and members.get("error") is None:
            self._add_usage(members)
        choices = members.get("choices")
        if self._fingerprint is not None and isinstance(choices, list):
            for position, choice in enumerate(choices):
                self._add_choice(self._fingerprint, position, mapping(choice))

    def metered(self) -> Metered:
        """What it came to."""
        return Metered(self.usage, self.model, b"" if self._fingerprint is None else self._fingerprint.digest())

    def _add_usage(self, members: Mapping[str, object]) -> None:
        # Groq reports in a member of its own as well.
        for block in (members.get("usage"), mapping(members.get("x_groq")).get("usage")):
            usage = read_usage(block, service_tier=members.get("service_tier"), facts=self._facts)
            if usage is not None:
                self.usage = usage
                return

    def _add_choice(self, fingerprint: Fingerprint, position: int, choice: Mapping[str, object]) -> None:
        index = json_text.count(choice.get("index", position))
        if index is None or index >= MAX_CHOICES:
            return
        streamed = "delta" in choice
        message = mapping(choice["delta"] if streamed else choice.get("message"))
        for kind, content in (
            ("content", message.get("content")),
            ("refusal", message.get("refusal")),
            ("audio", mapping(message.get("audio")).get("transcript")),
        ):
            for text in _texts(content):
                fingerprint.add_text(index, kind, text)
        legacy = mapping(message.get("function_call"))
        if legacy:
            _add_call(fingerprint, index, _LEGACY_CALL, legacy)
        tool_calls = message.get("tool_calls")
        if isinstance(tool_calls, list):
            for position_of_call, tool_call in enumerate(map(mapping, tool_calls)):
                number = position_of_call
                if streamed:
                    number = self._calls.setdefault(index, _StreamedCalls()).number(tool_call)
                # A function takes arguments, a custom tool one text.
                function = mapping(tool_call.get("function")) or mapping(tool_call.get("custom"))
                _add_call(fingerprint, index, _FIRST_CALL + number, function)


class _StreamedCalls:
    """Numbers the tool calls of one streamed choice as they appear.

    OpenAI gives each an index. Some vendors leave it out, or send zero for all: there a new id begins a new call.
    """

    __slots__ = ("_current", "_total")

    def __init__(self) -> None:
        self._current: dict[int | None, tuple[int, str]] = {}  # the number and the id of the last call of an index
        self._total = 0

    def number(self, tool_call: Mapping[str, object]) -> int:
        """The number of the call that this piece belongs to."""
        index = json_text.count(tool_call.get("index"))
        given = tool_call.get("id")
        call_id = given if isinstance(given, str) else ""
        current = self._current.get(index)
        if current is None or (call_id and current[1] and call_id != current[1]):
            if self._total == MAX_CALLS:
                return MAX_CALLS
            current = (self._total, call_id)
            self._total += 1
        self._current[index] = (current[0], current[1] or call_id)
        return current[0]


def _add_call(fingerprint: Fingerprint, choice: int, call: int, function: Mapping[str, object]) -> None:
    name = function.get("name")
    arguments = function.get("arguments", function.get("input"))
    if arguments is not None and not isinstance(arguments, str):
        # Some vendors send the object itself.
        arguments = json_text.canonical(arguments)
    fingerprint.add_call(choice, call, name=name if isinstance(name, str) else "", arguments=arguments or "")


def _texts(content: object) -> list[str]:
    """The text of a message's content, which some vendors send as a list of parts."""
    parts = [mapping(part).get("text") for part in content] if isinstance(content, list) else [content]
    return [part for part in parts if isinstance(part, str)]
