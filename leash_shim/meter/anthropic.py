"""Anthropic's messages: JSON and event streams, from Anthropic, Vertex, and whoever speaks the same format.

The rule: a stream begins with ``message_start``, which has the input, and its output is only known with the
``message_delta`` that says why it stopped; one that ends before that has told the least that it came to.
Source: https://docs.anthropic.com/en/api/messages and …/messages-streaming
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from leash_shim.meter import anthropic_request, json_text
from leash_shim.meter.anthropic_usage import AnthropicUsage
from leash_shim.meter.bodies import meter_for
from leash_shim.meter.fingerprint import MAX_CALLS
from leash_shim.meter.json_text import elements, mapping
from leash_shim.meter.plain import PlainFormat
from leash_shim.meter.reply import ReadReply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.meter.fingerprint import Fingerprint
    from leash_shim.meter.wire import Asked, Meter, RequestFacts

# A block that asks for something to be done: tool_use, server_tool_use, mcp_tool_use and those of toolsets.
_TOOL_USE = "tool_use"

# code_execution, bash_code_execution and text_editor_code_execution: they run in a container that bills by the hour,
# from when it is there, even where nothing is run in it.
_EXECUTION = "code_execution"


class AnthropicMessages(PlainFormat):
    """The format of ``/messages``."""

    name = "anthropic_messages"

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request."""
        return anthropic_request.read_request(asked)

    def meter(self, *, content_type: str, facts: RequestFacts, want_fingerprint: bool = True) -> Meter:
        """A meter for an answer of this content type."""
        return meter_for(content_type, lambda: _Reply(facts, want_fingerprint=want_fingerprint))


ANTHROPIC_MESSAGES = AnthropicMessages()


class _Reply(ReadReply):
    """One message, from one JSON body or from the events of a stream."""

    __slots__ = ("_blocks", "_counted", "_executed", "_has_output", "_stopped")

    marks_end: ClassVar[bool] = True

    def __init__(self, facts: RequestFacts, *, want_fingerprint: bool) -> None:
        super().__init__(facts, want_fingerprint=want_fingerprint)
        self._counted = AnthropicUsage()
        # For each block of a stream that is a call, its place among the calls.
        self._blocks: dict[int, int] = {}
        self._executed = False
        self._has_output = False
        self._stopped = False

    def skips(self, data: bytes, event: bytes, /) -> bool:
        """Content is only of interest for the fingerprint, and for a tool that bills."""
        del data
        wanted = self.fingerprint is not None or self.facts.other_tools
        return not wanted and event.startswith((b"content_block", b"ping"))

    def add(self, value: object, event: bytes, /) -> None:
        """Reads a message or an event."""
        members = mapping(value)
        match members.get("type") or event.decode("latin-1"):
            case "message":
                self._add_message(members)
            case "message_start":
                self._add_message(mapping(members.get("message")))
            case "message_delta":
                usage, delta = mapping(members.get("usage")), mapping(members.get("delta"))
                self._note_container(delta)
                self._add_usage(usage)
                # One without a reason to stop tells what an advisor used meanwhile.
                self._stopped = self._stopped or bool(delta.get("stop_reason"))
                self._has_output = self._has_output or json_text.count(usage.get("output_tokens")) is not None
                self.ended = self._stopped and self._has_output
            case "content_block_start":
                self._add_block(members.get("index"), mapping(members.get("content_block")))
            case "content_block_delta":
                self._add_delta(members.get("index"), mapping(members.get("delta")))
            case "message_stop":
                # A whole stream without any usage is not broken off, but blind.
                self._stopped = True
                self.ended = self._has_output or not self._counted.known
            case "error":
                self.failed = True
            case _:
                # Vendors leave the type of a whole message out, and that of an error.
                if "usage" in members:
                    self._add_message(members)
                self.failed = self.failed or members.get("error") is not None

    def _add_message(self, message: Mapping[str, object]) -> None:
        self.begun = True
        self.take_model(message)
        for index, block in enumerate(map(mapping, elements(message.get("content")))):
            self._add_block(index, block)
        self._note_container(message)
        self._add_usage(message.get("usage"))

    def _add_usage(self, block: object) -> None:
        self._counted.add(block, models=(self.facts.model, self.model))
        self.usage = self._counted.total(executed=self._executed)

    def _note_container(self, members: Mapping[str, object]) -> None:
        if self.facts.other_tools and members.get("container") is not None:
            self._executed = True

    def _add_block(self, index: object, block: Mapping[str, object]) -> None:
        kind = json_text.text(block.get("type"))
        if self.facts.other_tools and json_text.text(block.get("name")).endswith(_EXECUTION):
            self._executed = True
        if self.fingerprint is None:
            return
        if kind == "text":
            self.fingerprint.add_text(0, "content", json_text.text(block.get("text")))
        elif kind.endswith(_TOOL_USE):
            number = len(self._blocks)
            place = json_text.count(index)
            if place is not None and number < MAX_CALLS:
                self._blocks[place] = number
                # A stream opens a call with an empty input, and then writes it.
                self.fingerprint.add_json_call(0, number, block.get("name"), block.get("input") or None)

    def _add_delta(self, index: object, delta: Mapping[str, object]) -> None:
        fingerprint: Fingerprint | None = self.fingerprint
        if fingerprint is None:
            return
        if delta.get("type") == "text_delta":
            fingerprint.add_text(0, "content", json_text.text(delta.get("text")))
        elif delta.get("type") == "input_json_delta":
            number = self._blocks.get(json_text.count(index) or 0)
            if number is not None:
                fingerprint.add_json_call(0, number, "", json_text.text(delta.get("partial_json")))
