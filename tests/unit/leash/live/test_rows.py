"""What is shown of a run, in which order, and how figures are written."""

from __future__ import annotations

import pytest

from leash.live.fleet import Fleet, Key, Tracked
from leash.live.order import SORTS, arranged
from leash.live.processes import Live, ProcessGauge
from leash.live.rows import COLUMNS, Row, forecasts, row
from leash.live.spending import WINDOW_NS, Spending
from leash.live.text import bar, cells, count_text, percent_text, printable, sparkline
from leash.v1 import types_pb2
from leashctl.top import SORT_NAMES
from tests.unit.leash.live.made import DOLLAR, NOW, SECOND, account, settled


def tracked(shown: types_pb2.Account, *calls: types_pb2.Entry) -> Tracked:
    run = Tracked(Key("/ledger.db", shown.run), shown, NOW, Spending(NOW - WINDOW_NS))
    for entry in calls:
        run.spending.take(entry)
    return run


def test_a_run_at_work() -> None:
    shown = account(cost=DOLLAR, limit=4 * DOLLAR, calls=7, open_calls=2, unresolved_calls=1)
    run = tracked(shown, settled(1, NOW, DOLLAR // 4, tokens=6_000))
    assert row(run, Live("python agent.py", 12.4, 74 << 20), now_ns=NOW) == Row(
        run="nightly",
        status="running",
        cost="$1.00",
        limit="$4.00",
        used_ppm=250_000,
        per_hour="$3.00",
        spark="         █",
        tokens_per_minute="1.2k",
        left="1h cost",
        calls="7",
        open="2",
        cpu="12%",
        memory="74M",
        note="1 unresolved",
    )


def test_a_run_that_was_stopped_has_no_pace_and_says_why() -> None:
    over = account(cost=DOLLAR, limit=DOLLAR, status=types_pb2.STATUS_STOPPED, reason="cost_budget")
    shown = row(tracked(over, settled(1, NOW, DOLLAR)), None, now_ns=NOW)
    assert (shown.per_hour, shown.left, shown.note, shown.used_ppm) == ("-", "-", "cost_budget", 1_000_000)


def test_the_nearest_limit_is_told() -> None:
    limits = types_pb2.Limits(max_cost_nanodollars=100 * DOLLAR, max_calls=20)
    shown = account(limits=limits, calls=10, deadline_at_unix_ns=NOW + 300 * SECOND)
    run = tracked(shown, settled(1, NOW, DOLLAR))
    assert forecasts(run, now_ns=NOW) == [(300, "time"), (3_000, "calls"), (30_000, "cost")]
    assert row(run, None, now_ns=NOW).left == "5m time"


def test_what_observe_would_have_done_is_noted() -> None:
    run = tracked(account(would_stop=[types_pb2.REASON_STALL, types_pb2.REASON_MAX_CALLS]))
    assert row(run, None, now_ns=NOW).note == "would stop: stall max_calls"


def test_every_column_is_a_field_of_a_row_in_its_order() -> None:
    assert [field for _, field, _ in COLUMNS] == list(Row.__slots__)


def test_the_command_knows_every_order() -> None:
    assert tuple(SORTS) == SORT_NAMES


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("cost", ["dear", "cheap", "over"]),
        ("used", ["cheap", "dear", "over"]),
        ("rate", ["cheap", "dear", "over"]),
        ("left", ["cheap", "dear", "over"]),
        ("calls", ["dear", "cheap", "over"]),
        ("name", ["cheap", "dear", "over"]),
    ],
)
def test_an_order(sort: str, names: list[str]) -> None:
    runs = [
        tracked(account("over", cost=9 * DOLLAR, status=types_pb2.STATUS_FINISHED, calls=99)),
        tracked(account("dear", cost=2 * DOLLAR, limit=9 * DOLLAR, calls=5)),
        tracked(account("cheap", cost=DOLLAR, limit=2 * DOLLAR, calls=3), settled(1, NOW, DOLLAR)),
    ]
    ordered = arranged(runs, sort=sort, backwards=False, wanted="", now_ns=NOW)
    assert [run.key.run for run in ordered] == names


def test_words_that_all_have_to_occur() -> None:
    stopped = types_pb2.STATUS_STOPPED
    runs = [tracked(account("a-1")), tracked(account("b-1", status=stopped, reason="stall")), tracked(account("b-2"))]

    def left(words: str) -> list[str]:
        return [run.key.run for run in arranged(runs, sort="name", backwards=False, wanted=words, now_ns=NOW)]

    assert left("B") == ["b-1", "b-2"]
    assert left("b stall") == ["b-1"]
    assert left("") == ["a-1", "b-1", "b-2"]
    assert left("none") == []


def test_a_thousand_runs_are_put_in_order_within_a_moment() -> None:
    fleet = Fleet()
    fleet.listed("", [account(f"r{number}", cost=number) for number in range(1_000)], asked_at_ns=NOW, now_ns=NOW)
    ordered = arranged(list(fleet), sort="cost", backwards=True, wanted="", now_ns=NOW)
    assert [run.account.total_cost_nanodollars for run in ordered] == list(range(1_000))


def test_bars_and_sparks() -> None:
    assert bar(0, 4) == "░░░░"
    assert bar(500_000, 4) == "██░░"
    assert bar(560_000, 4) == "██▏░"
    assert bar(3_000_000, 4) == "████"
    assert bar(500_000, 4, ascii_only=True) == "##.."
    assert sparkline((0, 1, 50, 100)) == " ▁▄█"
    assert sparkline((0, 0)) == "  "


def test_a_bar_is_as_wide_as_it_should_be() -> None:
    assert {len(bar(ppm, 9)) for ppm in range(0, 1_100_000, 12_345)} == {9}


def test_figures_in_few_characters() -> None:
    shown = [count_text(count) for count in (0, 999, 1_234, 99_999, 123_456, 4_100_000)]
    assert shown == ["0", "999", "1.2k", "100.0k", "123k", "4.1M"]
    assert percent_text(999_999) == "99%"


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    assert printable("a\x1b[31mb") == "a\\x1b[31mb"
    assert cells("日本e\u0301") == 5


def test_cpu_is_that_since_the_last_look() -> None:
    import os  # noqa: PLC0415

    gauge = ProcessGauge()
    assert gauge.look_at(os.getpid()) is not None
    again = gauge.look_at(os.getpid())
    assert again is not None
    assert again.memory_bytes > 1 << 20
    gauge.keep_only(set())
    assert gauge._before == {}
    assert gauge.look_at(2**22 + 1) is None
