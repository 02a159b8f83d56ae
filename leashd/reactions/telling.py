"""A notice as others read it: the body of a webhook, and the environment of a hook. Pure.

Both are a contract: names are only ever added. Money is exact.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from leash.units import NANOSECONDS_PER_SECOND, dollars_number
from leashd.core.notices import Notice
from leashd.core.reasons import Unit

_encode = msgspec.json.Encoder(decimal_format="number").encode

_UNITS = {
    Unit.NANODOLLARS: "dollars",
    Unit.NANOSECONDS: "seconds",
    Unit.CALLS: "calls",
    Unit.TOKENS: "tokens",
    Unit.REPLIES: "replies",
}
_MICRO = Decimal("0.000001")


def body(notice: Notice) -> bytes:
    """The JSON object of a notice; the same bytes at every attempt."""
    return _encode(
        {
            "event": notice.kind.label,
            "id": notice.id,
            "run": notice.run,
            "reason": notice.reason,
            "used": _figure(notice.unit, notice.used),
            "limit": _figure(notice.unit, notice.limit) if notice.limit else None,
            "unit": _UNITS[notice.unit],
            "fraction": _fraction(notice),
            "calls": notice.calls,
            "token_cost": dollars_number(notice.token_cost_nanodollars),
            "compute_cost": dollars_number(notice.compute_cost_nanodollars),
            "total_cost": dollars_number(notice.total_cost_nanodollars),
            "at": instant(notice.at_ns),
        }
    )


def variables(notice: Notice) -> dict[str, str]:
    """The environment variables of a notice; empty for what there is none of."""
    fraction = _fraction(notice)
    return {
        "LEASH_EVENT": notice.kind.label,
        "LEASH_EVENT_ID": notice.id,
        "LEASH_RUN": notice.run,
        "LEASH_REASON": notice.reason,
        "LEASH_CALLS": str(notice.calls),
        "LEASH_TOTAL_COST": str(dollars_number(notice.total_cost_nanodollars)),
        "LEASH_TOKEN_COST": str(dollars_number(notice.token_cost_nanodollars)),
        "LEASH_COMPUTE_COST": str(dollars_number(notice.compute_cost_nanodollars)),
        "LEASH_USED": f"{_figure(notice.unit, notice.used)}",
        "LEASH_LIMIT": f"{_figure(notice.unit, notice.limit)}" if notice.limit else "",
        "LEASH_UNIT": _UNITS[notice.unit],
        "LEASH_FRACTION": "" if fraction is None else f"{fraction:f}",
        "LEASH_AT": instant(notice.at_ns),
    }


def instant(at_ns: int) -> str:
    """RFC 3339 in UTC, to the second."""
    return f"{datetime.fromtimestamp(at_ns // NANOSECONDS_PER_SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _figure(unit: Unit, figure: int) -> Decimal | int:
    if unit is Unit.NANODOLLARS:
        return dollars_number(figure)
    if unit is Unit.NANOSECONDS:
        return _plain(Decimal(figure // 1_000) * _MICRO)
    return figure


def _fraction(notice: Notice) -> Decimal | None:
    """What part of the limit is used, to a millionth, rounded down: below one as long as there is something left."""
    if not notice.limit:
        return None
    return _plain(Decimal(notice.used * 10**6 // notice.limit) * _MICRO)


def _plain(number: Decimal) -> Decimal:
    """The number without zeros at its end, and without an exponent."""
    return number.normalize() + 0
