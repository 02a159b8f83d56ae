from __future__ import annotations

import json
from typing import Any

import pytest

from leash.prices import ModelPrice, PriceError, Rates, parse_table

ATTODOLLARS_PER_DOLLAR_A_MILLION = 10**12


def price_of(**keys: Any) -> ModelPrice:
    price = parse_table(json.dumps({"m": keys}).encode()).get("m")
    assert price is not None
    return price


def per_million(**dollars: float) -> Rates:
    return Rates(**{name: round(each * ATTODOLLARS_PER_DOLLAR_A_MILLION) for name, each in dollars.items()})


def test_every_key_is_read() -> None:
    price = price_of(
        input=2.5,
        output=10,
        reasoning=0,
        cached_input=1.25,
        cache_write=3,
        cache_write_5m=3.125,
        cache_write_1h=5,
        audio_input=40,
        audio_output=80,
        image_input=8,
        image_output=32,
        web_search_per_request=0.01,
        web_fetch_per_request=0,
        max_output=16384,
        context=128000,
        tiers={"batch": {"input": 1.25, "output": 5}},
    )
    assert price.rates("", 1) == per_million(
        input=2.5,
        output=10,
        reasoning=0,
        cached_input=1.25,
        cache_write=3,
        cache_write_5m=3.125,
        cache_write_1h=5,
        audio_input=40,
        audio_output=80,
        image_input=8,
        image_output=32,
    )
    assert price.web_search_nanodollars == 10_000_000
    assert price.web_fetch_nanodollars == 0
    assert (price.max_output_tokens, price.context_tokens) == (16384, 128000)
    assert price.rates("batch", 1).input == price.rates("", 1).cached_input


def test_an_omitted_rate_falls_back_to_the_coarser_one() -> None:
    assert price_of(input=2, output=8).rates("", 1) == per_million(
        input=2,
        output=8,
        reasoning=8,
        cached_input=2,
        cache_write=2,
        cache_write_5m=2,
        cache_write_1h=2,
        audio_input=2,
        audio_output=8,
        image_input=2,
        image_output=8,
    )


def test_a_cache_write_of_one_ttl_falls_back_to_cache_write_before_input() -> None:
    rates = price_of(input=3, output=15, cache_write=3.75, cache_write_1h=6).rates("", 1)
    assert (rates.cache_write_5m, rates.cache_write_1h) == (rates.cache_write, 6 * ATTODOLLARS_PER_DOLLAR_A_MILLION)
    assert rates.cache_write == 3.75 * ATTODOLLARS_PER_DOLLAR_A_MILLION


def test_a_rate_of_zero_is_given_and_bills_nothing() -> None:
    assert price_of(input=2, output=8, reasoning=0).rates("", 1).reasoning == 0


def test_a_tier_falls_back_to_its_own_coarser_rate() -> None:
    rates = price_of(input=2, output=8, tiers={"batch": {"input": 1, "output": 4}}).rates("batch", 1)
    assert (rates.reasoning, rates.cached_input) == (rates.output, rates.input)


def test_a_discount_reaches_only_the_rates_that_it_names() -> None:
    price = price_of(input=2, output=8, cached_input=0.5, tiers={"batch": {"input": 1, "output": 4}})
    assert price.rates("batch", 1).cached_input == 0.5 * ATTODOLLARS_PER_DOLLAR_A_MILLION


def test_a_surcharge_reaches_what_it_does_not_name() -> None:
    price = price_of(input=2, output=8, cached_input=0.5, cache_write=9, tiers={"priority": {"input": 4}})
    rates = price.rates("priority", 1)
    assert rates.cached_input == 4 * ATTODOLLARS_PER_DOLLAR_A_MILLION
    assert rates.cache_write == 9 * ATTODOLLARS_PER_DOLLAR_A_MILLION
    assert rates.output == 8 * ATTODOLLARS_PER_DOLLAR_A_MILLION


