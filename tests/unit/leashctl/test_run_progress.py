"""What the line of a wrapped run says."""

from __future__ import annotations

from leash.live.fleet import Key, Tracked
from leash.live.spending import WINDOW_NS, Spending
from leash.v1 import types_pb2
from leashctl.render import event_line
from leashctl.run_progress import line_text
from tests.unit.leash.live.made import DOLLAR, NOW, account, settled


def line(shown: types_pb2.Account, *, spent: int = 0) -> str:
    run = Tracked(Key("", shown.run), shown, NOW, Spending(NOW - WINDOW_NS))
    if spent:
        run.spending.take(settled(1, NOW, spent))
    return line_text(run, now_ns=NOW, ascii_only=True)


def test_a_run_at_work() -> None:
    limits = types_pb2.Limits(max_cost_nanodollars=4 * DOLLAR, max_calls=9)
    shown = account(cost=DOLLAR, limits=limits, calls=3, open_calls=1)
    assert line(shown, spent=DOLLAR) == (
        "leash nightly  $1.00 of $4.00 ##........ 25%  3 of 9 calls, 1 open  $12.00/h  15m left (cost)"
    )


def test_a_run_without_limits() -> None:
    assert line(account(calls=1)) == "leash nightly  $0.00  1 call"


def test_a_run_that_was_stopped_says_why() -> None:
    stopped = account(
        cost=DOLLAR, limit=DOLLAR, calls=3, status=types_pb2.STATUS_STOPPED, reason="stall", unresolved_calls=1
    )
    assert line(stopped) == "leash nightly  $1.00 of $1.00 ########## 100%  3 calls  stopped (stall, 1 unresolved)"


def test_an_event_on_one_line() -> None:
    entry = settled(3, NOW, DOLLAR, model="a\nb", call_id=bytes(16))
    shown = account(cost=DOLLAR, limit=2 * DOLLAR, calls=1)
    assert event_line("r", entry, shown, at="10:00:00") == (
        "10:00:00  r  settled     a\\nb, 100 in 0 out, $1.00, [00000000]  ($1.00 of $2.00, 1 call)"
    )
