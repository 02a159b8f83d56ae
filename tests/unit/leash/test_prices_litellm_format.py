from __future__ import annotations

import json
from typing import Any

import pytest

from leash.prices import ModelPrice, PriceError, cost, parse_table
from leash.usage import Usage

# An entry that is always priced, so that a table with another that is not still has one.
ANCHOR = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "litellm_provider": "openai", "mode": "chat"}


def price_of(**keys: Any) -> ModelPrice | None:
    return parse_table(json.dumps({"anchor": ANCHOR, "m": keys}).encode()).get("m")


def priced(**keys: Any) -> ModelPrice:
    price = price_of(**keys)
    assert price is not None
    return price


def nano(nanodollars: float) -> int:
    """A rate in nanodollars a token, as the attodollars that rates are kept in."""
    return round(nanodollars * 10**9)


def test_an_ordinary_entry() -> None:
    price = priced(
        input_cost_per_token=2.5e-06,
        output_cost_per_token=1e-05,
        cache_read_input_token_cost=1.25e-06,
        input_cost_per_audio_token=4e-05,
        output_cost_per_audio_token=8e-05,
        output_cost_per_reasoning_token=9e-06,
        max_input_tokens=128000,
        max_output_tokens=16384,
        max_tokens=16384,
        litellm_provider="openai",
        mode="chat",
        supports_vision=True,
        source="https://example.org",
        supported_endpoints=["/v1/chat/completions"],
    )
    rates = price.rates("", 1000)
    assert (rates.input, rates.output, rates.reasoning) == (nano(2500), nano(10000), nano(9000))
    assert (rates.cached_input, rates.audio_input, rates.audio_output) == (nano(1250), nano(40000), nano(80000))
    assert (price.context_tokens, price.max_output_tokens) == (128000, 16384)
    assert price.web_search_nanodollars is None


def test_cache_writes_and_a_longer_context_with_their_stacked_suffixes() -> None:
    price = priced(
        input_cost_per_token=3e-06,
        output_cost_per_token=1.5e-05,
        cache_creation_input_token_cost=3.75e-06,
        cache_creation_input_token_cost_above_1hr=6e-06,
        cache_read_input_token_cost=3e-07,
        input_cost_per_token_above_200k_tokens=6e-06,
        output_cost_per_token_above_200k_tokens=2.25e-05,
        cache_creation_input_token_cost_above_200k_tokens=7.5e-06,
        cache_creation_input_token_cost_above_1hr_above_200k_tokens=1.2e-05,
        cache_read_input_token_cost_above_200k_tokens=6e-07,
        max_input_tokens=200000,
        litellm_provider="anthropic",
    )
    short, long = price.rates("", 200_000), price.rates("", 200_001)
    assert (short.input, short.cache_write_5m, short.cache_write_1h) == (nano(3000), nano(3750), nano(6000))
    assert (long.input, long.output, long.cached_input) == (nano(6000), nano(22500), nano(600))
    assert (long.cache_write_5m, long.cache_write_1h) == (nano(7500), nano(12000))
    # A price beyond the stated window says that the window is no bound.
    assert price.context_tokens is None


def test_the_whole_call_is_priced_at_the_longer_contexts_rate() -> None:
    price = priced(**ANCHOR, input_cost_per_token_above_128k_tokens=3e-6, output_cost_per_token_above_128k_tokens=5e-6)
    assert cost(price, Usage(input_tokens=128_000, output_tokens=1)).total_nanodollars == 128_000 * 1000 + 2000
    assert cost(price, Usage(input_tokens=128_001, output_tokens=1)).total_nanodollars == 128_001 * 3000 + 5000


def test_several_context_lengths_and_thresholds_without_the_k() -> None:
    price = priced(
        **ANCHOR,
        input_cost_per_token_above_200k_tokens=3e-6,
        input_cost_per_token_above_500_tokens=2e-6,
        output_cost_per_token_above_500_tokens=4e-6,
    )
    assert [price.rates("", tokens).input for tokens in (500, 501, 200_001)] == [nano(1000), nano(2000), nano(3000)]
    assert price.rates("", 200_001).output == nano(4000)


