from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leash import units

nanodollars = st.integers(min_value=0, max_value=units.MOST_DOLLARS * units.NANODOLLARS_PER_DOLLAR)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5_000_000_000),
        ("5.00", 5_000_000_000),
        ("$5", 5_000_000_000),
        (" 0.1 ", 100_000_000),
        (".5", 500_000_000),
        ("5.", 5_000_000_000),
        ("1e-9", 1),
        ("0.000000001", 1),
        ("1E3", 1_000_000_000_000),
        ("0", 0),
        ("0.000", 0),
        ("9000000000", 9 * 10**18),
    ],
)
def test_dollars_are_read_exactly(text: str, expected: int) -> None:
    assert units.parse_dollars(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-1", "negative"),
        ("$-1", "negative"),
        ("nan", "no number"),
        ("Infinity", "no number"),
        ("", "no number"),
        ("$", "no number"),
        ("five", "no number"),
        ("1_0", "no number"),
        ("1,5", "no number"),
        ("0x10", "no number"),
        ("٣", "no number"),
        ("1e999", "no number"),
        ("9" * 65, "no number"),
        ("0.0000000001", "finer than a nanodollar"),
        ("9000000000.01", "more than 9000000000 dollars"),
        ("1e99", "more than 9000000000 dollars"),
    ],
)
def test_other_dollars_are_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        units.parse_dollars(text)


@given(nanodollars)
def test_the_exact_text_of_an_amount_is_read_back(amount: int) -> None:
    text = units.json_dollars(amount)
    assert units.parse_dollars(text) == amount
    assert Fraction(json.loads(text, parse_float=Fraction)) == Fraction(amount, 10**9)


@given(nanodollars)
def test_an_encoder_writes_all_the_digits(amount: int) -> None:
    encoded = msgspec.json.Encoder(decimal_format="number").encode(units.dollars_number(amount))
    assert json.loads(encoded, parse_float=Decimal, parse_int=Decimal) == Decimal(amount) / 10**9


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(4_100_000_000, "4.10"), (0, "0.00"), (1, "0.000000001"), (-25_000_000, "-0.025"), (5_012_000_000, "5.012")],
)
def test_an_exact_amount_has_two_decimals_or_what_it_needs(amount: int, expected: str) -> None:
    assert units.json_dollars(amount) == expected
    assert units.dollars_number(amount) == Decimal(expected)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0, "$0.00"),
        (4_100_000_000, "$4.10"),
        (4_104_999_999, "$4.10"),
        (4_105_000_000, "$4.11"),
        (999_995_000_000, "$1000.00"),
        (10_000_000, "$0.01"),
        (9_999_999, "$0.01"),
        (9_940_000, "$0.0099"),
        (1_200_000, "$0.0012"),
        (1_250_000, "$0.0013"),
        (5_000_000, "$0.0050"),
        (123, "$0.00000012"),
        (12, "$0.000000012"),
        (1, "$0.000000001"),
        (-4_100_000_000, "-$4.10"),
        (9 * 10**18, "$9000000000.00"),
    ],
)
def test_amounts_for_people(amount: int, expected: str) -> None:
    assert units.format_dollars(amount) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("90s", 90),
        ("15m", 900),
        ("1h30m", 5_400),
        ("1.5h", 5_400),
        ("0.25s", Fraction(1, 4)),
        ("250ms", Fraction(1, 4)),
        ("1us", Fraction(1, 10**6)),
        ("2d", 172_800),
        ("1w", 604_800),
        (" 10m ", 600),
    ],
)
def test_durations_are_read(text: str, seconds: Fraction) -> None:
    assert units.parse_duration(text) == seconds * 10**9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no duration"),
        ("90", "no duration"),
        ("s", "no duration"),
        ("1h banana 30m", "no duration"),
        ("1h!!30m", "no duration"),
        ("1.2.3s", "no duration"),
        ("5mm", "no duration"),
        ("1y", "no duration"),
        ("9" * 70 + "s", "no duration"),
        ("-5s", "negative"),
        ("1ns", "no duration"),
        ("0.0000000001s", "shorter than a microsecond"),
        ("1000000h", "longer than a century"),
        ("9" * 30 + "w", "no duration"),
    ],
)
def test_other_durations_are_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("duration_ns", "expected"),
    [
        (0, "0s"),
        (999, "999ns"),
        (1_500, "1us"),
        (250_000_000, "250ms"),
        (90 * 10**9, "90s"),
        (119 * 10**9, "119s"),
        (120 * 10**9, "2m"),
        (125 * 10**9, "2m5s"),
        (900 * 10**9, "15m"),
        (5_400 * 10**9, "1h30m"),
        (3_605 * 10**9, "1h"),
        (76 * 3_600 * 10**9, "3d4h"),
        (-90 * 10**9, "-90s"),
    ],
)
def test_durations_for_people(duration_ns: int, expected: str) -> None:
    assert units.format_duration(duration_ns) == expected


@given(st.integers(min_value=1, max_value=100 * 365 * 24 * 60))
def test_a_duration_of_two_units_is_read_back(minutes: int) -> None:
    if minutes < 24 * 60 or minutes % 60 == 0:
        duration_ns = minutes * 60 * 10**9
        assert units.parse_duration(units.format_duration(duration_ns)) == duration_ns


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100000/1m", (100_000, 60 * 10**9)), ("0", (0, 0)), ("0/1m", (0, 0)), (" 5/10s ", (5, 10 * 10**9))],
)
def test_rates_are_read(text: str, expected: tuple[int, int]) -> None:
    assert units.parse_rate(text) == expected


@pytest.mark.parametrize("text", ["", "5", "5/", "/1m", "-5/1m", "1.5/1m", "5/1", "5/0", "5/0s", "5/1m/1m", "9" * 20])
def test_other_rates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|duration|window"):
        units.parse_rate(text)


def test_a_rate_beyond_any_provider_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 1000000000000 tokens"):
        units.parse_rate("1000000000001/1m")


@pytest.mark.parametrize(("text", "expected"), [("0.8", 800_000), ("1", 1_000_000), ("0", 0), ("0.000001", 1)])
def test_fractions_are_read(text: str, expected: int) -> None:
    assert units.parse_fraction(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [("1.1", "above 1"), ("80", "above 1"), ("-0.1", "negative"), ("80%", "no number"), ("0.0000001", "finer than")],
)
def test_other_fractions_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        units.parse_fraction(text)


@given(st.integers(0, 10**19), st.integers(0, 10**19))
@example(1, 2)
@example(4_999_999_999, 5_000_000_000)
def test_amounts_that_differ_are_told_apart_and_equal_ones_are_not(used: int, limit: int) -> None:
    shown_used, shown_limit = units.format_dollars_of(used, limit)
    assert (shown_used == shown_limit) == (used == limit)


@pytest.mark.parametrize(
    ("amount", "shown"), [(5_000_000_000, "$5.00"), (125_000_000, "$0.125"), (1, "$0.000000001"), (0, "$0.00")]
)
def test_an_amount_that_was_chosen_keeps_its_digits(amount: int, shown: str) -> None:
    assert units.format_exact_dollars(amount) == shown
