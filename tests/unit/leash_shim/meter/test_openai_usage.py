"""OpenAI's usage block and what compatible vendors make of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash.usage import Usage
from leash_shim.meter import RequestFacts
from leash_shim.meter.openai_usage import read_input_output, read_usage


def read(block: object, *, tier: object = None, **facts: Any) -> Usage | None:
    return read_usage(block, service_tier=tier, facts=RequestFacts(**facts))


def test_every_field_of_openai_is_read() -> None:
    block = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {
            "cached_tokens": 40,
            "audio_tokens": 7,
            "cache_write_tokens": 9,
            "image_tokens": 8,
            "text_tokens": 85,
        },
        "completion_tokens_details": {
            "reasoning_tokens": 30,
            "audio_tokens": 5,
            "image_tokens": 6,
            "accepted_prediction_tokens": 1,
            "rejected_prediction_tokens": 2,
        },
    }
    assert read(block, tier="flex") == Usage(
        input_tokens=100,
        output_tokens=50,
        cached_input_tokens=40,
        cache_write_tokens=9,
        audio_input_tokens=7,
        audio_output_tokens=5,
        reasoning_tokens=30,
        service_tier="flex",
        image_input_tokens=8,
        image_output_tokens=6,
    )


def test_every_field_of_the_newer_endpoints_is_read() -> None:
    block = {
        "input_tokens": 100,
        "output_tokens": 50,
        "total_tokens": 150,
        "input_tokens_details": {
            "cached_tokens": 40,
            "audio_tokens": 7,
            "image_tokens": 8,
            "cache_write_tokens": 30,
            "cache_write_tokens_details": {"ttl_30m_tokens": 18, "ttl_12h_tokens": 12},
        },
        "output_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 5, "image_tokens": 6},
    }
    assert read_input_output(block, service_tier="priority") == Usage(
        input_tokens=100,
        output_tokens=50,
        cached_input_tokens=40,
        cache_write_tokens=18,
        cache_write_1h_tokens=12,
        audio_input_tokens=7,
        audio_output_tokens=5,
        reasoning_tokens=30,
        service_tier="priority",
        image_input_tokens=8,
        image_output_tokens=6,
    )


@pytest.mark.parametrize(
    ("details", "written", "longest"),
    [
        ({"cache_write_tokens": 30}, 30, 0),
        ({"cache_write_tokens": 30, "cache_write_tokens_details": None}, 30, 0),
        ({"cache_write_tokens": 30, "cache_write_tokens_details": {"ttl_30m_tokens": 30}}, 30, 0),
        ({"cache_write_tokens": 30, "cache_write_tokens_details": {"ttl_12h_tokens": 30}}, 0, 30),
        # More than was written, or than was read: neither is counted twice.
        ({"cache_write_tokens": 30, "cache_write_tokens_details": {"ttl_12h_tokens": 40}}, 0, 40),
        ({"cache_write_tokens_details": {"ttl_12h_tokens": 40}}, 0, 40),
        ({"cache_write_tokens": 500, "cache_write_tokens_details": {"ttl_12h_tokens": 40}}, 60, 40),
        ({"cache_write_tokens": 500, "cache_write_tokens_details": {"ttl_12h_tokens": 400}}, 0, 100),
    ],
)
def test_what_was_written_for_longest_stands_apart(details: dict[str, object], written: int, longest: int) -> None:
    newer = read_input_output({"input_tokens": 100, "output_tokens": 1, "input_tokens_details": details})
    chat = read({"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": details})
    for usage in (newer, chat):
        assert usage is not None
        assert (usage.cache_write_tokens, usage.cache_write_1h_tokens) == (written, longest)


@pytest.mark.parametrize(
    "block",
    [
        None,
        {},
        [],
        7,
        "usage",
        {"total_tokens": 7},
        {"input_tokens": 7, "output_tokens": 7},
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": True, "completion_tokens": False},
        {"prompt_tokens": -1, "completion_tokens": 1.0},
        {"prompt_tokens": math.nan, "completion_tokens": math.inf},
        {"prompt_tokens": "12", "completion_tokens": 2**53 + 1},
        {"prompt_tokens_details": {"cached_tokens": 3}},
    ],
)
def test_absent_is_not_zero(block: object) -> None:
    assert read(block) is None


def test_zero_is_zero() -> None:
    assert read({"prompt_tokens": 0, "completion_tokens": 0}) == Usage()


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        # Only one of the two.
        ({"prompt_tokens": 5}, Usage(input_tokens=5)),
        ({"prompt_tokens": 5, "total_tokens": 9}, Usage(input_tokens=5, output_tokens=4)),
        ({"completion_tokens": 4}, Usage(output_tokens=4)),
        ({"completion_tokens": 4, "total_tokens": 9}, Usage(input_tokens=5, output_tokens=4)),
        ({"completion_tokens": 4, "total_tokens": 1}, Usage(output_tokens=4)),
        # Reasoning beside the completion: xAI, and Gemini's compatible endpoint, which only shows it in the total.
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 4,
                "total_tokens": 314,
                "completion_tokens_details": {"reasoning_tokens": 300},
            },
            Usage(input_tokens=10, output_tokens=304, reasoning_tokens=300),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 300}},
            Usage(input_tokens=10, output_tokens=304, reasoning_tokens=300),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 100}, Usage(input_tokens=10, output_tokens=90)),
        # A total that is too small says nothing.
        ({"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 0}, Usage(input_tokens=10, output_tokens=4)),
        # Cache hits of DeepSeek and Moonshot, cache writes of LiteLLM.
        (
            {"prompt_tokens": 10, "completion_tokens": 4, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2},
            Usage(input_tokens=10, output_tokens=4, cached_input_tokens=8),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 4, "cached_tokens": 8},
            Usage(input_tokens=10, output_tokens=4, cached_input_tokens=8),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cache_creation_tokens": 6}},
            Usage(input_tokens=10, output_tokens=4, cache_write_tokens=6),
        ),
        # What Perplexity read stands beside the prompt, and is not in the total; nor is reasoning.
        (
            {
                "prompt_tokens": 33,
                "completion_tokens": 7_000,
                "total_tokens": 7_033,
                "citation_tokens": 19_000,
                "reasoning_tokens": 74_000,
                "num_search_queries": 21,
            },
            Usage(input_tokens=19_033, output_tokens=81_000, reasoning_tokens=74_000, web_search_requests=21),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "citation_tokens": None},
            Usage(input_tokens=10, output_tokens=4),
        ),
        # A total that has them does not make them output as well.
        (
            {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 114, "citation_tokens": 100},
            Usage(input_tokens=110, output_tokens=4),
        ),
        # Odd details are as if absent.
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 4,
                "prompt_tokens_details": None,
                "completion_tokens_details": 7,
            },
            Usage(input_tokens=10, output_tokens=4),
        ),
        # Searches of Perplexity and OpenRouter.
        (
            {"prompt_tokens": 1, "completion_tokens": 1, "num_search_queries": 3},
            Usage(input_tokens=1, output_tokens=1, web_search_requests=3),
        ),
        (
            {"prompt_tokens": 1, "completion_tokens": 1, "server_tool_use": {"web_search_requests": 2}},
            Usage(input_tokens=1, output_tokens=1, web_search_requests=2),
        ),
    ],
)
def test_what_vendors_do_otherwise(block: dict[str, object], expected: Usage) -> None:
    assert read(block) == expected


def test_server_tools_whose_requests_are_not_on_the_wire_are_not_forgotten() -> None:
    block = {"prompt_tokens": 1, "completion_tokens": 1}
    searched = read(block, server_tools=True, web_search=True)
    other = read(block, server_tools=True, other_tools=True)
    both = read(block, server_tools=True, web_search=True, other_tools=True)
    reported = read({**block, "num_search_queries": 0}, server_tools=True, other_tools=True)
    assert searched is not None
    assert other is not None
    assert both is not None
    assert (both.web_search_requests, both.other_tool_requests) == (1, 1)
    assert reported is not None
    assert (searched.web_search_requests, searched.other_tool_requests) == (1, 0)
    assert (other.web_search_requests, other.other_tool_requests) == (0, 1)
    assert (reported.web_search_requests, reported.other_tool_requests) == (0, 0)


NUMBERS = st.none() | st.booleans() | st.integers(-5, 200) | st.integers() | st.floats() | st.text(max_size=2)
DETAILS = st.dictionaries(
    st.sampled_from(["cached_tokens", "audio_tokens", "image_tokens", "reasoning_tokens", "cache_write_tokens"]),
    NUMBERS,
)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": NUMBERS,
            "completion_tokens": NUMBERS,
            "total_tokens": NUMBERS,
            "citation_tokens": NUMBERS,
            "prompt_tokens_details": DETAILS | NUMBERS,
            "completion_tokens_details": DETAILS | NUMBERS,
        },
    ),
    NUMBERS,
)
def test_parts_never_exceed_their_whole(block: dict[str, object], tier: object) -> None:
    usage = read(block, tier=tier)
    if usage is None:
        return
    assert 0 <= usage.cached_input_tokens <= usage.input_tokens <= 2**54
    assert 0 <= usage.cache_write_tokens <= usage.input_tokens
    assert 0 <= usage.audio_input_tokens <= usage.input_tokens
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens <= 2**54
    assert 0 <= usage.audio_output_tokens <= usage.output_tokens
    assert 0 <= usage.image_input_tokens <= usage.input_tokens
    assert 0 <= usage.image_output_tokens <= usage.output_tokens
