"""A pace is taken over what is known of the last five minutes, each entry once, in bounded memory."""

from __future__ import annotations

from leash.live.spending import BUCKET_NS, WINDOW_NS, Spending
from leash.v1 import types_pb2
from tests.unit.leash.live.made import DOLLAR, NOW, SECOND, settled


def test_a_pace_is_that_of_the_window() -> None:
    spending = Spending(NOW - WINDOW_NS)
    for number in range(5):
        spending.take(settled(number + 1, NOW - number * SECOND, DOLLAR // 10, tokens=600))
    pace = spending.pace(NOW)
    assert pace.nanodollars_per_hour == 6 * DOLLAR  # half a dollar in five minutes
    assert pace.tokens_per_minute == 600
    assert pace.calls_per_hour == 60


def test_a_run_that_is_known_for_less_has_its_pace_of_that() -> None:
    spending = Spending(NOW - 60 * SECOND)
    spending.take(settled(1, NOW, DOLLAR))
    assert spending.pace(NOW).nanodollars_per_hour == 60 * DOLLAR


def test_one_call_in_the_first_second_is_no_hurry() -> None:
    spending = Spending(NOW)
    spending.take(settled(1, NOW, DOLLAR))
    assert spending.pace(NOW).nanodollars_per_hour == 120 * DOLLAR  # of half a minute, and not of nothing


def test_what_is_older_than_the_window_is_over() -> None:
    spending = Spending(NOW - WINDOW_NS)
    spending.take(settled(1, NOW, DOLLAR))
    assert spending.pace(NOW + WINDOW_NS + BUCKET_NS).nanodollars_per_hour == 0


def test_an_entry_counts_once_whichever_way_it_comes() -> None:
    entries = [settled(seq, NOW, DOLLAR) for seq in range(1, 7)]
    spending = Spending(NOW - WINDOW_NS)
    for entry in entries[3:]:
        spending.take(entry)
        spending.take(entry)
    spending.take_earlier(entries[:5])
    assert spending.pace(NOW).nanodollars_per_hour == 6 * 12 * DOLLAR


def test_entries_of_before_reach_back_as_far_as_they_go() -> None:
    spending = Spending(NOW)
    spending.take_earlier([settled(1, NOW - 100 * SECOND, DOLLAR), settled(2, NOW, 0)])
    assert spending.pace(NOW).nanodollars_per_hour == 36 * DOLLAR


def test_what_replaces_a_cost_counts_its_difference_and_a_release_nothing() -> None:
    spending = Spending(NOW - WINDOW_NS)
    spending.take(settled(1, NOW, 3 * DOLLAR, amended_nanodollars=2 * DOLLAR, amends=True))
    spending.take(types_pb2.Entry(seq=2, at_unix_ns=NOW, kind="resolved", released=True))
    assert spending.pace(NOW).nanodollars_per_hour == 12 * DOLLAR


def test_bars_stand_where_the_money_went() -> None:
    spending = Spending(NOW - WINDOW_NS)
    spending.take(settled(1, NOW - 280 * SECOND, 1))
    spending.take(settled(2, NOW - 100 * SECOND, 2))
    spending.take(settled(3, NOW, 3))
    bars = spending.bars(NOW, 10)
    assert (bars[0], bars[6], bars[9]) == (1, 2, 3)
    assert sum(bars) == 6


def test_a_run_of_days_keeps_some_minutes() -> None:
    spending = Spending(0)
    for seq in range(1, 2_000):
        spending.take(settled(seq, NOW + seq * 60 * SECOND, 1))
    assert len(spending._buckets) < 100