def test_xai_bills_the_longer_context_from_the_threshold_itself() -> None:
    keys = {**ANCHOR, "input_cost_per_token_above_128k_tokens": 2e-6}
    assert priced(**{**keys, "litellm_provider": "xai"}).rates("", 128_000).input == nano(2000)
    assert priced(**keys).rates("", 128_000).input == nano(1000)


def test_service_tiers_compose_with_context_lengths_in_either_order() -> None:
    price = priced(
        **ANCHOR,
        input_cost_per_token_priority=2e-6,
        input_cost_per_token_flex=0.5e-6,
        input_cost_per_token_batches=0.4e-6,
        output_cost_per_token_batches=1e-6,
        input_cost_per_token_above_200k_tokens=4e-6,
        input_cost_per_token_above_200k_tokens_priority=8e-6,
        output_cost_per_token_priority_above_200k_tokens=9e-6,
    )
    assert price.rates("priority", 1).input == nano(2000)
    assert price.rates("PRIORITY", 1).input == nano(2000)
    assert price.rates("ON_DEMAND_PRIORITY", 1).input == nano(2000)
    assert price.rates("flex", 1).input == nano(500)
    assert price.rates("batch", 1)[:2] == (nano(400), nano(1000))
    assert price.rates("priority", 200_001)[:2] == (nano(8000), nano(9000))
    # Flex has no rate of its own for the longer context, and so has the dearer of what it comes from.
    assert price.rates("flex", 200_001).input == nano(4000)
    for ordinary in ("", "default", "standard", "auto", "standard_only", "on_demand"):
        assert price.rates(ordinary, 1).input == nano(1000)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("input_cost_per_token", "input"),
        ("output_cost_per_token", "output"),
        ("output_cost_per_reasoning_token", "reasoning"),
        ("cache_read_input_token_cost", "cached_input"),
        ("cache_creation_input_token_cost", "cache_write"),
        ("cache_creation_input_token_cost_above_1hr", "cache_write_1h"),
        ("cache_creation_input_token_cost_above_12hr", "cache_write_1h"),
        ("input_cost_per_audio_token", "audio_input"),
        ("output_cost_per_audio_token", "audio_output"),
        ("input_cost_per_image_token", "image_input"),
        ("output_cost_per_image_token", "image_output"),
    ],
)
@pytest.mark.parametrize(
    ("suffix", "tier", "length"),
    [
        ("", "", 1),
        ("_above_200k_tokens", "", 200_001),
        ("_above_272k_tokens", "", 272_001),
        ("_above_200_tokens", "", 201),
        ("_flex", "flex", 1),
        ("_priority", "priority", 1),
        ("_batches", "batch", 1),
        ("_ultrafast", "ultrafast", 1),
        ("_balanced", "balanced", 1),
        ("_fast", "fast", 1),
        ("_above_200k_tokens_priority", "priority", 200_001),
        ("_priority_above_200k_tokens", "priority", 200_001),
        ("_above_272k_tokens_batches", "batch", 272_001),
        ("_above_272k_tokens_flex", "flex", 272_001),
    ],
)
def test_every_rate_takes_every_suffix(key: str, kind: str, suffix: str, tier: str, length: int) -> None:
    price = priced(**{**ANCHOR, f"{key}{suffix}": 7e-6})
    assert getattr(price.rates(tier, length), kind) == nano(7000)
    if length > 1:
        assert getattr(price.rates(tier, length - 1), kind) != nano(7000)


def test_reasoning_that_costs_what_output_costs_follows_the_tier() -> None:
    price = priced(**ANCHOR, output_cost_per_reasoning_token=2e-6, output_cost_per_token_flex=1e-6)
    assert price.rates("flex", 1).reasoning == nano(1000)


def test_an_unlisted_tier_is_at_the_base_if_it_never_bills_more_and_else_the_dearest() -> None:
    price = priced(**ANCHOR, input_cost_per_token_priority=2e-6, output_cost_per_token_ultrafast=9e-6)
    assert price.rates("flex", 1)[:2] == (nano(1000), nano(2000))
    assert price.rates("scale", 1)[:2] == (nano(1000), nano(2000))
    assert price.rates("warp", 1)[:2] == (nano(2000), nano(9000))
    assert priced(**ANCHOR).rates("warp", 1)[:2] == (nano(1000), nano(2000))


