"""What counts as missing from a price table, and what does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leash.prices import parse_table
from leash.prices.reading import Remark, Unpriced
from leashctl.price_gaps import (
    GAP_MEANINGS,
    REMARK_MEANINGS,
    UNPRICED_MEANINGS,
    Gap,
    close_names,
    count_gaps,
    gaps_of,
)

SIZES = {"max_output": 1, "context": 1}
TOOLS = {"web_search_per_request": 0, "web_fetch_per_request": 0}
CACHE = {"cached_input": 1, "cache_write": 1, "cache_write_1h": 1}


def gaps(**keys: Any) -> list[str]:
    return [gap.value for gap in gaps_of(parse_table(json.dumps({"m": keys}).encode()), "m")]


def test_everything_has_a_meaning() -> None:
    assert set(GAP_MEANINGS) == set(Gap)
    assert set(REMARK_MEANINGS) == set(Remark)
    assert set(UNPRICED_MEANINGS) == set(Unpriced)


@pytest.mark.parametrize(
    ("keys", "missing"),
    [
        ({**SIZES, **TOOLS, **CACHE}, []),
        ({**TOOLS, **CACHE, "context": 1}, ["max_output"]),
        ({**TOOLS, **CACHE, "max_output": 1}, ["context"]),
        ({**SIZES, **CACHE}, ["web_search_per_request", "web_fetch_per_request"]),
        ({**SIZES, **TOOLS}, ["cache_write", "cached_input"]),
        ({**SIZES, **TOOLS, "cached_input": 1, "cache_write": 1}, ["cache_write_1h"]),
        ({**SIZES, **TOOLS, "cached_input": 1, "cache_write_5m": 1}, ["cache_write_1h"]),
        ({**SIZES, **TOOLS, "cached_input": 1, "cache_write_1h": 1}, ["cache_write"]),
        ({**SIZES, **TOOLS, "cached_input": 1, "cache_write_5m": 1, "cache_write_1h": 1}, []),
        # A rate of nothing is given.
        ({**SIZES, **TOOLS, "cached_input": 0, "cache_write": 0, "cache_write_1h": 0}, []),
    ],
)
def test_what_is_missing_of_an_ordinary_model(keys: dict[str, Any], missing: list[str]) -> None:
    assert gaps(input=1, output=2, **keys) == missing


def test_reasoning_and_audio_that_bill_as_text_are_no_gap() -> None:
    assert gaps(input=1, output=2, **SIZES, **TOOLS, **CACHE) == []


def test_what_costs_nothing_needs_no_bound_and_no_finer_rate() -> None:
    assert gaps(input=0, output=0) == []
    assert gaps(input=0.02, output=0) == ["context"]
    assert gaps(input=0, output=1, **TOOLS) == ["max_output"]
    # It is not free where a tier or a longer input bills it.
    assert "context" in gaps(input=0, output=1, tiers={"priority": {"input": 1}})
    assert "context" in gaps(input=0, output=1, above={"1000": {"input": 1}})


def test_gaps_are_counted_over_a_table_in_their_order() -> None:
    table = parse_table(
        json.dumps(
            {"a": {"input": 1, "output": 2, **CACHE}, "b": {"input": 1, "output": 0}, "c": {"input": 0, "output": 0}}
        ).encode()
    )
    assert count_gaps(table) == {Gap.MAX_OUTPUT: 1, Gap.CONTEXT: 2, Gap.WEB_SEARCH: 1, Gap.WEB_FETCH: 1}
    assert list(count_gaps(table)) == [Gap.MAX_OUTPUT, Gap.CONTEXT, Gap.WEB_SEARCH, Gap.WEB_FETCH]


@pytest.mark.parametrize(
    ("wanted", "close"),
    [
        ("gpt-4o", ["openai/gpt-4o", "azure/gpt-4o", "gpt-4.1", "gpt-4o-mini"]),
        ("gpt4o", ["openai/gpt-4o", "gpt-4.1", "gpt-4o-mini"]),
        ("anthropic/claude-sonet", ["claude-sonnet"]),
        ("sonnet", ["claude-sonnet"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_names_that_may_have_been_meant(wanted: str, close: list[str]) -> None:
    names = ("openai/gpt-4o", "azure/gpt-4o", "gpt-4o-mini", "gpt-4.1", "claude-sonnet", "llama")
    table = parse_table(json.dumps({name: {"input": 1, "output": 2} for name in names}).encode())
    assert close_names(table, wanted) == close
