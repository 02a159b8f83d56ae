"""The cost of a call against an oracle in exact fractions that shares no code with the pricing."""

from __future__ import annotations

import itertools
import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash.prices import Cost, ModelPrice, TokenLine, ToolLine, cost, itemize, parse_table
from leash.usage import Usage

RATE_KEYS = (
    "reasoning",
    "cached_input",
    "cache_write",
    "cache_write_5m",
    "cache_write_1h",
    "audio_input",
    "audio_output",
    "image_input",
    "image_output",
)
INPUT_KEYS = ("input", "cached_input", "cache_write", "cache_write_5m", "cache_write_1h", "audio_input", "image_input")
COARSER = {
    "reasoning": "output",
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_5m": "cache_write",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "audio_output": "output",
    "image_input": "input",
    "image_output": "output",
}

# Dollars per million tokens with up to twelve decimals, as far as a table may go.
dollars = st.integers(min_value=0, max_value=200 * 10**12).map(lambda units: Decimal(units).scaleb(-12))
entries = st.builds(
    lambda required, optional: {**required, **optional},
    st.fixed_dictionaries({"input": dollars, "output": dollars}),
    st.dictionaries(st.sampled_from(RATE_KEYS), dollars),
)
counts = st.integers(min_value=0, max_value=10**7)


def price_of(entry: dict[str, Any]) -> ModelPrice:
    text = (
        "{"
        + ", ".join(
            f'"{key}": {json.dumps(value) if isinstance(value, dict) else value}' for key, value in entry.items()
        )
        + "}"
    )
    price = parse_table(f'{{"m": {text}}}'.encode()).get("m")
    assert price is not None
    return price


def rate(entry: dict[str, Decimal], key: str) -> Fraction:
    """Dollars per token by the rule of the documentation."""
    if key in entry:
        return Fraction(entry[key]) / 10**6
    return rate(entry, COARSER[key])


def nanodollars_up(amount: Fraction) -> int:
    return math.ceil(amount * 10**9)


@given(entries, st.lists(counts, min_size=11, max_size=11))
def test_disjoint_subsets_cost_exactly_their_rates_rounded_up_once(entry: dict[str, Decimal], n: list[int]) -> None:
    text_in, cached, written, written_5m, written_1h, audio_in, image_in, text_out, reasoning, audio_out, image_out = n
    usage = Usage(
        input_tokens=text_in + cached + written + written_5m + written_1h + audio_in + image_in,
        output_tokens=text_out + reasoning + audio_out + image_out,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_5m_tokens=written_5m,
        cache_write_1h_tokens=written_1h,
        audio_input_tokens=audio_in,
        audio_output_tokens=audio_out,
        reasoning_tokens=reasoning,
        image_input_tokens=image_in,
        image_output_tokens=image_out,
    )
    keys = (*INPUT_KEYS, "output", "reasoning", "audio_output", "image_output")
    exact = sum(tokens * rate(entry, key) for tokens, key in zip(n, keys, strict=True))
    assert cost(price_of(entry), usage) == Cost(nanodollars_up(Fraction(exact)), 0, unpriced_tool=False)


few = st.integers(min_value=0, max_value=4)


@given(entries, st.tuples(few, few, few, few, few, few))
def test_overlapping_subsets_cost_the_dearest_way_to_take_each_token_once(
    entry: dict[str, Decimal], n: tuple[int, int, int, int, int, int]
) -> None:
    extra, cached, written, audio, image, reasoning = n
    # No token is both read from and written to a cache, or both audio and image, and none is more than the total: the
    # rest may overlap.
    total = max(cached + written, audio + image) + extra
    usage = Usage(
        input_tokens=total,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        audio_input_tokens=audio,
        image_input_tokens=image,
        output_tokens=reasoning,
        reasoning_tokens=reasoning,
    )
    subsets = {"cached_input": cached, "cache_write": written, "audio_input": audio, "image_input": image}
    # Those that cost what plain input does are plain input, whatever else they are.
    told_apart = {key: tokens for key, tokens in subsets.items() if rate(entry, key) != rate(entry, "input")}
    # Every way to say which kind each token is, where those in no subset are what is left over.
    rest = max(total - sum(told_apart.values()), 0)
    ways = (
        way
        for way in itertools.product(*(range(tokens + 1) for tokens in told_apart.values()))
        if sum(way) + rest == total
    )
    dearest = max(
        sum(tokens * rate(entry, key) for tokens, key in zip((*way, rest), (*told_apart, "input"), strict=True))
        for way in ways
    )
    exact = Fraction(dearest) + reasoning * rate(entry, "reasoning")
    assert cost(price_of(entry), usage).total_nanodollars == nanodollars_up(exact)


