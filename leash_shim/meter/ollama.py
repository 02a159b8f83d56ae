"""Ollama's own endpoints: ``/api/chat``, ``/api/generate`` and ``/api/embed``, as lines of JSON or as one body.

The rule: they stream unless the request says otherwise, and the counts stand on the line that is ``done``. A count of
zero is left out there.
Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from leash.usage import Usage
from leash_shim.meter import json_text
from leash_shim.meter.bodies import MAX_LARGE_EVENT_BYTES, JsonMeter, LineMeter
from leash_shim.meter.fingerprint import MAX_CALLS
from leash_shim.meter.json_text import elements, mapping
from leash_shim.meter.openai_completions import prompt_count
from leash_shim.meter.openai_request import PROVIDER_PROMPT_TOKENS
from leash_shim.meter.plain import PlainFormat
from leash_shim.meter.reply import ReadReply
from leash_shim.meter.wire import RequestFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.meter.wire import Asked, Meter

# Why an answer has no counts although nothing is missing: a model was loaded or let go, and nothing was generated. An
# empty input, which loads a model to embed with, has no vectors instead.
_IDLE_REASONS = ("load", "unload")


class OllamaGenerate(PlainFormat):
    """The format of ``/api/chat`` and ``/api/generate``."""

    name = "ollama_generate"

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request."""
        members = mapping(json_text.parse(asked.body))
        messages = [members, *map(mapping, elements(members.get("messages")))]
        # A context is the tokens of what was said before; it is no shorter in JSON.
        inline = bool(members) and not any(message.get("images") for message in messages)
        return RequestFacts(
            model=_named(members),
            stream=members.get("stream") is not False,
            input_bound_tokens=len(asked.body) + PROVIDER_PROMPT_TOKENS if inline else None,
            output_bound_tokens=json_text.whole(mapping(members.get("options")).get("num_predict")),
        )

    def meter(self, *, content_type: str, facts: RequestFacts, want_fingerprint: bool = True) -> Meter:
        """A meter for an answer of this content type."""
        if content_type.partition(";")[0].strip().lower() == "application/json":
            return JsonMeter(lambda: _Reply(facts, want_fingerprint=want_fingerprint))
        # The line that is done has the whole context of a generation, in numbers.
        reply = _Reply(facts, want_fingerprint=want_fingerprint)
        return LineMeter(reply, max_line_bytes=MAX_LARGE_EVENT_BYTES)


class OllamaEmbed(OllamaGenerate):
    """The format of ``/api/embed``, whose answer has input tokens only."""

    name = "ollama_embed"

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request."""
        members = mapping(json_text.parse(asked.body))
        prompts = prompt_count(members.get("input"))
        return RequestFacts(
            model=_named(members),
            input_bound_tokens=len(asked.body) + prompts * PROVIDER_PROMPT_TOKENS if prompts else None,
            output_bound_tokens=0,
            prompts=max(prompts, 1),
        )

    def meter(self, *, content_type: str, facts: RequestFacts, want_fingerprint: bool = True) -> Meter:
        """A meter for an answer, which is never streamed."""
        del content_type
        return JsonMeter(lambda: _Reply(facts, want_fingerprint=want_fingerprint))


OLLAMA_GENERATE = OllamaGenerate()
OLLAMA_EMBED = OllamaEmbed()


def _named(members: Mapping[str, object]) -> str:
    """The model that a request names. Ollama takes a key in any case, so that of two spellings none is trusted."""
    names = [value for key, value in members.items() if key.lower() == "model"]
    return json_text.name(names[0]) if len(names) == 1 else ""


class _Reply(ReadReply):
    """One answer, whole or in lines, which have the same shape."""

    __slots__ = ("_calls",)

    marks_end: ClassVar[bool] = True

    def __init__(self, facts: RequestFacts, *, want_fingerprint: bool) -> None:
        super().__init__(facts, want_fingerprint=want_fingerprint)
        self._calls = 0

    def add(self, value: object, event: bytes, /) -> None:
        """Reads an answer or a line."""
        del event
        members = mapping(value)
        self.take_model(members)
        if members.get("error") is not None:
            self.failed = True
            return
        self.begun = self.begun or bool(self.model)
        self.ended = self.ended or members.get("done") is True
        self._add_counts(members)
        if self.fingerprint is not None:
            message = mapping(members.get("message"))
            for text in (message.get("content"), members.get("response")):
                self.fingerprint.add_text(0, "content", json_text.text(text))
            for call in map(mapping, elements(message.get("tool_calls"))):
                function = mapping(call.get("function"))
                if self._calls < MAX_CALLS:
                    self.fingerprint.add_json_call(0, self._calls, function.get("name"), function.get("arguments"))
                    self._calls += 1

    def _add_counts(self, members: Mapping[str, object]) -> None:
        prompt, output = (json_text.count(members.get(name)) for name in ("prompt_eval_count", "eval_count"))
        if prompt is not None or output is not None:
            self.usage = Usage(input_tokens=prompt or 0, output_tokens=output or 0)
        elif members.get("done_reason") in _IDLE_REASONS or members.get("embeddings") == []:
            self.usage = self.usage or Usage()
