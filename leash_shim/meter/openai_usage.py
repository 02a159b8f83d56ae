"""The usage blocks of OpenAI's endpoints, as OpenAI and the vendors that are compatible with it write them.

The rule: absent is not zero. A block without a readable token count is no usage at all.
Source: https://platform.openai.com/docs/api-reference/chat/object, and the vendors' pages for what differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash.usage import Usage
from leash_shim.meter import json_text
from leash_shim.meter.json_text import first_count, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.meter.wire import RequestFacts


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
    # What Perplexity read for the answer is input beside the prompt, and not in its total.
    input_tokens = prompt + first_count(fields.get("citation_tokens"))
    prompt_details = mapping(fields.get("prompt_tokens_details"))
    completion_details = mapping(fields.get("completion_tokens_details"))
    # DeepSeek and Moonshot report cache hits beside the details.
    cached = first_count(
        prompt_details.get("cached_tokens"), fields.get("prompt_cache_hit_tokens"), fields.get("cached_tokens")
    )
    written, written_longest = _cache_writes(prompt_details, most=input_tokens)
    reasoning = first_count(completion_details.get("reasoning_tokens"), fields.get("reasoning_tokens"))
    output = _output_tokens(input_tokens, completion=completion or 0, reasoning=reasoning, total=total)
    searches, other = _tool_requests(fields, facts)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output,
        cached_input_tokens=min(cached, input_tokens),
        cache_write_tokens=written,
        cache_write_1h_tokens=written_longest,
        audio_input_tokens=min(first_count(prompt_details.get("audio_tokens")), input_tokens),
        audio_output_tokens=min(first_count(completion_details.get("audio_tokens")), output),
        reasoning_tokens=min(reasoning, output),
        web_search_requests=searches,
        other_tool_requests=other,
        service_tier=json_text.name(service_tier),
        image_input_tokens=min(first_count(prompt_details.get("image_tokens")), input_tokens),
        image_output_tokens=min(first_count(completion_details.get("image_tokens")), output),
    )


def read_input_output(block: object, *, service_tier: object = None) -> Usage | None:
    """The usage of the newer endpoints (responses, images, audio), in ``input_tokens`` and ``output_tokens``.

    None where it has neither, such as that of a transcription which bills by the second.
    """
    fields = mapping(block)
    given_input = json_text.count(fields.get("input_tokens"))
    given_output = json_text.count(fields.get("output_tokens"))
    if given_input is None and given_output is None:
        return None
    total = json_text.count(fields.get("total_tokens"))
    input_tokens = max((total or 0) - (given_output or 0), 0) if given_input is None else given_input
    # Transcriptions write the first without its plural.
    input_details = mapping(fields.get("input_tokens_details")) or mapping(fields.get("input_token_details"))
    output_details = mapping(fields.get("output_tokens_details"))
    reasoning = first_count(output_details.get("reasoning_tokens"))
    output_tokens = _output_tokens(input_tokens, completion=given_output or 0, reasoning=reasoning, total=total)
    written, written_longest = _cache_writes(input_details, most=input_tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=min(first_count(input_details.get("cached_tokens")), input_tokens),
        cache_write_tokens=written,
        cache_write_1h_tokens=written_longest,
        audio_input_tokens=min(first_count(input_details.get("audio_tokens")), input_tokens),
        audio_output_tokens=min(first_count(output_details.get("audio_tokens")), output_tokens),
        reasoning_tokens=min(reasoning, output_tokens),
        service_tier=json_text.name(service_tier),
        image_input_tokens=min(first_count(input_details.get("image_tokens")), input_tokens),
        image_output_tokens=min(first_count(output_details.get("image_tokens")), output_tokens),
    )


def _cache_writes(details: Mapping[str, object], *, most: int) -> tuple[int, int]:
    """Tokens written to a cache, and apart from them those with the longest life, which tables name for an hour.

    OpenAI's lives are 30 minutes and 12 hours.
    """
    # OpenAI and OpenRouter, LiteLLM.
    reported = first_count(details.get("cache_write_tokens"), details.get("cache_creation_tokens"))
    by_life = mapping(details.get("cache_write_tokens_details"))
    longest = min(first_count(by_life.get("ttl_12h_tokens")), most)
    written = min(max(reported, longest), most)
    return written - longest, longest


def _output_tokens(input_tokens: int, *, completion: int, reasoning: int, total: int | None) -> int:
    """Every generated token. Some vendors report reasoning beside completion_tokens, not within (xAI, Gemini).

    It shows in a total above the sum of the two, or in more reasoning than completion.
    """
    beside = completion + reasoning if reasoning > completion else completion
    return max(beside, (total or 0) - input_tokens)


def _tool_requests(fields: Mapping[str, object], facts: RequestFacts) -> tuple[int, int]:
    """Web searches and other server-side tool requests."""
    # OpenRouter, Perplexity.
    reported = json_text.count(mapping(fields.get("server_tool_use")).get("web_search_requests"))
    if reported is None:
        reported = json_text.count(fields.get("num_search_queries"))
    if reported is not None:
        return reported, 0
    return int(facts.web_search), int(facts.other_tools)