@given(entries, st.lists(st.integers(min_value=-(10**6), max_value=10**6), min_size=11, max_size=11))
def test_whatever_a_provider_reports_costs_something_sensible(entry: dict[str, Decimal], n: list[int]) -> None:
    names = (
        "input_tokens",
        "output_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "cache_write_5m_tokens",
        "cache_write_1h_tokens",
        "audio_input_tokens",
        "audio_output_tokens",
        "reasoning_tokens",
        "image_input_tokens",
        "image_output_tokens",
    )
    price = price_of(entry)
    reported = dict(zip(names, n, strict=True))
    total = cost(price, Usage(**reported)).total_nanodollars  # type: ignore[arg-type]
    assert total == cost(price, Usage(**{name: max(each, 0) for name, each in reported.items()})).total_nanodollars  # type: ignore[arg-type]
    cheapest = min(rate(entry, key) for key in INPUT_KEYS)
    assert total >= math.floor(max(reported["input_tokens"], 0) * cheapest * 10**9)


@given(entries, st.lists(st.integers(min_value=-5, max_value=10**7), min_size=14, max_size=14))
def test_the_lines_hold_every_token_once_and_add_up_to_the_cost(entry: dict[str, Decimal], n: list[int]) -> None:
    names = [name for name in Usage.__dataclass_fields__ if name != "service_tier"]
    usage = Usage(**dict(zip(names, n, strict=True)))  # type: ignore[arg-type]
    price = price_of({**entry, "web_search_per_request": Decimal("0.01")})
    bill = itemize(price, usage)
    exact = sum((Fraction(line.tokens * line.rate_attodollars, 10**18) for line in bill.tokens), Fraction(0))
    tools = sum(line.requests * (line.each_nanodollars or 0) for line in bill.tools)
    assert cost(price, usage).total_nanodollars == nanodollars_up(exact) + tools
    assert cost(price, usage) == bill.cost
    assert bill.token_attodollars == exact * 10**18
    assert all(line.tokens > 0 for line in bill.tokens)
    assert all(line.requests > 0 for line in bill.tools)
    into_the_model = [line for line in bill.tokens if line.kind in INPUT_KEYS]
    assert sum(line.tokens for line in into_the_model) == bill.input_tokens >= usage.input_tokens
    for line in bill.tokens:
        assert Fraction(line.rate_attodollars, 10**18) == rate(entry, line.kind)


def test_the_lines_of_a_call() -> None:
    price = price_of({"input": 2, "output": 8, "cached_input": 1, "audio_input": 30, "web_search_per_request": 0.01})
    usage = Usage(
        input_tokens=100,
        cached_input_tokens=80,
        audio_input_tokens=50,
        output_tokens=10,
        reasoning_tokens=10,
        web_search_requests=2,
        other_tool_requests=1,
    )
    bill = itemize(price, usage)
    # The audio that was cached is taken at the dearer rate; nothing is left for plain input, nor for plain output.
    assert bill.tokens == [
        TokenLine("cached_input", 50, 10**12),
        TokenLine("audio_input", 50, 30 * 10**12),
        TokenLine("reasoning", 10, 8 * 10**12),
    ]
    assert bill.tools == [ToolLine("web_search", 2, 10_000_000), ToolLine("other_tool", 1, None)]
    assert bill.cost == Cost(50 * 30_000 + 50 * 1000 + 10 * 8000 + 20_000_000, 20_000_000, unpriced_tool=True)


def test_images_and_text_have_their_own_prices_each_way() -> None:
    price = price_of({"input": 5, "image_input": 8, "output": 10, "image_output": 32})
    usage = Usage(input_tokens=400, image_input_tokens=323, output_tokens=1400, image_output_tokens=1056)
    assert itemize(price, usage).tokens == [
        TokenLine("input", 77, 5 * 10**12),
        TokenLine("image_input", 323, 8 * 10**12),
        TokenLine("output", 344, 10 * 10**12),
        TokenLine("image_output", 1056, 32 * 10**12),
    ]
    assert cost(price, usage).total_nanodollars == 77 * 5000 + 323 * 8000 + 344 * 10_000 + 1056 * 32_000


def test_cached_images_that_cost_what_text_does_bill_as_cached() -> None:
    price = price_of({"input": 2, "output": 8, "cached_input": 0.5})
    usage = Usage(input_tokens=1000, cached_input_tokens=900, image_input_tokens=800)
    assert itemize(price, usage).tokens == [
        TokenLine("cached_input", 900, 5 * 10**11),
        TokenLine("image_input", 100, 2 * 10**12),
    ]


