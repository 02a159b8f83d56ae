"""The usage block of OpenAI's chat completions, as OpenAI and the vendors that are compatible with it write it.

The rule: absent is not zero. A block without a readable token count is no usage at all.
Source: https://platform.openai.com/docs/api-reference/chat/object, and the vendors' pages for what differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from leash.usage import Usage
from leash_shim.meter import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.meter.wire import RequestFacts

_NOTHING: Mapping[str, object] = {}


def read_usage(block: object, *, service_tier: object, facts: RequestFacts) -> Usage | None:
    """The usage of a ``usage`` block; None where it has neither prompt_tokens nor completion_tokens.

    Where the number of server-side tool requests is not on the wire though the request offers such tools, one request
    is counted: OpenAI's own web search always runs once, and any other tool has no price, which the daemon must see.
    """
    fields = mapping(block)
    prompt = json_text.count(fields.get("prompt_tokens"))
    completion = json_text.count(fields.get("completion_tokens"))
    total = json_text.count(fields.get("total_tokens"))
    if prompt is None and completion is None:
        return None
    if prompt is None:
        prompt = max((total or 0) - (completion or 0), 0)
    prompt_details = mapping(fields.get("prompt_tokens_details"))
    completion_details = mapping(fields.get("completion_tokens_details"))
    # DeepSeek and Moonshot report cache hits beside the details.
    cached = _first_count(
        prompt_details.get("cached_tokens"), fields.get("prompt_cache_hit_tokens"), fields.get("cached_tokens")
    )
    # OpenAI and OpenRouter, LiteLLM.
    written = _first_count(prompt_details.get("cache_write_tokens"), prompt_details.get("cache_creation_tokens"))
    reasoning = _first_count(completion_details.get("reasoning_tokens"), fields.get("reasoning_tokens"))
    output = _output_tokens(prompt=prompt, completion=completion or 0, reasoning=reasoning, total=total)
    searches, other = _tool_requests(fields, facts)
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cached_input_tokens=min(cached, prompt),
        cache_write_tokens=min(written, prompt),
        audio_input_tokens=min(_first_count(prompt_details.get("audio_tokens")), prompt),
        audio_output_tokens=min(_first_count(completion_details.get("audio_tokens")), output),
        reasoning_tokens=min(reasoning, output),
        web_search_requests=searches,
        other_tool_requests=other,
        service_tier=json_text.name(service_tier),
    )


def mapping(value: object) -> Mapping[str, object]:
    """A JSON object's members, and none for any other value."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else _NOTHING


def _output_tokens(*, prompt: int, completion: int, reasoning: int, total: int | None) -> int:
    """Every generated token. Some vendors report reasoning beside completion_tokens, not within (xAI, Gemini).

    It shows in a total above the sum of the two, or in more reasoning than completion.
    """
    beside = completion + reasoning if reasoning > completion else completion
    return max(beside, (total or 0) - prompt)


def _tool_requests(fields: Mapping[str, object], facts: RequestFacts) -> tuple[int, int]:
    """Web searches and other server-side tool requests."""
    # OpenRouter, Perplexity.
    reported = json_text.count(mapping(fields.get("server_tool_use")).get("web_search_requests"))
    if reported is None:
        reported = json_text.count(fields.get("num_search_queries"))
    if reported is not None or not facts.server_tools:
        return reported or 0, 0
    return (1, 0) if facts.web_search else (0, 1)


def _first_count(*values: object) -> int:
    """The first readable count, or zero."""
    return next((number for value in values if (number := json_text.count(value)) is not None), 0)
