from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from leashd.core.reasons import Unit
from leashd.reactions.telling import body, variables
from tests.unit.leashd.core.test_outbox import NOTICE
from tests.unit.leashd.play import DOLLAR, SECOND

COST = replace(
    NOTICE, reason="cost_budget", unit=Unit.NANODOLLARS, used=5 * DOLLAR + 1, limit=5 * DOLLAR, calls=18,
    token_cost_nanodollars=4 * DOLLAR + 1, compute_cost_nanodollars=DOLLAR,
)  # fmt: skip


def test_the_body_has_the_fields_of_the_contract_and_money_with_all_its_digits() -> None:
    assert body(COST) == (
        b'{"event":"stopped","id":"evt_1","run":"r","reason":"cost_budget","used":5.000000001,"limit":5.00,'
        b'"unit":"dollars","fraction":1,"calls":18,"token_cost":4.000000001,"compute_cost":1.00,'
        b'"total_cost":5.000000001,"at":"2023-11-14T22:13:20Z"}'
    )


@pytest.mark.parametrize(
    ("unit", "used", "limit", "told"),
    [
        (Unit.CALLS, 100, 100, ("100", "100", "1")),
        (Unit.NANOSECONDS, 1_800 * SECOND, 1_800 * SECOND, ("1800", "1800", "1")),
        (Unit.NANOSECONDS, 90 * SECOND + SECOND // 2, 90 * SECOND, ("90.5", "90", "1.005555")),
        (Unit.NANODOLLARS, 5_010_000_000, 5_000_000_000, ("5.01", "5.00", "1.002")),
        (Unit.NANODOLLARS, 500 * DOLLAR, DOLLAR, ("500.00", "1.00", "500")),
        (Unit.TOKENS, 2**62, 1, (str(2**62), "1", str(2**62))),
    ],
)
def test_figures_are_exact_and_plain_in_both_forms(
    unit: Unit, used: int, limit: int, told: tuple[str, str, str]
) -> None:
    notice = replace(NOTICE, unit=unit, used=used, limit=limit)
    sent = json.loads(body(notice), parse_float=Decimal, parse_int=Decimal)
    given = variables(notice)

    assert (given["LEASH_USED"], given["LEASH_LIMIT"], given["LEASH_FRACTION"]) == told
    assert (sent["used"], sent["limit"], sent["fraction"]) == tuple(map(Decimal, told))
    assert "E" not in body(notice).decode().replace("EVENT", "")


def test_without_a_limit_there_is_no_fraction() -> None:
    free = replace(COST, limit=0)

    assert json.loads(body(free))["limit"] is None
    assert json.loads(body(free))["fraction"] is None
    assert (variables(free)["LEASH_LIMIT"], variables(free)["LEASH_FRACTION"]) == ("", "")
