from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash.prices import ModelPrice, ceiling, cost, parse_table
from leash.usage import Usage

RATES = (
    "input_cost_per_token",
    "output_cost_per_token",
    "output_cost_per_reasoning_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
    "input_cost_per_audio_token",
    "output_cost_per_audio_token",
    "input_cost_per_image_token",
    "output_cost_per_image_token",
)
SUFFIXES = (
    "",
    "_above_128k_tokens",
    "_above_200k_tokens",
    "_priority",
    "_flex",
    "_batches",
    "_above_200k_tokens_priority",
    "_above_128k_tokens_flex",
)
per_token = st.integers(min_value=0, max_value=10**14).map(lambda attodollars: attodollars * 1e-18)


@st.composite
def prices(draw: st.DrawFn) -> ModelPrice:
    keys = draw(st.dictionaries(st.tuples(st.sampled_from(RATES), st.sampled_from(SUFFIXES)).map("".join), per_token))
    required = draw(st.fixed_dictionaries(dict.fromkeys(RATES[:2], per_token)))
    # Free tokens beside a price by the query would not be priced at all, which is another test's matter.
    entry: dict[str, Any] = {**keys, **required, "litellm_provider": "x"}
    price = parse_table(json.dumps({"m": entry}).encode()).get("m")
    assert price is not None
    return price


@st.composite
def calls(draw: st.DrawFn) -> tuple[int, int, int, str, Usage]:
    """Bounds and a requested tier, and a usage within them whose tier the provider may answer with."""
    input_bound = draw(st.integers(min_value=0, max_value=400_000))
    output_bound = draw(st.integers(min_value=0, max_value=100_000))
    choices = draw(st.integers(min_value=1, max_value=4))
    input_tokens = draw(st.integers(min_value=0, max_value=input_bound))
    output_tokens = draw(st.integers(min_value=0, max_value=output_bound * choices))
    in_cache = [draw(st.integers(min_value=0, max_value=input_tokens)) for _ in range(4)]
    while sum(in_cache) > input_tokens:
        in_cache = [each // 2 for each in in_cache]
    audio_input = draw(st.integers(min_value=0, max_value=input_tokens))
    reasoning = draw(st.integers(min_value=0, max_value=output_tokens))
    audio_output = draw(st.integers(min_value=0, max_value=output_tokens - reasoning))
    requested = draw(st.sampled_from(["", "auto", "default", "priority", "flex", "batch", "fast", "unlisted"]))
    anything = ["", "default", "priority", "flex", "batch", "unlisted"]
    answered = draw(st.sampled_from(anything if requested in {"", "auto", "unlisted"} else ["", "default", requested]))
    usage = Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=in_cache[0],
        cache_write_tokens=in_cache[1],
        cache_write_5m_tokens=in_cache[2],
        cache_write_1h_tokens=in_cache[3],
        audio_input_tokens=audio_input,
        image_input_tokens=draw(st.integers(min_value=0, max_value=input_tokens - audio_input)),
        reasoning_tokens=reasoning,
        audio_output_tokens=audio_output,
        image_output_tokens=draw(st.integers(min_value=0, max_value=output_tokens - reasoning - audio_output)),
        service_tier=answered,
    )
    return input_bound, output_bound, choices, requested, usage


@given(prices(), calls())
def test_no_call_within_its_bounds_costs_more_than_its_ceiling(
    price: ModelPrice, call: tuple[int, int, int, str, Usage]
) -> None:
    input_bound, output_bound, choices, requested, usage = call
    most = ceiling(
        price,
        input_bound_tokens=input_bound,
        output_bound_tokens=output_bound,
        choices=choices,
        service_tier=requested,
    )
    assert most is not None
    assert cost(price, usage).total_nanodollars <= most


OWN_RATES = ("input", "output", "reasoning", "cached_input", "cache_write", "cache_write_5m", "cache_write_1h")
per_million = st.integers(min_value=0, max_value=200 * 10**6).map(lambda units: Decimal(units).scaleb(-6))
OTHER_RATES = ("audio_input", "audio_output", "image_input", "image_output")
own_rates = st.dictionaries(st.sampled_from((*OWN_RATES, *OTHER_RATES)), per_million, max_size=4)
own_schedules = st.builds(
    lambda rates, above: {**rates, "above": above} if above else rates,
    own_rates,
    st.dictionaries(st.sampled_from(("1", "1000", "128000", "200000")), own_rates, max_size=3),
)


@st.composite
def own_prices(draw: st.DrawFn) -> ModelPrice:
    tiers = draw(st.dictionaries(st.sampled_from(("batch", "flex", "priority", "fast")), own_schedules, max_size=3))
    required = draw(st.fixed_dictionaries(dict.fromkeys(OWN_RATES[:2], per_million)))
    entry = {**draw(own_schedules), **required, "tiers": tiers}
    price = parse_table(json.dumps({"m": entry}, default=float).encode()).get("m")
    assert price is not None
    return price


@given(own_prices(), calls())
def test_no_call_costs_more_than_its_ceiling_at_any_length_of_input(
    price: ModelPrice, call: tuple[int, int, int, str, Usage]
) -> None:
    input_bound, output_bound, choices, requested, usage = call
    most_expensive = most(price, input_bound, output_bound, choices, requested)
    assert most_expensive is not None
    assert cost(price, usage).total_nanodollars <= most_expensive


@given(own_prices(), st.integers(min_value=0, max_value=400_000), st.integers(min_value=0, max_value=400_000))
def test_more_room_is_never_a_lower_ceiling(price: ModelPrice, one: int, other: int) -> None:
    less, more = (most(price, bound, 100) for bound in sorted((one, other)))
    assert less is not None
    assert more is not None
    assert less <= more


