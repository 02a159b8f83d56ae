"""Numbers of a price table, exact: dollars as written to whole attodollars or nanodollars.

A rate is kept in attodollars (1e-18 dollars) for each token, a price of a request in nanodollars. A float never
takes part: the JSON reader hands over ``Decimal``.
"""

from __future__ import annotations

from decimal import Decimal

ATTODOLLARS_PER_NANODOLLAR = 10**9

# Powers of ten from the written unit to the kept one.
PLACES_PER_MILLION_TOKENS = 12
PLACES_PER_TOKEN = 18
PLACES_PER_REQUEST = 9

# A rate fits a signed 64-bit integer wherever it is stored: nine dollars a token, nine million a million tokens.
MOST_UNITS = 9 * 10**18

# No model reads or writes more tokens in one call; products with a rate stay small integers.
MOST_TOKENS = 10**12

# No surcharge is a thousandfold.
MOST_FACTOR = 1000
_FACTOR_PLACES = 6
_PPM_PER_ONE = 1_000_000

# A JSON number of more characters than this is no price (a double has at most 25).
MOST_NUMBER_CHARACTERS = 64


def whole_units(value: object, places: int, *, round_up: bool) -> int:
    """Dollars in units of ``10**-places``; finer digits are rounded up where ``round_up``, else refused.

    Raises ``ValueError`` that says what is wrong with the value, without naming it.
    """
    number = _number(value)
    if not number:
        return 0
    if number.adjusted() + places > len(str(MOST_UNITS)):
        raise ValueError(f"must be at most {_dollars(MOST_UNITS, places)}, not {number}")
    if number.adjusted() + places < -MOST_NUMBER_CHARACTERS:
        # Far below one unit, and its exact ratio could be an enormous integer.
        whole, rest = 0, 1
    else:
        numerator, denominator = number.as_integer_ratio()
        whole, rest = divmod(numerator * 10**places, denominator)
    if rest and not round_up:
        raise ValueError(f"must be a multiple of {_dollars(1, places)}, not {number}")
    result = whole + bool(rest)
    if result > MOST_UNITS:
        raise ValueError(f"must be at most {_dollars(MOST_UNITS, places)}, not {number}")
    return result


def factor_ppm(value: object) -> int:
    """A factor in parts per million, rounded up, raising ``ValueError`` as ``whole_units`` does."""
    number = _number(value)
    if number > MOST_FACTOR:
        raise ValueError(f"must be at most {MOST_FACTOR}, not {number}")
    return whole_units(number, _FACTOR_PLACES, round_up=True)


def scaled(units: int, ppm: int) -> int:
    """A rate times a factor in parts per million, rounded up, raising ``ValueError`` as ``whole_units`` does."""
    result = -(-units * ppm // _PPM_PER_ONE)
    if result > MOST_UNITS:
        raise ValueError("makes a rate that is too high")
    return result


def tokens(value: object) -> int:
    """A whole number of tokens, zero or more, raising ``ValueError`` as ``whole_units`` does."""
    number = _number(value)
    if not number:
        return 0
    if number > MOST_TOKENS:
        raise ValueError(f"must be at most {MOST_TOKENS} tokens, not {number}")
    # The magnitude comes first, since a tiny number takes long to compare with its integral value.
    if number < 1 or number != number.to_integral_value():
        raise ValueError(f"must be a whole number of tokens, not {number}")
    return int(number)


def describe(value: object) -> str:
    """What a JSON value is, for an error about it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return str(value)


def _number(value: object) -> Decimal:
    if not isinstance(value, Decimal):
        raise ValueError(f"must be a number, not {describe(value)}")  # noqa: TRY004 - the table is at fault
    if value < 0:
        raise ValueError(f"must be zero or more, not {value}")
    return value


def _dollars(whole: int, places: int) -> str:
    return f"{Decimal(whole).scaleb(-places).normalize():f} dollars"
