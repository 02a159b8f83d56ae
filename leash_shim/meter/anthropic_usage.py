"""The usage block of Anthropic's messages, put together from the events of a stream.

The rule: counts in a stream are cumulative, so a later one stands in an earlier one's place; but a zero, which some
vendors send for what they do not know yet, undoes nothing. ``input_tokens`` has neither what was read from the cache
nor what was written to it; all three are input. Where ``iterations`` are told, their sum is what is billed, of which
the counts of the block itself may leave some out.
Source: https://docs.anthropic.com/en/api/messages and …/prompt-caching, …/compaction, …/advisor-tool,
…/refusals-and-fallback
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from leash.usage import Usage
from leash_shim.meter import json_text
from leash_shim.meter.json_text import LARGEST_NUMBER, elements, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a prompt is made of. They are told together: some vendors take the whole prompt for input_tokens when a stream
# begins, and tell apart at its end how much of it came from a cache.
_PROMPT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_COUNTS = (*_PROMPT, "output_tokens")

# Iterations that the counts of the block never have in them.
_LEFT_OUT = ("compaction", "advisor_message")

# The iteration of a model that stood in for the one that was asked.
_STAND_IN = "fallback_message"

# More iterations than any answer has.
_MAX_ITERATIONS = 10_000

# A tier that bills at prices of its own, and is reported beside the service tier.
_FAST = "fast"


@dataclass(slots=True)
class AnthropicUsage:
    """The usage of one message, as far as it was reported."""

    known: bool = False
    _counts: Counter[str] = field(default_factory=Counter)
    _iterated: Counter[str] = field(default_factory=Counter)
    _left_out: Counter[str] = field(default_factory=Counter)
    _foreign: int = 0
    _service_tier: str = ""

    def add(self, block: object, *, models: tuple[object, ...]) -> None:
        """Takes the ``usage`` of a message or of an event.

        ``models`` are the names of the model that the call is priced as.
        """
        fields = mapping(block)
        told = _counts(fields)
        self.known = self.known or any(name in told for name in _COUNTS)
        if any(told[name] for name in _PROMPT):
            for name in told.keys() & _PROMPT:
                del self._counts[name]
        self._counts |= told
        iterations = elements(fields.get("iterations"))[:_MAX_ITERATIONS]
        if iterations:
            self._add_iterations(list(map(mapping, iterations)), models)
        fast = fields.get("speed") == _FAST or self._service_tier == _FAST
        self._service_tier = _FAST if fast else json_text.name(fields.get("service_tier")) or self._service_tier

    def total(self, *, executed: bool) -> Usage | None:
        """All that was reported of a call that ran code or not; None for nothing."""
        if not self.known:
            return None
        summed = (self._counts | self._iterated) + self._left_out
        counts = Counter({name: min(count, LARGEST_NUMBER) for name, count in summed.items()})
        cached, written_5m, written_1h = counts["cache_read_input_tokens"], counts["5m"], counts["1h"]
        written = max(counts["cache_creation_input_tokens"], written_5m + written_1h)
        output = counts["output_tokens"]
        return Usage(
            input_tokens=counts["input_tokens"] + cached + written,
            output_tokens=output,
            cached_input_tokens=cached,
            cache_write_tokens=written - written_5m - written_1h,
            cache_write_5m_tokens=written_5m,
            cache_write_1h_tokens=written_1h,
            reasoning_tokens=min(counts["thinking"], output),
            web_search_requests=counts["search"],
            web_fetch_requests=counts["fetch"],
            other_tool_requests=self._foreign + int(executed),
            service_tier=self._service_tier,
        )

    def _add_iterations(self, iterations: list[Mapping[str, object]], models: tuple[object, ...]) -> None:
        """Takes all iterations so far. What another model did bills at prices of its own."""
        self._iterated, self._left_out, self._foreign = Counter(), Counter(), 0
        for iteration in iterations:
            kind = iteration.get("type")
            summed = self._left_out if kind in _LEFT_OUT else self._iterated
            summed.update(_counts(iteration))
            self._foreign += kind == _STAND_IN or iteration.get("model") not in (None, *models)


def _counts(fields: Mapping[str, object]) -> Counter[str]:
    """The counts that a block, or one of its iterations, tells."""
    cache = mapping(fields.get("cache_creation"))
    tools = mapping(fields.get("server_tool_use"))
    details = mapping(fields.get("output_tokens_details"))
    told = {
        **{name: fields.get(name) for name in _COUNTS},
        "5m": cache.get("ephemeral_5m_input_tokens"),
        "1h": cache.get("ephemeral_1h_input_tokens"),
        "thinking": details.get("thinking_tokens"),
        "search": tools.get("web_search_requests"),
        "fetch": tools.get("web_fetch_requests"),
    }
    return Counter({name: count for name, value in told.items() if (count := json_text.count(value)) is not None})