def test_a_longer_input_has_the_rates_of_its_length_for_the_whole_call() -> None:
    price = price_of(
        input=3,
        output=15,
        cached_input=0.3,
        above={
            "500000": {"output": 30},
            "200000": {"input": 6, "output": 22.5, "cached_input": 0.6},
        },
    )
    dollars = ATTODOLLARS_PER_DOLLAR_A_MILLION
    lengths = (0, 200_000, 200_001, 500_000, 500_001)
    assert [price.rates("", length).input // dollars for length in lengths] == [3, 3, 6, 6, 6]
    assert [price.rates("", length).output / dollars for length in lengths] == [15, 15, 22.5, 22.5, 30]
    assert price.rates("", 500_001).cached_input == 0.6 * dollars
    assert [price.above_tokens("", length) for length in lengths] == [0, 0, 200_000, 200_000, 500_000]


def test_a_surcharge_for_a_longer_input_reaches_what_it_does_not_name() -> None:
    price = price_of(input=3, output=15, cached_input=0.3, cache_write=9, above={"200000": {"input": 6}})
    rates = price.rates("", 200_001)
    assert rates.cached_input == 6 * ATTODOLLARS_PER_DOLLAR_A_MILLION
    assert rates.cache_write == 9 * ATTODOLLARS_PER_DOLLAR_A_MILLION


def test_a_tier_has_longer_inputs_of_its_own_and_the_models() -> None:
    price = price_of(
        input=2,
        output=8,
        above={"100000": {"input": 4, "output": 16}},
        tiers={
            "batch": {"input": 1, "output": 4, "above": {"200000": {"input": 3, "output": 5}}},
            "priority": {"input": 5, "output": 20},
        },
    )
    dollars = ATTODOLLARS_PER_DOLLAR_A_MILLION
    lengths = (100_000, 100_001, 200_001)
    # Where a tier says nothing of a length it bills the dearer of its own rate and the length's.
    assert [price.rates("batch", length).input // dollars for length in lengths] == [1, 4, 3]
    assert [price.rates("batch", length).output // dollars for length in lengths] == [4, 16, 5]
    assert [price.rates("priority", length).input // dollars for length in lengths] == [5, 5, 5]
    assert [price.rates("", length).input // dollars for length in lengths] == [2, 4, 4]


def test_a_tier_at_a_longer_input_does_not_lose_the_rate_that_the_longer_input_has_of_its_own() -> None:
    price = price_of(
        input=2,
        output=8,
        cached_input=0.2,
        above={"100000": {"input": 4, "cached_input": 0.4}},
        tiers={"batch": {"input": 1, "cached_input": 0.1}},
    )
    assert price.rates("batch", 100_001).cached_input == 0.4 * ATTODOLLARS_PER_DOLLAR_A_MILLION


def test_a_window_larger_than_every_length_stands() -> None:
    price = price_of(input=3, output=15, context=200_001, above={"200000": {"input": 6}})
    assert price.context_tokens == 200_001


def test_numbers_are_exact_to_the_last_digit() -> None:
    text = b'{"m": {"input": 0.000000000001, "output": 1234567.123456789012}}'
    price = parse_table(text).get("m")
    assert price is not None
    assert price.rates("", 1)[:2] == (1, 1234567123456789012)


GOOD = '"input": 1, "output": 2'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "the price table is empty"),
        ("[]", "must be an object of models, not a list"),
        ("3", "must be an object of models, not 3"),
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"m": 3}', 'model "m" must be an object with prices, not 3'),
        ('{"m": {}}', 'model "m": "input" is missing'),
        ('{"m": {"input": 1}}', 'model "m": "output" is missing; write 0'),
        ('{"m": {%s, "cached": 1}}', 'model "m": unknown key "cached"; did you mean "cached_input"'),
        ('{"m": {%s, "inputs": 1}}', 'unknown key "inputs"; did you mean "input"'),
        ('{"m": {%s, "zzz": 1}}', 'unknown key "zzz"; the keys are input, output'),
        ('{"m": {%s, "output_cost_per_token": 1}}', 'model "m": unknown key "output_cost_per_token"'),
        ('{"m": {"input": -1, "output": 2}}', 'model "m": "input" must be zero or more, not -1'),
        ('{"m": {"input": "1", "output": 2}}', 'model "m": "input" must be a number, not a string'),
        ('{"m": {"input": true, "output": 2}}', 'model "m": "input" must be a number, not true'),
        ('{"m": {"input": null, "output": 2}}', 'model "m": "input" must be a number, not null'),
        ('{"m": {"input": [1], "output": 2}}', 'model "m": "input" must be a number, not a list'),
        ('{"m": {"input": NaN, "output": 2}}', "has NaN, which is no price"),
        ('{"m": {"input": Infinity, "output": 2}}', "has Infinity, which is no price"),
        ('{"m": {"input": 1e-13, "output": 2}}', '"input" must be a multiple of 0.000000000001 dollars, not 1E-13'),
        ('{"m": {"input": 1e-999999999, "output": 2}}', '"input" must be a multiple of'),
        ('{"m": {"input": 1e999999999, "output": 2}}', '"input" must be at most 9000000 dollars'),
        ('{"m": {"input": 9000001, "output": 2}}', '"input" must be at most 9000000 dollars'),
        ('{"m": {"input": 0.%s, "output": 2}}' % ("1" * 100), "a number of 102 characters"),
        ('{"m": {%s, "web_search_per_request": 1e-10}}', '"web_search_per_request" must be a multiple of 0.000000001'),
        ('{"m": {%s, "max_output": 0}}', '"max_output" must be at least one token'),
        ('{"m": {%s, "max_output": 1.5}}', '"max_output" must be a whole number of tokens, not 1.5'),
        ('{"m": {%s, "context": 1e-999999999}}', '"context" must be a whole number'),
        ('{"m": {%s, "context": 1e13}}', '"context" must be at most 1000000000000 tokens'),
        ('{"m": {%s, "context": true}}', '"context" must be a number, not true'),
        ('{"m": {%s}, "m": {%s}}', 'model "m" stands twice'),
        ('{"m": {%s, "input": 1}}', 'model "m": "input" stands twice'),
        ('{"m": {%s, "tiers": 3}}', 'model "m": "tiers" must be an object'),
        ('{"m": {%s, "tiers": {"batch": 3}}}', 'model "m", tier "batch" must be an object'),
        ('{"m": {%s, "tiers": {"batch": {"inptu": 3}}}}', 'tier "batch": unknown key "inptu"; did you mean "input"'),
        ('{"m": {%s, "tiers": {"batch": {"input": -3}}}}', 'tier "batch": "input" must be zero or more'),
        ('{"m": {%s, "tiers": {"batch": {"input": 1, "input": 2}}}}', 'tier "batch": "input" stands twice'),
        ('{"m": {%s, "tiers": {"batch": {}, "batch": {}}}}', '"tiers": "batch" stands twice'),
        ('{"m": {%s, "tiers": {"batch": {}, "BATCH": {}}}}', 'tier "BATCH" stands twice, by another spelling'),
        ('{"m": {%s, "tiers": {"default": {}}}}', 'tier "default": the ordinary tier'),
        ('{"m": {%s, "tiers": {"": {}}}}', 'tier "": the ordinary tier'),
        ('{"m": {%s, "above": 3}}', 'model "m": "above" must be an object'),
        ('{"m": {%s, "above": {"1000": 3}}}', 'model "m", above "1000" must be an object with prices, not 3'),
        (
            '{"m": {%s, "above": {"200k": {}}}}',
            '"above": "200k" must be a whole number of input tokens, such as "200000"',
        ),
        ('{"m": {%s, "above": {"0": {}}}}', '"above": "0" must be a whole number'),
        ('{"m": {%s, "above": {"-5": {}}}}', '"above": "-5" must be a whole number'),
        ('{"m": {%s, "above": {"0500": {}}}}', '"above": "0500" must be a whole number'),
        ('{"m": {%s, "above": {"1e5": {}}}}', '"above": "1e5" must be a whole number'),
        ('{"m": {%s, "above": {"\u0665\u0665": {}}}}', "must be a whole number"),
        ('{"m": {%s, "above": {"1000000000001": {}}}}', "and at most 1000000000000"),
        ('{"m": {%s, "above": {"1000": {"inptu": 1}}}}', 'above "1000": unknown key "inptu"; did you mean "input"'),
        ('{"m": {%s, "above": {"1000": {"context": 1}}}}', 'above "1000": unknown key "context"; the keys are input'),
        ('{"m": {%s, "above": {"1000": {"above": {}}}}}', 'above "1000": unknown key "above"'),
        ('{"m": {%s, "above": {"1000": {"tiers": {}}}}}', 'above "1000": unknown key "tiers"'),
        ('{"m": {%s, "above": {"1000": {"input": -1}}}}', 'above "1000": "input" must be zero or more'),
        ('{"m": {%s, "above": {"1000": {"input": 1, "input": 1}}}}', 'above "1000": "input" stands twice'),
        ('{"m": {%s, "above": {"1000": {}, "1000": {}}}}', '"above": "1000" stands twice'),
        ('{"m": {%s, "avobe": {}}}', 'model "m": unknown key "avobe"; did you mean "above"'),
        ('{"m": {%s, "context": 1000, "above": {"1000": {}}}}', 'model "m": "context" is 1000, .* more than the 1000'),
        ('{"m": {%s, "context": 5, "tiers": {"x": {"above": {"9": {}}}}}}', '"context" is 5, .* more than the 9'),
        ('{"m": {%s, "tiers": {"x": {"above": {"9x": {}}}}}}', 'tier "x": "above": "9x" must be a whole number'),
        ('{"m": {%s, "tiers": {"x": {"context": 5}}}}', 'tier "x": unknown key "context"'),
        ('{"": {%s}}', "printable characters"),
        (r'{"\ud800": {%s}}', r'model "\\ud800": a name must be of printable characters'),
        (r'{"m": {%s, "tiers": {"\u0007": {}}}}', r'tier "\\u0007": a name must be of printable characters'),
        (
            '{"m": {%s}, "n": {"input_cost_per_token": 1}}',
            'mixes two formats: model "m" has leash\'s keys, .* model "n" LiteLLM',
        ),
    ],
)
def test_a_malformed_table_is_an_error_that_names_the_model_and_the_key(text: str, message: str) -> None:
    with pytest.raises(PriceError, match=message):
        parse_table(text.replace("%s", GOOD).encode())


def test_a_tier_for_every_letter_is_refused() -> None:
    tiers: dict[str, Any] = {f"tier{number}": {} for number in range(17)}
    with pytest.raises(PriceError, match="has 17 tiers, and may have 16"):
        price_of(input=1, output=2, tiers=tiers)


def test_more_lengths_than_any_provider_has_are_refused() -> None:
    steps: dict[str, Any] = {str(number): {} for number in range(1, 17)}
    assert price_of(input=1, output=2, above=steps).above_tokens("", 100) == 16
    with pytest.raises(PriceError, match='model "m": "above" has 17 context lengths, and may have 16'):
        price_of(input=1, output=2, above={**steps, "17": {}})


def test_text_in_another_encoding_is_refused() -> None:
    with pytest.raises(PriceError, match="UTF-8"):
        parse_table('{"é": {}}'.encode("latin-1"))


def test_a_byte_order_mark_is_no_part_of_the_table() -> None:
    assert len(parse_table(b"\xef\xbb\xbf" + json.dumps({"m": {"input": 1, "output": 2}}).encode())) == 1


def test_a_table_that_the_wire_would_not_take_is_refused() -> None:
    with pytest.raises(PriceError, match="may have 16777216"):
        parse_table(b" " * (16 * 2**20 + 1))


def test_an_error_does_not_repeat_a_huge_key() -> None:
    with pytest.raises(PriceError) as error:
        price_of(input=1, output=2, **{"k" * 100_000: 1})
    assert len(str(error.value)) < 500


def test_many_repeated_keys_do_not_take_long() -> None:
    keys = ", ".join(f'"k{number}": 1' for number in range(200_000))
    with pytest.raises(PriceError, match="stands twice"):
        parse_table(f'{{"m": {{{keys}, "k199999": 1}}}}'.encode())
