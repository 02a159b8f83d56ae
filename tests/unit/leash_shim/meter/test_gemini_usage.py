"""What Gemini's ``usageMetadata`` comes to."""

from __future__ import annotations

from typing import Any

import pytest

from leash.usage import Usage
from leash_shim.meter.gemini_usage import read_usage


def usage_of(prompt: Any = None, candidates: Any = None, total: Any = None, **fields: Any) -> Usage | None:
    told = {"promptTokenCount": prompt, "candidatesTokenCount": candidates, "totalTokenCount": total} | fields
    return read_usage({name: value for name, value in told.items() if value is not None})


@pytest.mark.parametrize(
    "fields", [{}, {"trafficType": "ON_DEMAND"}, {"thoughtsTokenCount": 5}, {"promptTokenCount": "9"}]
)
def test_a_block_without_counts_is_none(fields: dict[str, Any]) -> None:
    assert read_usage(fields) is None


@pytest.mark.parametrize("name", ["promptTokenCount", "candidatesTokenCount", "totalTokenCount"])
def test_one_count_is_a_usage_even_where_it_is_zero(name: str) -> None:
    assert read_usage({name: 0}) == Usage()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        # Prompt, candidates, thoughts, results of tools, total; then input and output.
        # The total has the thoughts beside the candidates.
        ((100, 20, 30, None, 150), (100, 50)),
        # The total has them within.
        ((100, 50, 30, None, 150), (100, 50)),
        ((100, 50, 50, None, 150), (100, 50)),
        # There is no total, so that they are taken to stand beside.
        ((100, 20, 30, None, None), (100, 50)),
        # More thoughts than candidates cannot be within, whatever the total says.
        ((100, 20, 30, None, 120), (100, 50)),
        ((100, 20, None, None, 120), (100, 20)),
        # The results of tools are a part of the total, beside the prompt.
        ((100, 20, 30, 400, 550), (500, 50)),
        ((100, 50, 30, 400, 550), (500, 50)),
        # A total without them.
        ((100, 20, 30, 400, 150), (500, 50)),
        # What a total has beyond everything that is told was generated.
        ((100, 20, 30, None, 190), (100, 90)),
        ((100, None, None, None, 190), (100, 90)),
        ((100, None, 30, None, 130), (100, 30)),
        # What a total has beyond what was generated was the prompt.
        ((None, 20, 30, None, 150), (100, 50)),
        ((None, None, None, None, 8), (8, 0)),
        ((None, 20, None, None, None), (0, 20)),
        ((9, None, None, None, None), (9, 0)),
    ],
)
def test_thoughts_are_output_once(told: tuple[int | None, ...], expected: tuple[int, int]) -> None:
    prompt, candidates, thoughts, tool_results, total = told
    found = usage_of(prompt, candidates, total, thoughtsTokenCount=thoughts, toolUsePromptTokenCount=tool_results)
    assert found is not None
    assert (found.input_tokens, found.output_tokens) == expected
    assert found.reasoning_tokens == (thoughts or 0)


def test_parts_are_no_more_than_their_whole() -> None:
    found = usage_of(
        10,
        5,
        15,
        cachedContentTokenCount=99,
        thoughtsTokenCount=0,
        promptTokensDetails=[{"modality": "AUDIO", "tokenCount": 99}],
        candidatesTokensDetails=[{"modality": "AUDIO", "tokenCount": 99}],
    )
    assert found == Usage(
        input_tokens=10, output_tokens=5, cached_input_tokens=10, audio_input_tokens=10, audio_output_tokens=5
    )


def test_what_a_tool_gave_may_be_sound_and_pictures() -> None:
    found = usage_of(
        10,
        5,
        toolUsePromptTokenCount=90,
        promptTokensDetails=[{"modality": "AUDIO", "tokenCount": 4}, {"modality": "TEXT", "tokenCount": 6}],
        toolUsePromptTokensDetails=[{"modality": "AUDIO", "tokenCount": 30}, {"modality": "IMAGE", "tokenCount": 40}],
    )
    assert found == Usage(input_tokens=100, output_tokens=5, audio_input_tokens=34, image_input_tokens=40)


@pytest.mark.parametrize("details", [None, {}, "AUDIO", [None], [{}], [{"modality": ["AUDIO"], "tokenCount": 5}]])
def test_details_that_tell_nothing_are_none(details: object) -> None:
    assert usage_of(10, 5, promptTokensDetails=details) == Usage(input_tokens=10, output_tokens=5)


@pytest.mark.parametrize(
    ("fields", "tier"),
    [
        ({"trafficType": "ON_DEMAND_FLEX"}, "ON_DEMAND_FLEX"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, "PROVISIONED_THROUGHPUT"),
        ({"trafficType": "TRAFFIC_TYPE_UNSPECIFIED"}, ""),
        ({"serviceTier": "priority"}, "priority"),
        ({"serviceTier": "unspecified"}, ""),
        ({"serviceTier": None}, ""),
        ({"serviceTier": ["flex"]}, ""),
    ],
)
def test_the_tier(fields: dict[str, Any], tier: str) -> None:
    assert usage_of(1, **fields) == Usage(input_tokens=1, service_tier=tier)
