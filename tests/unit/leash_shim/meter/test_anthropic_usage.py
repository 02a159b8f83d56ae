"""What the usage blocks of Anthropic's messages come to."""

from __future__ import annotations

from typing import Any

import pytest

from leash.usage import Usage
from leash_shim.meter.anthropic_usage import AnthropicUsage

MODELS = ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929")


def total(*blocks: Any, executed: bool = False) -> Usage | None:
    usage = AnthropicUsage()
    for block in blocks:
        usage.add(block, models=MODELS)
    return usage.total(executed=executed)


def iterations(*told: dict[str, Any], **block: Any) -> dict[str, Any]:
    return {"input_tokens": 0, "output_tokens": 0, "iterations": list(told)} | block


def test_what_was_read_from_the_cache_and_written_to_it_is_input() -> None:
    block = {
        "input_tokens": 50,
        "cache_read_input_tokens": 2_000,
        "cache_creation_input_tokens": 900,
        "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 300},
        "output_tokens": 7,
    }
    # 100 of the 900 that were written are told without their time to live.
    assert total(block) == Usage(
        input_tokens=2_950,
        output_tokens=7,
        cached_input_tokens=2_000,
        cache_write_tokens=100,
        cache_write_5m_tokens=500,
        cache_write_1h_tokens=300,
    )


def test_times_to_live_alone_are_what_was_written() -> None:
    block = {"input_tokens": 1, "output_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 300}}
    assert total(block) == Usage(input_tokens=301, output_tokens=1, cache_write_1h_tokens=300)


@pytest.mark.parametrize("block", [None, {}, [], "x", {"service_tier": "standard"}, {"input_tokens": None}])
def test_a_block_without_counts_is_none(block: object) -> None:
    assert total(block) is None


@pytest.mark.parametrize(
    "name", ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]
)
def test_one_count_is_a_usage_even_where_it_is_zero(name: str) -> None:
    assert total({name: 0}) == Usage()


def test_a_later_count_stands_in_an_earlier_ones_place() -> None:
    begun = {"input_tokens": 100, "cache_read_input_tokens": 30, "output_tokens": 1}
    assert total(begun, {"input_tokens": 900, "output_tokens": 40}) == Usage(
        input_tokens=930, output_tokens=40, cached_input_tokens=30
    )
    assert total(begun, {"output_tokens": 40}, {"output_tokens": 60}) == Usage(
        input_tokens=130, output_tokens=60, cached_input_tokens=30
    )


def test_a_prompt_that_turns_out_to_be_cached_is_not_counted_twice() -> None:
    told = {"input_tokens": 0, "cache_read_input_tokens": 100, "output_tokens": 9}
    assert total({"input_tokens": 100, "output_tokens": 0}, told) == Usage(
        input_tokens=100, output_tokens=9, cached_input_tokens=100
    )


@pytest.mark.parametrize("nothing", [0, None, -1, "900", 1.5, True, 2**60])
def test_what_is_no_count_undoes_nothing(nothing: object) -> None:
    later = {"input_tokens": nothing, "cache_read_input_tokens": 0, "output_tokens": nothing}
    assert total({"input_tokens": 100, "output_tokens": 5}, later) == Usage(input_tokens=100, output_tokens=5)


def test_thinking_is_a_part_of_the_output_and_never_more() -> None:
    block = {"input_tokens": 1, "output_tokens": 10, "output_tokens_details": {"thinking_tokens": 12}}
    assert total(block) == Usage(input_tokens=1, output_tokens=10, reasoning_tokens=10)


def test_the_tier_is_kept_and_fast_is_one() -> None:
    assert total({"input_tokens": 1, "service_tier": "priority"}, {"output_tokens": 1}) == Usage(
        input_tokens=1, output_tokens=1, service_tier="priority"
    )
    assert total({"input_tokens": 1, "service_tier": "priority", "speed": "fast"}) == Usage(
        input_tokens=1, service_tier="fast"
    )


def test_code_that_was_run_is_another_tool() -> None:
    assert total({"input_tokens": 1}, executed=True) == Usage(input_tokens=1, other_tool_requests=1)


def test_a_block_that_has_more_than_its_iterations_stands() -> None:
    told = iterations({"type": "message", "input_tokens": 3, "output_tokens": 4}, input_tokens=10, output_tokens=20)
    assert total(told) == Usage(input_tokens=10, output_tokens=20)


def test_iterations_that_come_to_more_than_their_block_stand() -> None:
    first = {"type": "message", "input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 5}
    second = {"type": "message", "input_tokens": 30, "output_tokens": 40, "cache_read_input_tokens": 6}
    assert total(iterations(first, second, input_tokens=10, output_tokens=60)) == Usage(
        input_tokens=51, output_tokens=60, cached_input_tokens=11
    )


def test_iterations_that_are_told_again_are_not_added_up() -> None:
    compaction = {"type": "compaction", "input_tokens": 100, "output_tokens": 10}
    told = iterations(compaction, input_tokens=1, output_tokens=2)
    assert total(told, told, {"output_tokens": 2, "iterations": []}) == Usage(input_tokens=101, output_tokens=12)


@pytest.mark.parametrize(
    ("fields", "foreign"),
    [
        ({"type": "message", "model": MODELS[0]}, 0),
        ({"type": "message", "model": MODELS[1]}, 0),
        ({"type": "message", "model": None}, 0),
        ({"type": "compaction"}, 0),
        ({"type": "message", "model": "claude-opus-4-8"}, 1),
        ({"type": "advisor_message", "model": "claude-opus-4-8"}, 1),
        ({"type": "message", "model": ["claude-opus-4-8"]}, 1),
        ({"type": "fallback_message", "model": MODELS[0]}, 1),
    ],
)
def test_what_another_model_did_is_another_tool(fields: dict[str, Any], foreign: int) -> None:
    assert total(iterations({"input_tokens": 5, "output_tokens": 6} | fields)) == Usage(
        input_tokens=5, output_tokens=6, other_tool_requests=foreign
    )


def test_no_sum_outgrows_what_is_stored() -> None:
    largest = {"type": "compaction", "input_tokens": 2**53, "cache_read_input_tokens": 2**53, "output_tokens": 2**53}
    found = total(iterations(*[largest] * 2_000))
    assert found is not None
    assert found.input_tokens == 2 * 2**53
    assert found.output_tokens == 2**53
