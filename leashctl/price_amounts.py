"""How rates and costs of a price table are written, with all their digits. Pure."""

from __future__ import annotations

from decimal import Decimal

# Powers of ten from a dollar to the unit of an amount.
ATTODOLLAR_PLACES = 18
NANODOLLAR_PLACES = 9
# A rate in attodollars a token, in dollars a million tokens.
MILLION_TOKENS_PLACES = 12

_FEWEST_DECIMALS = 2


def exact(units: int, places: int) -> Decimal:
    """Units of ``10**-places`` as a number, with two decimals at least (``2.50``) and no more than it needs."""
    return Decimal(written(units, places))


def written(units: int, places: int, *, fewest: int = _FEWEST_DECIMALS) -> str:
    """Units of ``10**-places`` as text, with so many decimals at least and no more than it needs: ``2.50``."""
    whole, rest = divmod(units, 10**places)
    decimals = f"{rest:0{places}}".rstrip("0").ljust(fewest, "0")
    return f"{whole}.{decimals}"


def per_million(rate_attodollars: int) -> str:
    """A rate in dollars per million tokens: ``2.50``."""
    return written(rate_attodollars, MILLION_TOKENS_PLACES)


def nanodollars(amount: int) -> str:
    """An amount to the nanodollar: ``$0.033000000``."""
    return f"${written(amount, NANODOLLAR_PLACES, fewest=NANODOLLAR_PLACES)}"
