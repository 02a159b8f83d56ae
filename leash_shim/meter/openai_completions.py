"""OpenAI's older text completions: ``/completions``, as JSON and as an event stream.

The rule: the usage is that of chat completions, and so is the option that asks a stream for it; what is generated is
the plain ``text`` of each choice.
Source: https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash_shim.meter import json_text
from leash_shim.meter.bodies import meter_for
from leash_shim.meter.json_text import mapping
from leash_shim.meter.openai_choices import ChoicesFormat, ChoicesReply
from leash_shim.meter.openai_request import MAX_CHOICES, PROVIDER_PROMPT_TOKENS, requested_model
from leash_shim.meter.wire import RequestFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.meter.fingerprint import Fingerprint
    from leash_shim.meter.wire import Asked, Meter

# Parameters that shape the answer or carry prompt text inline; any other that is not a number or a word like true may
# be a reference to something stored.
_INLINE = frozenset(
    """logit_bias metadata model prompt stop stream_options suffix user service_tier guided_choice guided_grammar
    guided_json guided_regex provider response_format stop_token_ids structured_outputs""".split()  # noqa: SIM905 - a line for each says no more
)


class OpenAICompletions(ChoicesFormat):
    """The format of ``/completions``."""

    name = "openai_completions"

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request. ``best_of`` answers are generated and billed, of which ``n`` are shown."""
        members = mapping(json_text.parse(asked.body))
        prompts = prompt_count(members.get("prompt"))
        inline = prompts > 0 and all(name in _INLINE or json_text.is_plain(value) for name, value in members.items())
        answers = max(json_text.whole(members.get("n")) or 1, json_text.whole(members.get("best_of")) or 1)
        return RequestFacts(
            model=requested_model(asked, members.get("model"), stand_ins=members.get("models")),
            stream=members.get("stream") is True,
            input_bound_tokens=len(asked.body) + prompts * PROVIDER_PROMPT_TOKENS if inline else None,
            output_bound_tokens=json_text.whole(members.get("max_tokens")),
            choices=min(answers * max(prompts, 1), MAX_CHOICES),
            prompts=max(prompts, 1),
            service_tier=json_text.name(members.get("service_tier")),
        )

    def meter(self, *, content_type: str, facts: RequestFacts, want_fingerprint: bool = True) -> Meter:
        """A meter for an answer of this content type."""
        return meter_for(content_type, lambda: _Reply(facts, want_fingerprint=want_fingerprint))


OPENAI_COMPLETIONS = OpenAICompletions()


def prompt_count(prompt: object) -> int:
    """How many prompts there are in a text, texts, tokens or lists of tokens; 0 for anything else."""
    if isinstance(prompt, str):
        return 1
    if not isinstance(prompt, list) or not prompt:
        return 0
    if all(json_text.count(each) is not None for each in prompt):
        return 1
    if all(isinstance(each, str) for each in prompt):
        return min(len(prompt), MAX_CHOICES)
    token_lists = all(
        isinstance(each, list) and all(json_text.count(token) is not None for token in each) for each in prompt
    )
    return min(len(prompt), MAX_CHOICES) if token_lists else 0


class _Reply(ChoicesReply):
    """One reply, whose choices are plain texts."""

    __slots__ = ()

    def add_choice(self, fingerprint: Fingerprint, index: int, choice: Mapping[str, object]) -> None:
        """Reads a text, or the next piece of one."""
        fingerprint.add_text(index, "content", json_text.text(choice.get("text")))
