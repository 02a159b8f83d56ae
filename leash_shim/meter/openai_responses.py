"""OpenAI's responses: ``/responses`` and ``/responses/compact``, as JSON and as an event stream.

The rule: what a response came to stands in the response object, which a stream sends whole in its last event
(completed, incomplete or failed). The deltas before it are never decoded.
Source: https://platform.openai.com/docs/api-reference/responses and …/responses-streaming
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from leash_shim.meter import json_text, openai_responses_request
from leash_shim.meter.bodies import MAX_LARGE_EVENT_BYTES, meter_for
from leash_shim.meter.fingerprint import MAX_CALLS, Fingerprint
from leash_shim.meter.json_text import elements, first_count, mapping
from leash_shim.meter.openai_usage import read_input_output
from leash_shim.meter.plain import PlainFormat
from leash_shim.meter.reply import ReadReply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.meter.wire import Asked, Meter, RequestFacts

# What ends a stream, each with the whole response: OpenAI's three, and OpenRouter's.
_TERMINAL = ("response.completed", "response.incomplete", "response.failed", "response.done")

# Tools that the provider runs and bills by the call or by what they use, in a unit that no price table can name. MCP
# servers and the search for tools bill nothing but tokens.
_BILLED_CALLS = ("file_search_call", "code_interpreter_call", "image_generation_call")
_SEARCH_CALL = "web_search_call"

# In a container of the provider's it bills, on the program's own machine it does not: the call or the request says
# which.
_SHELL_CALL = "shell_call"

# A call that waits for the program's leave is one that the model makes.
_APPROVAL = "mcp_approval_request"

# What tells one call from the same call made again: its names, and what came of it.
_NOT_SAID = frozenset(
    """id call_id status type name created_by approval_request_id caller container_id pending_safety_checks
    error output outputs result results""".split()  # noqa: SIM905 - a line for each says no more
)


class OpenAIResponses(PlainFormat):
    """The format of ``/responses``."""

    name = "openai_responses"
    tells_failure = True

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request."""
        return openai_responses_request.read_request(asked)

    def meter(self, *, content_type: str, facts: RequestFacts, want_fingerprint: bool = True) -> Meter:
        """A meter for an answer of this content type."""
        return meter_for(
            content_type,
            lambda: _Reply(facts, want_fingerprint=want_fingerprint),
            max_event_bytes=MAX_LARGE_EVENT_BYTES,
        )


OPENAI_RESPONSES = OpenAIResponses()


class _Reply(ReadReply):
    """One response, from one JSON body or from a stream's events."""

    __slots__ = ("_completed",)

    marks_end: ClassVar[bool] = True

    def __init__(self, facts: RequestFacts, *, want_fingerprint: bool) -> None:
        super().__init__(facts, want_fingerprint=want_fingerprint)
        # The items that a stream has completed, for vendors whose last event omits them.
        self._completed = _Output(facts, self.fingerprint)

    def skips(self, data: bytes, event: bytes, /) -> bool:
        """Deltas tell nothing that the whole response does not tell again."""
        del data
        return event.endswith((b".delta", b".partial_image"))

    def add(self, value: object, event: bytes, /) -> None:
        """Reads a response, or an event that has one."""
        members = mapping(value)
        kind = json_text.text(members.get("type")) or event.decode("latin-1")
        if kind == "response.output_item.done":
            self.begun = True
            self._completed.add(mapping(members.get("item")))
        elif kind.startswith("response."):
            self._add_response(mapping(members.get("response")), ended=kind in _TERMINAL)
        elif "output" in members or "usage" in members:
            self._add_response(members, ended=True)
        else:
            self.failed = self.failed or kind == "error" or bool(members.get("error"))

    def _add_response(self, response: Mapping[str, object], *, ended: bool) -> None:
        """Reads a response object; any but the last of a stream only names the model."""
        self.begun = True
        self.take_model(response)
        if not ended:
            return
        self.ended = True
        self.failed = bool(response.get("error")) or response.get("status") in ("failed", "cancelled")
        output = self._completed
        if items := elements(response.get("output")):
            output = _Output(self.facts, None if self.fingerprint is None else Fingerprint())
            for item in items:
                output.add(mapping(item))
        self.fingerprint = output.fingerprint
        usage = read_input_output(response.get("usage"), service_tier=response.get("service_tier"))
        # Where the response tells how many searches bill, its items need not be counted.
        told = mapping(mapping(response.get("tool_usage")).get("web_search")).get("num_requests")
        self.usage = usage and replace(
            usage, web_search_requests=first_count(told, output.searches), other_tool_requests=output.others
        )


class _Output:
    """What the items of a response's output come to: what they say and do, and what they bill beside tokens."""

    __slots__ = ("_calls", "_facts", "fingerprint", "others", "searches")

    def __init__(self, facts: RequestFacts, fingerprint: Fingerprint | None) -> None:
        self._facts = facts
        self._calls = 0
        self.fingerprint = fingerprint
        self.searches = 0
        self.others = 0

    def add(self, item: Mapping[str, object]) -> None:
        """Reads the next item."""
        kind = json_text.text(item.get("type"))
        self.searches += _is_search(item)
        self.others += kind in _BILLED_CALLS or (kind == _SHELL_CALL and self._is_hosted(item))
        if self.fingerprint is None:
            return
        if kind == "message":
            for part in map(mapping, elements(item.get("content"))):
                self.fingerprint.add_text(0, "content", json_text.text(part.get("text")))
                self.fingerprint.add_text(0, "refusal", json_text.text(part.get("refusal")))
        elif kind in ("function_call", "custom_tool_call"):
            self._add_call(item.get("name"), item.get("arguments", item.get("input")))
        elif kind.endswith("_call") or kind == _APPROVAL:
            # The tools that OpenAI defines: what is done stands in members of their own.
            said = {key: value for key, value in item.items() if key not in _NOT_SAID}
            self._add_call(f"{kind} {json_text.text(item.get('name'))}", said)

    def _add_call(self, name: object, arguments: object) -> None:
        # Numbered among the calls alone: whether the model reasoned before is no matter.
        if self.fingerprint is not None and self._calls < MAX_CALLS:
            self.fingerprint.add_json_call(0, self._calls, name, arguments)
            self._calls += 1

    def _is_hosted(self, call: Mapping[str, object]) -> bool:
        environment = mapping(call.get("environment")).get("type")
        return self._facts.other_tools if environment is None else environment != "local"


def _is_search(call: Mapping[str, object]) -> bool:
    """Whether an item is a search; to open a page that was found, or to look within it, is not billed."""
    return call.get("type") == _SEARCH_CALL and mapping(call.get("action")).get("type", "search") == "search"