def price_of(**keys: Any) -> ModelPrice:
    price = parse_table(json.dumps({"m": keys}).encode()).get("m")
    assert price is not None
    return price


def most(
    price: ModelPrice, input_bound: int | None, output_bound: int | None, choices: int = 1, tier: str = ""
) -> int | None:
    return ceiling(
        price,
        input_bound_tokens=input_bound,
        output_bound_tokens=output_bound,
        choices=choices,
        service_tier=tier,
    )


def test_each_choice_may_use_the_whole_output() -> None:
    assert most(price_of(input=1, output=2), 100, 10, choices=3) == 100 * 1000 + 3 * 10 * 2000


def test_the_dearest_kind_of_token_counts() -> None:
    price = price_of(input=1, output=2, cache_write_1h=5, audio_output=7)
    assert most(price, 100, 10) == 100 * 5000 + 10 * 7000
    assert most(price_of(input=1, output=2, image_input=3, image_output=9), 100, 10) == 100 * 3000 + 10 * 9000


def test_the_models_own_sizes_stand_in_for_what_the_request_does_not_bound() -> None:
    price = price_of(input=1, output=2, context=1000, max_output=50)
    assert most(price, None, None) == 1000 * 1000 + 50 * 2000
    assert most(price, 5000, 60) == 1000 * 1000 + 60 * 2000
    assert most(price, 500, None) == 500 * 1000 + 50 * 2000


def test_each_prompt_of_a_request_has_the_window_to_itself() -> None:
    price = price_of(input=1, output=0, context=1000)
    bounds = {"output_bound_tokens": 0, "choices": 1, "service_tier": ""}
    by_prompts = {
        prompts: ceiling(price, input_bound_tokens=2500, prompts=prompts, **bounds)  # type: ignore[arg-type]
        for prompts in (0, 1, 2, 3)
    }
    assert by_prompts == {0: 1_000_000, 1: 1_000_000, 2: 2_000_000, 3: 2_500_000}
    assert ceiling(price, input_bound_tokens=None, prompts=3, **bounds) == 3_000_000  # type: ignore[arg-type]


@pytest.mark.parametrize(("input_bound", "output_bound"), [(None, 10), (10, None), (None, None)])
def test_without_a_bound_there_is_no_ceiling(input_bound: int | None, output_bound: int | None) -> None:
    assert most(price_of(input=1, output=2), input_bound, output_bound) is None


def test_what_costs_nothing_needs_no_bound() -> None:
    assert most(price_of(input=1, output=0), 10, None) == 10_000
    assert most(price_of(input=0, output=0), None, None) == 0


def test_a_request_that_names_no_tier_may_be_answered_in_the_dearest() -> None:
    price = price_of(input=1, output=1, tiers={"batch": {"input": 0.5}, "priority": {"input": 3}})
    by_tier = {
        tier: most(price, 10, 0, tier=tier)
        for tier in ("", "auto", "default", "standard_only", "flex", "batch", "priority", "unlisted")
    }
    assert by_tier == {
        "": 30_000,
        "auto": 30_000,
        "default": 10_000,
        "standard_only": 10_000,
        "flex": 10_000,
        "batch": 10_000,
        "priority": 30_000,
        "unlisted": 30_000,
    }


def test_a_longer_contexts_rate_counts_only_where_the_bound_reaches_it() -> None:
    price = price_of(
        litellm_provider="x",
        input_cost_per_token=1e-6,
        output_cost_per_token=1e-6,
        input_cost_per_token_above_200k_tokens=2e-6,
    )
    assert most(price, 200_000, 0) == 200_000 * 1000
    assert most(price, 200_001, 0) == 200_001 * 2000
    assert most(price, None, 0) is None


def test_a_shorter_contexts_rate_counts_where_it_is_dearer() -> None:
    price = price_of(
        litellm_provider="x",
        input_cost_per_token=3e-6,
        output_cost_per_token=1e-6,
        input_cost_per_token_above_128k_tokens=1e-6,
    )
    assert most(price, 200_000, 0) == 200_000 * 3000


def test_the_fast_tier_counts_only_where_it_is_asked_for() -> None:
    price = price_of(input=1, output=1, tiers={"fast": {"input": 9}, "priority": {"input": 2}})
    by_tier = {tier: most(price, 10, 0, tier=tier) for tier in ("", "auto", "fast", "priority", "unlisted")}
    assert by_tier == {"": 20_000, "auto": 20_000, "fast": 90_000, "priority": 20_000, "unlisted": 20_000}
    assert cost(price, Usage(input_tokens=10, service_tier="fast")).total_nanodollars == 90_000
    assert cost(price, Usage(input_tokens=10, service_tier="unlisted")).total_nanodollars == 20_000


def test_an_own_tables_longer_input_counts_only_where_the_bound_or_the_window_reaches_it() -> None:
    above = {"1000": {"input": 5}}
    assert most(price_of(input=1, output=1, above=above), 1000, 0) == 1000 * 1000
    assert most(price_of(input=1, output=1, above=above), 1001, 0) == 1001 * 5000
    assert most(price_of(input=1, output=1, above=above, context=2000), None, 0) == 2000 * 5000


def test_odd_bounds_are_taken_for_the_least() -> None:
    assert most(price_of(input=1, output=1), -5, -5, choices=0) == 0
    assert most(price_of(input=1, output=1), 0, 5, choices=0) == 5_000