def test_cached_images_that_cost_more_bill_as_images() -> None:
    price = price_of({"input": 2, "output": 8, "cached_input": 0.5, "image_input": 3})
    usage = Usage(input_tokens=1000, cached_input_tokens=900, image_input_tokens=800)
    assert cost(price, usage).total_nanodollars == 800 * 3000 + 200 * 500


def test_a_call_of_nothing_has_no_lines() -> None:
    assert itemize(price_of({"input": 2, "output": 8}), Usage()) == (0, [], [])


def test_the_readmes_example() -> None:
    price = price_of({"input": 10, "output": 30})
    assert cost(price, Usage(input_tokens=1000, output_tokens=500)).total_nanodollars == 25_000_000


def test_a_single_cheap_token_rounds_up_to_a_nanodollar() -> None:
    price = price_of({"input": Decimal("0.000000000001"), "output": 0})
    assert cost(price, Usage(input_tokens=1)).total_nanodollars == 1
    assert cost(price, Usage()).total_nanodollars == 0


def test_fractions_of_a_nanodollar_are_added_up_before_they_are_rounded() -> None:
    price = price_of({"input": Decimal("0.0005"), "output": Decimal("0.0005")})
    assert cost(price, Usage(input_tokens=1, output_tokens=1)).total_nanodollars == 1


def test_subsets_that_cannot_overlap_raise_a_total_that_is_too_small() -> None:
    price = price_of({"input": 1, "output": 1, "cached_input": 0.5, "cache_write": 2})
    usage = Usage(input_tokens=10, cached_input_tokens=100, cache_write_tokens=100, reasoning_tokens=7)
    assert cost(price, usage).total_nanodollars == 100 * 500 + 100 * 2000 + 7 * 1000
    assert cost(price, Usage(input_tokens=1, audio_input_tokens=20)).total_nanodollars == 20 * 1000
    assert cost(price, Usage(audio_input_tokens=20, image_input_tokens=3)).total_nanodollars == 23 * 1000
    assert cost(price, Usage(output_tokens=9, reasoning_tokens=7, image_output_tokens=8)).total_nanodollars == 15_000


def test_the_context_tier_is_that_of_the_whole_input() -> None:
    entry = {
        "litellm_provider": "x",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-6,
        "input_cost_per_token_above_200k_tokens": 2e-6,
    }
    price = parse_table(json.dumps({"m": entry}).encode()).get("m")
    assert price is not None
    usage = Usage(input_tokens=1, cached_input_tokens=150_000, cache_write_5m_tokens=50_001)
    assert cost(price, usage).total_nanodollars == 200_001 * 2000


def test_the_answers_service_tier_prices_the_call() -> None:
    price = price_of({"input": 2, "output": 2, "tiers": {"batch": {"input": 1, "output": 1}, "priority": {"input": 3}}})
    totals = {
        tier: cost(price, Usage(input_tokens=1, service_tier=tier)).total_nanodollars
        for tier in ("", "default", "batch", "Batch", "priority", "flex", "unheard_of")
    }
    assert totals == {
        "": 2000,
        "default": 2000,
        "batch": 1000,
        "Batch": 1000,
        "priority": 3000,
        "flex": 2000,
        "unheard_of": 3000,
    }


def test_server_side_tools_are_priced_by_the_request() -> None:
    price = price_of({"input": 1, "output": 1, "web_search_per_request": 0.01, "web_fetch_per_request": 0})
    usage = Usage(input_tokens=1, web_search_requests=3, web_fetch_requests=2)
    assert cost(price, usage) == Cost(30_000_000 + 1000, 30_000_000, unpriced_tool=False)


@pytest.mark.parametrize(
    ("usage", "unpriced"),
    [
        (Usage(web_search_requests=1), True),
        (Usage(web_fetch_requests=1), True),
        (Usage(other_tool_requests=1), True),
        (Usage(), False),
        (Usage(web_search_requests=-1), False),
    ],
)
def test_a_tool_without_a_price_is_said(usage: Usage, *, unpriced: bool) -> None:
    assert cost(price_of({"input": 1, "output": 1}), usage) == Cost(0, 0, unpriced)


def test_any_other_tool_has_no_price_even_where_searches_have() -> None:
    price = price_of({"input": 1, "output": 1, "web_search_per_request": 0.01})
    usage = Usage(web_search_requests=1, other_tool_requests=1)
    assert cost(price, usage) == Cost(10_000_000, 10_000_000, unpriced_tool=True)
