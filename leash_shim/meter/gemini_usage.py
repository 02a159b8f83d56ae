"""Gemini's ``usageMetadata``, as the Gemini API and Vertex report it.

The rule: thoughts are output. Usually they stand beside ``candidatesTokenCount``; where the total shows that they are
within it, they are not added again. The results of tools that the provider ran are input.
Source: https://ai.google.dev/api/generate-content#UsageMetadata, and Vertex's page of the same name
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from leash.usage import Usage
from leash_shim.meter import json_text
from leash_shim.meter.gemini_request import camel
from leash_shim.meter.json_text import elements

if TYPE_CHECKING:
    from collections.abc import Mapping

_INPUT_DETAILS = ("promptTokensDetails", "toolUsePromptTokensDetails")
_OUTPUT_DETAILS = ("candidatesTokensDetails",)

# How a call is named that was made at the ordinary price.
_ORDINARY = ("unspecified", "traffic_type_unspecified")


def read_usage(fields: Mapping[str, object], *, pictured: bool = False) -> Usage | None:
    """The usage of a ``usageMetadata`` block; None where it has no count of prompt, candidates or total.

    ``pictured``: the answer has an image, so that where its tokens are not told by modality all may be the image's.
    """
    prompt = json_text.count(fields.get("promptTokenCount"))
    candidates = json_text.count(fields.get("candidatesTokenCount"))
    total = json_text.count(fields.get("totalTokenCount"))
    if prompt is None and candidates is None and total is None:
        return None
    thoughts = json_text.count(fields.get("thoughtsTokenCount")) or 0
    tool_results = json_text.count(fields.get("toolUsePromptTokenCount")) or 0
    if prompt is None:
        # With a total alone, as of an embedding, all of it is input.
        prompt = max((total or 0) - (candidates or 0) - thoughts - tool_results, 0)
    output = _output(candidates or 0, thoughts=thoughts, left=None if total is None else total - prompt - tool_results)
    input_tokens = prompt + tool_results
    read, generated = _by_modality(fields, *_INPUT_DETAILS), _by_modality(fields, *_OUTPUT_DETAILS)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output,
        cached_input_tokens=min(json_text.count(fields.get("cachedContentTokenCount")) or 0, input_tokens),
        audio_input_tokens=min(read["AUDIO"], input_tokens),
        audio_output_tokens=min(generated["AUDIO"], output),
        reasoning_tokens=min(thoughts, output),
        service_tier=_tier(fields),
        image_input_tokens=min(read["IMAGE"], input_tokens),
        image_output_tokens=min(generated["IMAGE"] if generated or not pictured else candidates or 0, output),
    )


def _output(candidates: int, *, thoughts: int, left: int | None) -> int:
    """Every generated token. ``left`` is what the total leaves beside the input; None for no total."""
    if left is not None and left == candidates and thoughts <= candidates:
        return candidates
    return max(candidates + thoughts, left or 0)


def _by_modality(fields: Mapping[str, object], *keys: str) -> Counter[str]:
    """How many tokens there are of each modality in these details."""
    counted: Counter[str] = Counter()
    for each in map(camel, (detail for key in keys for detail in elements(fields.get(key)))):
        counted[json_text.text(each.get("modality"))] += json_text.count(each.get("tokenCount")) or 0
    return counted


def _tier(fields: Mapping[str, object]) -> str:
    """Vertex's traffic type, or the Gemini API's service tier."""
    tier = json_text.name(fields.get("trafficType")) or json_text.name(fields.get("serviceTier"))
    return "" if tier.lower() in _ORDINARY else tier
