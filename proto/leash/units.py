"""Units: how money, durations, rates and fractions are typed and shown.

Inside leash, money is a whole number of nanodollars, time of nanoseconds, a fraction of parts per million. Text is
read exactly or refused, never rounded.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import ROUND_HALF_UP, Context, Decimal

import durationpy

NANODOLLARS_PER_DOLLAR = 10**9
NANOSECONDS_PER_SECOND = 10**9
PPM_PER_ONE = 10**6

# The ledger and the wire keep 64-bit integers; nine thousand million dollars are 9.0e18 nanodollars, just within.
MOST_DOLLARS = 9 * 10**9

# A century: far beyond any run, and far within 64 bits of nanoseconds.
MOST_DURATION_NS = 100 * 365 * 86_400 * NANOSECONDS_PER_SECOND

# A million million tokens in one window: beyond what any provider serves, and within 64 bits with room for sums.
MOST_RATE_TOKENS = 10**12

# What a number may look like, in fewer characters than any reading of it could take long over.
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")
_MOST_NUMBER_CHARACTERS = 64

# durationpy reads "mm" as months and "y" as years, which nobody means by a deadline, and skips what it does not
# know between two terms; so the shape is checked before it reads.
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s|us|µs|μs|d|w))+")

_TOKENS = re.compile(r"[0-9]{1,18}")

# Enough digits that quantizing any 64-bit amount is exact before it is rounded on purpose.
_WIDE = Context(prec=40)

# What an amount is shown with, and the most that a limit's own digits ask for: finer ones come of a subtraction.
_FEWEST_DECIMALS = 2
_MOST_LIMIT_DECIMALS = 4

# Each unit in seconds, with the smaller one that is shown beside it.
_SHOWN_DURATIONS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))


def parse_dollars(text: str) -> int:
    """Nanodollars of an amount such as ``5``, ``0.25`` or ``$5``.

    Raises ``ValueError`` where it is no number, negative, finer than a nanodollar or more than nine thousand million.
    """
    amount = _number(text, text.strip().removeprefix("$"), example="5.00")
    if amount > MOST_DOLLARS:
        raise ValueError(f"{text!r} is more than {MOST_DOLLARS} dollars")
    return _whole(text, amount, NANODOLLARS_PER_DOLLAR, finest="a nanodollar (0.000000001)")


def format_dollars(nanodollars: int) -> str:
    """An amount for people: ``$4.10``, rounded half up to a cent; below one cent its first two digits, ``$0.0012``."""
    amount = dollars_number(abs(nanodollars))
    cents = Decimal("0.01")
    places = cents
    if 0 < amount < cents:
        # The second significant digit, but no finer than the nanodollar that amounts are kept in.
        places = max(Decimal((0, (1,), amount.adjusted() - 1)), Decimal("1e-9"))
    shown = amount.quantize(places, ROUND_HALF_UP, _WIDE)
    if cents <= shown:
        shown = shown.quantize(cents, ROUND_HALF_UP, _WIDE)
    sign = "-" if nanodollars < 0 else ""
    return f"{sign}${shown:f}"


def format_exact_dollars(nanodollars: int) -> str:
    """An amount that somebody has chosen, such as a limit, with all its digits: ``$5.00``, ``$0.125``."""
    sign = "-" if nanodollars < 0 else ""
    return f"{sign}${json_dollars(abs(nanodollars))}"


def format_dollars_of(used: int, limit: int) -> tuple[str, str]:
    """An amount and the limit that it is compared with, for people, such that two that differ look different.

    Both have the decimals of the limit, up to four (``$0.125``, ``$0.125``), or as many as tell them apart
    (``$0.0301``, ``$0.0300``); an amount that would come to nothing is shown by itself.
    """
    decimals = max(_FEWEST_DECIMALS, len(json_dollars(abs(limit)).partition(".")[2]))
    if decimals > _MOST_LIMIT_DECIMALS:
        decimals = _FEWEST_DECIMALS
    while used != limit and _rounded(used, decimals) == _rounded(limit, decimals):
        decimals += 1
    shown_used, shown_limit = (
        f"${_rounded(amount, decimals):f}" if _rounded(amount, decimals) else format_dollars(amount)
        for amount in (used, limit)
    )
    return shown_used, shown_limit


def dollars_number(nanodollars: int) -> Decimal:
    """The exact amount in dollars, with two decimals at least (``4.10``) and nine at most.

    Encode it with an encoder that writes decimals as numbers (``msgspec.json.Encoder(decimal_format="number")``), or
    use ``json_dollars``: a float does not hold all the digits of a large amount.
    """
    return Decimal(json_dollars(nanodollars))


def json_dollars(nanodollars: int) -> str:
    """The exact amount in dollars as the text of a JSON number, with all its digits: ``4.10``, ``0.000000001``."""
    dollars, rest = divmod(abs(nanodollars), NANODOLLARS_PER_DOLLAR)
    decimals = f"{rest:09}".rstrip("0").ljust(2, "0")
    sign = "-" if nanodollars < 0 else ""
    return f"{sign}{dollars}.{decimals}"


def parse_duration(text: str) -> int:
    """Nanoseconds of a duration such as ``90s``, ``15m``, ``1h30m``, ``1.5h``, ``2d`` or ``0``.

    Raises ``ValueError`` where it is none, is negative, is longer than a century, or is shorter than a microsecond
    without being zero (zero turns a boundary off, so nothing may round to it).
    """
    trimmed = text.strip()
    if trimmed == "0":
        return 0
    if trimmed.startswith("-"):
        raise ValueError(f"{text!r} is negative: a duration is zero or more")
    if len(trimmed) > _MOST_NUMBER_CHARACTERS or _DURATION.fullmatch(trimmed) is None:
        raise ValueError(f"{text!r} is no duration: write it as 90s, 15m or 1h30m")
    try:
        delta: timedelta = durationpy.from_str(trimmed)
    except ValueError as error:
        raise ValueError(f"{text!r} is no duration: write it as 90s, 15m or 1h30m") from error
    duration_ns = delta // timedelta(microseconds=1) * 1_000
    if duration_ns > MOST_DURATION_NS:
        raise ValueError(f"{text!r} is longer than a century")
    if duration_ns == 0 and any(digit in trimmed for digit in "123456789"):
        raise ValueError(f"{text!r} is shorter than a microsecond")
    return duration_ns


def format_duration(duration_ns: int) -> str:
    """A duration for people, rounded down to its two largest units: ``250ms``, ``90s``, ``1h30m``, ``3d4h``."""
    if duration_ns < 0:
        return f"-{format_duration(-duration_ns)}"
    seconds = duration_ns // NANOSECONDS_PER_SECOND
    if seconds == 0:
        return _format_below_a_second(duration_ns)
    if seconds < 120:
        return f"{seconds}s"
    size, unit, smaller_size, smaller_unit = next(row for row in _SHOWN_DURATIONS if seconds >= row[0])
    smaller = seconds % size // smaller_size
    return f"{seconds // size}{unit}" + (f"{smaller}{smaller_unit}" if smaller else "")


def parse_rate(text: str) -> tuple[int, int]:
    """Tokens and the window in nanoseconds that they are for, of a rate such as ``100000/1m``; ``(0, 0)`` of ``0``.

    Raises ``ValueError`` where either half is malformed or the window is zero.
    """
    trimmed = text.strip()
    if trimmed == "0":
        return 0, 0
    tokens_text, slash, window_text = trimmed.partition("/")
    if not slash or _TOKENS.fullmatch(tokens_text) is None:
        raise ValueError(f"{text!r} is no rate: write it as tokens/window, such as 100000/1m, or 0 for none")
    tokens = int(tokens_text)
    if tokens > MOST_RATE_TOKENS:
        raise ValueError(f"{text!r} is more than {MOST_RATE_TOKENS} tokens")
    window_ns = parse_duration(window_text)
    if window_ns == 0:
        raise ValueError(f"{text!r} has no window: write it as tokens/window, such as 100000/1m")
    return (tokens, window_ns) if tokens else (0, 0)


def parse_fraction(text: str) -> int:
    """Parts per million of a fraction such as ``0.8``.

    Raises ``ValueError`` where it is no number between 0 and 1, or finer than a millionth.
    """
    fraction = _number(text, text.strip(), example="0.8")
    if fraction > 1:
        raise ValueError(f"{text!r} is above 1: write four fifths as 0.8")
    return _whole(text, fraction, PPM_PER_ONE, finest="a millionth (0.000001)")


def _number(given: str, number: str, *, example: str) -> Decimal:
    """The exact value of plain decimal text, which ``Decimal`` alone would read too generously (``nan``, ``1_0``)."""
    if number.startswith("-"):
        raise ValueError(f"{given!r} is negative: it must be zero or more")
    if len(number) > _MOST_NUMBER_CHARACTERS or _NUMBER.fullmatch(number) is None:
        raise ValueError(f"{given!r} is no number: write it as {example}")
    return Decimal(number)


def _rounded(nanodollars: int, decimals: int) -> Decimal:
    """An amount in dollars, rounded half up to so many decimals, of which nine are exact."""
    return dollars_number(nanodollars).quantize(Decimal((0, (1,), -decimals)), ROUND_HALF_UP, _WIDE)


def _whole(given: str, value: Decimal, units: int, *, finest: str) -> int:
    numerator, denominator = value.as_integer_ratio()
    whole, rest = divmod(numerator * units, denominator)
    if rest:
        raise ValueError(f"{given!r} is finer than {finest}")
    return whole


def _format_below_a_second(duration_ns: int) -> str:
    for unit, size in (("ms", 1_000_000), ("us", 1_000)):
        if duration_ns >= size:
            return f"{duration_ns // size}{unit}"
    return f"{duration_ns}ns" if duration_ns else "0s"
