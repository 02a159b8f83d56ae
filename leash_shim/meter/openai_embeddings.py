"""OpenAI's embeddings: one JSON answer, which has input tokens and generates nothing.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash.usage import Usage
from leash_shim.meter import json_text
from leash_shim.meter.bodies import OutlineMeter
from leash_shim.meter.json_text import elements, mapping
from leash_shim.meter.openai_completions import prompt_count
from leash_shim.meter.openai_request import MAX_CHOICES, PROVIDER_PROMPT_TOKENS, requested_model
from leash_shim.meter.plain import PlainFormat
from leash_shim.meter.reply import ReadReply
from leash_shim.meter.wire import RequestFacts

if TYPE_CHECKING:
    from leash_shim.meter.wire import Asked, Meter


class OpenAIEmbeddings(PlainFormat):
    """The format of ``/embeddings``."""

    name = "openai_embeddings"

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request, each of whose inputs may be as long as the model takes."""
        members = mapping(json_text.parse(asked.body))
        prompts = prompt_count(members.get("input"))
        # Pictures and other inputs that are no text, which some vendors take, may fill the context as well.
        others = min(len(elements(members.get("input"))), MAX_CHOICES)
        return RequestFacts(
            model=requested_model(asked, members.get("model")),
            input_bound_tokens=len(asked.body) + prompts * PROVIDER_PROMPT_TOKENS if prompts else None,
            output_bound_tokens=0,
            prompts=prompts or others or 1,
        )

    def meter(self, *, content_type: str, facts: RequestFacts, want_fingerprint: bool = True) -> Meter:
        """A meter for an answer."""
        del content_type
        return OutlineMeter(lambda: _Reply(facts, want_fingerprint=want_fingerprint))


OPENAI_EMBEDDINGS = OpenAIEmbeddings()


class _Reply(ReadReply):
    """One answer, whose vectors are neither text nor a tool call."""

    __slots__ = ()

    def add(self, value: object, event: bytes, /) -> None:
        """Reads the answer."""
        del event
        members = mapping(value)
        self.take_model(members)
        self.failed = bool(members.get("error"))
        fields = mapping(members.get("usage"))
        # Voyage and Jina report the total alone.
        counts = [json_text.count(fields.get(name)) for name in ("prompt_tokens", "total_tokens")]
        known = [count for count in counts if count is not None]
        if known and not self.failed:
            self.usage = Usage(input_tokens=max(known))
