"""DESIGN 4.2 and 5: figures from outside are bounded, so that no sum of them outgrows what the ledger stores."""

from __future__ import annotations

from typing import Any

import pytest

from leashd import pricing
from leashd.core.admission import Admit
from leashd.core.bounds import MAX_CALL_NANODOLLARS, MAX_CHOICES, MAX_TOKENS, MAX_TOTAL
from leashd.operations import FailureCode
from leashd.pricing import TABLE_ID_BYTES, read_prices
from tests.unit.leashd.desk import Desk, failure, priced
from tests.unit.leashd.play import DOLLAR

DEAR = b'{"m": {"input": 9000000, "output": 9000000}}'  # nine dollars for a token, the most that a table may say


@pytest.mark.parametrize(
    "facts",
    [
        {"output_bound_tokens": MAX_TOKENS},
        {"choices": MAX_CHOICES},
        {"input_bound_tokens": MAX_TOKENS, "output_bound_tokens": MAX_TOKENS, "choices": MAX_CHOICES},
    ],
)
def test_the_ceiling_of_a_call_is_bounded(desk: Desk, facts: dict[str, Any]) -> None:
    shim = desk.session()
    shim.open(prices=desk.prices(DEAR), max_cost_nanodollars=DOLLAR)

    assert shim.reserve(1, **facts) == Admit(MAX_CALL_NANODOLLARS)
    assert desk.account().open.nanodollars == MAX_CALL_NANODOLLARS


@pytest.mark.parametrize("facts", [{"output_bound_tokens": 2**62}, {"choices": 2**60}])
def test_bounds_beyond_any_call_are_decided_and_written_down(desk: Desk, facts: dict[str, Any]) -> None:
    shim = desk.session()
    shim.open(prices=desk.prices(), max_cost_nanodollars=DOLLAR)
    answer = shim.reserve(1, **facts)

    assert isinstance(answer, Admit)
    assert desk.account().open.nanodollars == answer.held_nanodollars <= MAX_CALL_NANODOLLARS


def test_a_bound_below_zero_holds_nothing_below_zero(desk: Desk) -> None:
    shim = desk.session()
    shim.open(prices=desk.prices(), max_cost_nanodollars=DOLLAR)
    answer = shim.reserve(1, input_bound_tokens=-5, output_bound_tokens=-5)

    assert isinstance(answer, Admit)
    assert answer.held_nanodollars >= 0


def test_the_cost_of_a_call_is_bounded(desk: Desk) -> None:
    shim = desk.session()
    shim.open(prices=desk.prices(DEAR))
    shim.admitted(1)
    shim.settle(1, tokens=MAX_TOKENS)

    assert desk.account().totals.token_cost_nanodollars == MAX_CALL_NANODOLLARS


def test_totals_stop_at_the_largest_that_is_stored(desk: Desk) -> None:
    shim = desk.session()
    shim.open(prices=desk.prices(DEAR))
    for call in (1, 2, 3):
        shim.admitted(call)
        shim.settle(call, tokens=2**60)

    totals = desk.account().totals
    assert (totals.calls, totals.input_tokens) == (3, MAX_TOTAL)
    assert totals.token_cost_nanodollars == 3 * MAX_CALL_NANODOLLARS


def test_many_large_answers_are_added_up(desk: Desk) -> None:
    shim = priced(desk)
    for call in (1, 2, 3):
        shim.admitted(call)
        shim.settle(call, tokens=2**53)

    assert desk.account().totals.input_tokens == 3 * 2**53


def test_a_table_is_decoded_once_for_all_the_runs_that_are_opened_under_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices, others = desk.prices(), desk.prices(DEAR)
    shim = desk.session()
    shim.open("first", prices=prices)
    decoded: list[bytes] = []
    really = pricing._decode

    def decode(stored: bytes) -> Any:
        decoded.append(stored)
        return really(stored)

    monkeypatch.setattr(pricing, "_decode", decode)
    for number in range(3):
        shim.open(f"run{number}", prices=prices)
        shim.open(f"run{number}", prices=others)

    assert len(decoded) == 1
    unknown = prices[:TABLE_ID_BYTES] + bytes(32 - TABLE_ID_BYTES)
    assert failure(shim.open("other", prices=unknown)) is FailureCode.PRICES_UNKNOWN
    assert failure(shim.open("other", prices=bytes(32))) is FailureCode.PRICES_UNKNOWN


def test_a_table_that_could_not_be_written_is_not_known(desk: Desk) -> None:
    shim = desk.session()
    stored = read_prices(DEAR)
    desk.ask_later(stored)
    batch, _ = desk.engine.take()
    desk.engine.discard(batch, desk.now_ns)

    assert failure(shim.open(prices=stored.sha256)) is FailureCode.PRICES_UNKNOWN
    desk.ask(stored)
    shim.open(prices=stored.sha256)
    assert desk.account().prices == stored.sha256[:TABLE_ID_BYTES]