def test_ranges_of_input_tokens_each_price_a_whole_call() -> None:
    price = priced(
        litellm_provider="dashscope",
        mode="chat",
        max_input_tokens=997952,
        tiered_pricing=[
            {"range": [32000.0, 128000.0], "input_cost_per_token": 1.8e-06, "output_cost_per_token": 9e-06},
            {
                "range": [0, 32000.0],
                "input_cost_per_token": 1e-06,
                "output_cost_per_token": 5e-06,
                "cache_read_input_token_cost": 1e-07,
            },
            {"range": [128000, 1e6], "input_cost_per_token": 3e-06, "output_cost_per_reasoning_token": 6e-5},
        ],
    )
    inputs = [price.rates("", tokens).input for tokens in (0, 32_000, 32_001, 128_001, 2_000_000)]
    assert inputs == [nano(1000), nano(1000), nano(1800), nano(3000), nano(3000)]
    assert price.rates("", 128_001).output == nano(9000)
    assert price.rates("", 128_001).reasoning == nano(60000)
    # Only the first range gives cached input; beyond it, where input is dearer, it is not known to stay cheap.
    assert price.rates("", 32_001).cached_input == nano(1800)


def test_the_lowest_range_reaches_down_to_nothing() -> None:
    ranges = [{"range": [1, 5], "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}]
    assert priced(litellm_provider="x", tiered_pricing=ranges).rates("", 0).input == nano(1000)


def test_ranges_of_something_else_price_no_tokens() -> None:
    assert (
        price_of(tiered_pricing=[{"max_results_range": [0, 25], "input_cost_per_query": 0.005}], mode="search") is None
    )


def test_floating_point_noise_is_rounded_up_to_an_attodollar() -> None:
    text = b"""{"m": {"input_cost_per_token": 3.0001999999999996e-07, "output_cost_per_token": 9.999990000000002e-06,
        "cache_read_input_token_cost": 1.0000000000000000001e-7, "litellm_provider": "databricks"}}"""
    price = parse_table(text).get("m")
    assert price is not None
    assert price.rates("", 1)[:2] == (300_020_000_000, 9_999_990_000_001)
    assert price.rates("", 1).cached_input == 100_000_000_001


@pytest.mark.parametrize(
    "keys",
    [
        {"output_cost_per_image": 0.04, "mode": "image_generation"},
        {"input_cost_per_second": 0.0001, "output_cost_per_second": 0, "mode": "audio_transcription"},
        {"input_cost_per_token": 1e-6, "mode": "chat"},
        {"output_cost_per_token": 1e-6, "mode": "chat"},
        {"input_cost_per_token": None, "output_cost_per_token": None},
        # Billed by the query: tokens at nothing are not what such a call costs.
        {"input_cost_per_query": 0.002, "input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "mode": "rerank"},
        {"mode": "chat"},
        {},
    ],
)
def test_an_entry_without_prices_for_tokens_is_not_priced(keys: dict[str, Any]) -> None:
    assert price_of(litellm_provider="x", **keys) is None


def test_a_free_model_is_priced_at_nothing() -> None:
    price = priced(input_cost_per_token=0, output_cost_per_token=0.0, input_cost_per_second=0, litellm_provider="x")
    assert cost(price, Usage(input_tokens=5, output_tokens=5)).total_nanodollars == 0


def test_an_embedding_model_needs_no_price_for_output() -> None:
    price = priced(input_cost_per_token=2e-8, max_tokens=8191, mode="embedding")
    assert price.rates("", 1)[:2] == (nano(20), 0)
    assert price.context_tokens == 8191


def test_the_longest_life_of_a_cache_entry_is_priced_with_the_next_one() -> None:
    writes = {"cache_creation_input_token_cost": 1.25e-6, "cache_creation_input_token_cost_above_12hr": 2.5e-6}
    rates = priced(**ANCHOR, **writes).rates("", 1)
    assert (rates.cache_write, rates.cache_write_5m, rates.cache_write_1h) == (nano(1250), nano(1250), nano(2500))
    assert priced(**ANCHOR, **writes, cache_creation_input_token_cost_above_1hr=2e-6).rates(
        "", 1
    ).cache_write_1h == nano(2500)
    assert priced(**ANCHOR, **writes, cache_creation_input_token_cost_above_1hr=3e-6).rates(
        "", 1
    ).cache_write_1h == nano(3000)


@pytest.mark.parametrize("mode", ["chat", "embedding", "image_generation", "realtime"])
@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("input_cost_per_video_token", "input"),
        ("citation_cost_per_token", "input"),
        ("output_cost_per_video_token", "output"),
        ("cache_read_input_image_token_cost", "cached_input"),
    ],
)
def test_tokens_that_are_counted_with_text_bill_at_the_dearer_of_the_two(mode: str, key: str, kind: str) -> None:
    entry = {**ANCHOR, "cache_read_input_token_cost": 1e-7, "mode": mode}
    text = getattr(priced(**entry).rates("", 1), kind)
    assert getattr(priced(**entry, **{key: 5e-6}).rates("", 1), kind) == nano(5000)
    assert getattr(priced(**entry, **{key: 1e-8}).rates("", 1), kind) == text


def test_the_dearer_tokens_keep_their_rate_in_a_tier_that_discounts_text_alone() -> None:
    keys = {**ANCHOR, "output_cost_per_video_token": 3e-5, "output_cost_per_token_batches": 1e-6}
    assert priced(**keys).rates("batch", 1).output == nano(30000)
    assert priced(**keys, output_cost_per_video_token_batches=1.5e-5).rates("batch", 1).output == nano(15000)
    # What costs the same as text follows it into the tier.
    same = {**ANCHOR, "input_cost_per_video_token": 1e-6, "input_cost_per_token_batches": 0.5e-6}
    assert priced(**same).rates("batch", 1).input == nano(500)


def test_the_dearer_tokens_leave_other_rates_as_they_are() -> None:
    keys = {"cache_read_input_token_cost": 1e-7, "input_cost_per_token_above_200k_tokens": 2e-6}
    rates = priced(**ANCHOR, **keys, output_cost_per_video_token=3e-5)
    assert rates.rates("", 1)[:2] == (nano(1000), nano(30000))
    assert rates.rates("", 1).image_input == nano(1000)
    assert rates.rates("", 1).cached_input == nano(100)
    assert rates.rates("", 200_001).input == nano(2000)


def test_an_image_model_has_prices_for_text_and_images_each_way() -> None:
    price = priced(
        input_cost_per_token=5e-6,
        input_cost_per_image_token=8e-6,
        output_cost_per_token=1e-5,
        output_cost_per_image_token=3.2e-5,
        mode="image_generation",
    )
    rates = price.rates("", 1)
    assert (rates.input, rates.image_input) == (nano(5000), nano(8000))
    assert (rates.output, rates.image_output) == (nano(10000), nano(32000))


def test_an_image_model_needs_no_price_for_text() -> None:
    price = priced(
        input_cost_per_image_token=8e-6,
        input_cost_per_image_token_batches=4e-6,
        output_cost_per_image_token=4.7e-5,
        output_cost_per_image_token_above_200k_tokens=5e-5,
        mode="image_generation",
    )
    assert price.rates("", 1)[:2] == (nano(8000), nano(47000))
    assert price.rates("batch", 1)[:2] == (nano(4000), nano(47000))
    assert price.rates("", 200_001)[:2] == (nano(8000), nano(50000))
    assert [price.rates(tier, 1).image_input for tier in ("", "batch")] == [nano(8000), nano(4000)]
    # A price for text, where one is given, is nobody else's.
    half = priced(input_cost_per_token=5e-6, output_cost_per_image_token=4.7e-5, mode="image_generation").rates("", 1)
    assert (half.input, half.image_input) == (nano(5000), nano(5000))
    assert (half.output, half.image_output) == (nano(47000), nano(47000))


def test_images_keep_their_rate_in_a_tier_that_discounts_text_alone() -> None:
    price = priced(**ANCHOR, output_cost_per_image_token=3e-5, output_cost_per_token_batches=1e-6)
    assert (price.rates("batch", 1).output, price.rates("batch", 1).image_output) == (nano(1000), nano(30000))
    same = priced(**ANCHOR, input_cost_per_image_token=1e-6, input_cost_per_token_batches=0.5e-6)
    assert same.rates("batch", 1).image_input == nano(500)


def test_fast_mode_multiplies_every_rate_at_every_length() -> None:
    keys = {
        "cache_read_input_token_cost": 1e-7,
        "input_cost_per_token_above_200k_tokens": 3e-6,
        "provider_specific_entry": {"fast": 2.5, "us": 1.1},
    }
    price = priced(**ANCHOR, **keys)
    assert price.rates("fast", 1)[:2] == (nano(2500), nano(5000))
    assert price.rates("fast", 1).cached_input == nano(250)
    assert price.rates("fast", 200_001).input == nano(7500)
    assert price.rates("", 1).input == nano(1000)
    # Fast is no service tier: neither a call in a tier that is not listed nor one that names none is billed by it.
    assert price.rates("warp", 1).input == nano(1000)
    assert price.possible_rates("", 1).input == nano(1000)
    assert price.possible_rates("fast", 1).input == nano(2500)


def test_a_fast_rate_of_its_own_stands_before_a_multiple() -> None:
    price = priced(**ANCHOR, input_cost_per_token_fast=7e-6, provider_specific_entry={"fast": 2})
    assert price.rates("fast", 1).input == nano(7000)


def test_a_fee_for_each_request_leaves_a_model_without_a_price() -> None:
    assert price_of(**ANCHOR, input_cost_per_request=0.005) is None
    assert price_of(**ANCHOR, input_cost_per_request=0) is not None
    assert price_of(**ANCHOR, input_cost_per_request=None) is not None


def test_why_an_entry_has_no_price_is_said() -> None:
    entries = {
        "anchor": ANCHOR,
        "fee": {**ANCHOR, "input_cost_per_request": 0.005},
        "pages": {"ocr_cost_per_page": 0.001, "mode": "ocr"},
        "no input": {"output_cost_per_token": 1e-6},
        "no output": {"input_cost_per_token": 1e-6},
        "nothing": {"mode": "chat"},
    }
    table = parse_table(json.dumps(entries).encode())
    assert dict(table.unpriced) == {
        "fee": "request_fee",
        "pages": "other_unit",
        "no input": "no_input_price",
        "no output": "no_output_price",
        "nothing": "no_input_price",
    }
    assert list(table) == ["anchor"]


def test_what_a_price_does_not_have_in_it_is_said() -> None:
    entries = {
        "plain": ANCHOR,
        "image": {**ANCHOR, "input_cost_per_image_token": 9e-6, "output_cost_per_image_token": 3e-5},
        "cached image": {**ANCHOR, "cache_read_input_image_token_cost": 9e-6},
        "video": {**ANCHOR, "output_cost_per_video_token": 3e-5},
        "video as text": {**ANCHOR, "output_cost_per_video_token": 2e-6},
        "longest life": {**ANCHOR, "cache_creation_input_token_cost_above_12hr": 9e-6},
        "europe": {**ANCHOR, "regional_processing_uplift_multiplier_eu": 1.1},
        "endpoint": {**ANCHOR, "regional_endpoint_uplift_multiplier": 1.1},
        "us": {**ANCHOR, "provider_specific_entry": {"us": 1.1}},
        "fast": {**ANCHOR, "provider_specific_entry": {"fast": 2}},
        "no uplift": {**ANCHOR, "regional_endpoint_uplift_multiplier": 1.0},
        "schema": {**ANCHOR, "provider_specific_entry": {"bedrock_invocation_schema": "titan_v2"}},
        "night": {**ANCHOR, "off_peak_pricing": {"hours_utc": "16:30-00:30", "input_cost_per_token": 1e-9}},
    }
    assert dict(parse_table(json.dumps(entries).encode()).remarks) == {
        "cached image": ("other_tokens_at_dearest",),
        "video": ("other_tokens_at_dearest",),
        "europe": ("regional_uplift",),
        "endpoint": ("regional_uplift",),
        "us": ("regional_uplift",),
        "night": ("off_peak_discount",),
    }


def test_a_web_search_costs_what_the_dearest_context_size_does() -> None:
    sizes = {"search_context_size_low": 0.03, "search_context_size_medium": 0.035, "search_context_size_high": 0.05}
    price = priced(**ANCHOR, search_context_cost_per_query=sizes)
    assert price.web_search_nanodollars == 50_000_000


def test_a_size_that_is_null_or_zero_is_not_known() -> None:
    price = priced(**ANCHOR, max_input_tokens=None, max_output_tokens=0, max_tokens=4096)
    assert (price.context_tokens, price.max_output_tokens) == (None, 4096)


def test_what_leash_does_not_know_is_left_alone() -> None:
    price = priced(
        **ANCHOR,
        input_cost_per_token_someday=-1,
        regional_processing_uplift_multiplier_eu=1.1,
        provider_specific_entry={"fast": 6},
        off_peak_pricing={"hours_utc": "16:30-00:30", "input_cost_per_token": 1e-9},
        output_cost_per_image="?",
    )
    assert price.rates("", 1)[:2] == (nano(1000), nano(2000))


def test_the_sample_and_what_is_not_priced_do_not_count() -> None:
    table = parse_table(
        json.dumps(
            {
                "sample_spec": {"max_tokens": "LEGACY parameter", "input_cost_per_token": 0.0},
                "dall-e-2": {"output_cost_per_image": 0.02, "litellm_provider": "openai"},
                "anchor": ANCHOR,
            }
        ).encode()
    )
    assert len(table) == 1
    assert table.get("sample_spec") is None


def test_a_model_that_stands_twice_is_read_as_litellm_reads_it() -> None:
    entry = json.dumps(ANCHOR)
    other = json.dumps({**ANCHOR, "input_cost_per_token": 9e-6})
    price = parse_table(f'{{"m": {entry}, "m": {other}}}'.encode()).get("m")
    assert price is not None
    assert price.rates("", 1).input == nano(9000)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"input_cost_per_token": "1e-6"}, '"input_cost_per_token" must be a number, not a string'),
        ({"input_cost_per_token": True}, '"input_cost_per_token" must be a number, not true'),
        ({"output_cost_per_token_flex": -1e-6}, '"output_cost_per_token_flex" must be zero or more'),
        ({"input_cost_per_token_above_200k_tokens": {}}, "must be a number, not an object"),
        ({"input_cost_per_token": 10}, '"input_cost_per_token" must be at most 9 dollars'),
        ({"max_output_tokens": "4096"}, '"max_output_tokens" must be a number, not a string'),
        ({"max_input_tokens": -1}, '"max_input_tokens" must be zero or more'),
        ({"max_tokens": 0.5}, '"max_tokens" must be a whole number'),
        ({"search_context_cost_per_query": 0.01}, '"search_context_cost_per_query" must be an object'),
        ({"search_context_cost_per_query": {"low": "x"}}, '"search_context_cost_per_query" must be a number'),
        ({"tiered_pricing": {}}, '"tiered_pricing" must be a list'),
        ({"input_cost_per_image_token_batches": "1"}, '"input_cost_per_image_token_batches" must be a number'),
        ({"provider_specific_entry": {"fast": "2"}}, '"fast" in "provider_specific_entry" must be a number'),
        ({"provider_specific_entry": {"fast": -2}}, '"fast" in "provider_specific_entry" must be zero or more'),
        ({"provider_specific_entry": {"fast": 1001}}, '"fast" in "provider_specific_entry" must be at most 1000, not'),
        (
            {"output_cost_per_token": 1, "provider_specific_entry": {"fast": 10}},
            '"fast" in "provider_specific_entry" makes a rate that is too high',
        ),
        ({"tiered_pricing": [3]}, '"tiered_pricing" must list objects, not 3'),
        ({"tiered_pricing": [{"range": 3}]}, '"range" must be a list of two token counts'),
        ({"tiered_pricing": [{"range": [-1, 3]}]}, '"range" must be zero or more'),
        ({"tiered_pricing": [{"range": [0, 3], "input_cost_per_token": "1"}]}, "must be a number, not a string"),
        ({"litellm_provider": 3}, '"litellm_provider" must be a string'),
        ({f"input_cost_per_token_above_{n}_tokens": 1e-6 for n in range(1, 18)}, "more than 16 context lengths"),
    ],
)
def test_a_malformed_key_that_leash_knows_is_an_error(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(PriceError, match=f'model "m".*{message}'):
        price_of(**{**ANCHOR, **keys})


def test_an_entry_that_is_no_object_is_an_error() -> None:
    with pytest.raises(PriceError, match='model "m" must be an object'):
        parse_table(json.dumps({"anchor": ANCHOR, "m": 3}).encode())


def test_a_table_that_prices_nothing_is_an_error() -> None:
    with pytest.raises(PriceError, match="prices no model by its tokens"):
        parse_table(b'{"sample_spec": {}, "m": {"output_cost_per_image": 1, "litellm_provider": "x"}}')
