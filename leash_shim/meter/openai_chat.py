"""OpenAI chat completions: JSON and event streams, from OpenAI and from whoever speaks the same format.

Source: https://platform.openai.com/docs/api-reference/chat, and the vendors' pages for what differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash_shim.meter import json_text, openai_request
from leash_shim.meter.bodies import meter_for
from leash_shim.meter.fingerprint import MAX_CALLS
from leash_shim.meter.json_text import elements, mapping
from leash_shim.meter.openai_choices import ChoicesFormat, ChoicesReply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.meter.fingerprint import Fingerprint
    from leash_shim.meter.wire import Asked, Meter, RequestFacts

# OpenAI's deprecated function_call stands before the tool calls that replaced it.
_LEGACY_CALL = 0
_FIRST_CALL = 1


class OpenAIChat(ChoicesFormat):
    """The format of ``/chat/completions``."""

    name = "openai_chat"

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request's body."""
        return openai_request.read_request(asked)

    def meter(self, *, content_type: str, facts: RequestFacts, want_fingerprint: bool = True) -> Meter:
        """A meter for an answer of this content type."""
        return meter_for(content_type, lambda: _Reply(facts, want_fingerprint=want_fingerprint))


OPENAI_CHAT = OpenAIChat()


class _Reply(ChoicesReply):
    """One reply, whose choices are messages."""

    __slots__ = ("_calls",)

    def __init__(self, facts: RequestFacts, *, want_fingerprint: bool) -> None:
        super().__init__(facts, want_fingerprint=want_fingerprint)
        self._calls: dict[int, _StreamedCalls] = {}

    def add_choice(self, fingerprint: Fingerprint, index: int, choice: Mapping[str, object]) -> None:
        """Reads a message, or the next piece of one."""
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
            fingerprint.add_json_call(index, _LEGACY_CALL, legacy.get("name"), legacy.get("arguments"))
        for position_of_call, tool_call in enumerate(map(mapping, elements(message.get("tool_calls")))):
            number = position_of_call
            if streamed:
                number = self._calls.setdefault(index, _StreamedCalls()).number(tool_call)
            # A function takes arguments, a custom tool one text.
            function = mapping(tool_call.get("function")) or mapping(tool_call.get("custom"))
            arguments = function.get("arguments", function.get("input"))
            fingerprint.add_json_call(index, _FIRST_CALL + number, function.get("name"), arguments)


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


def _texts(content: object) -> list[str]:
    """The text of a message's content, which some vendors send as a list of parts."""
    parts = [mapping(part).get("text") for part in content] if isinstance(content, list) else [content]
    return [part for part in parts if isinstance(part, str)]
