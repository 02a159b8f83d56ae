"""Lists and entries may come in any order, and none of them takes anything back."""

from __future__ import annotations

from leash.live.fleet import LINGER_NS, Fleet, Key
from leash.v1 import types_pb2
from tests.unit.leash.live.made import DOLLAR, NOW, SECOND, account, settled

LEDGER = "/ledger.db"


def test_an_older_list_takes_nothing_back() -> None:
    fleet = Fleet()
    fleet.changed(LEDGER, account(cost=2, entries=12), settled(12, NOW, 1), now_ns=NOW)
    fleet.listed(LEDGER, [account(cost=1, entries=11)], asked_at_ns=NOW - 1, now_ns=NOW)
    run = fleet.get(Key(LEDGER, "nightly"))
    assert run is not None
    assert run.account.total_cost_nanodollars == 2


def test_a_run_that_a_list_lacks_is_gone_unless_it_was_heard_of_since() -> None:
    fleet = Fleet()
    fleet.listed(LEDGER, [account("old"), account("other")], asked_at_ns=NOW, now_ns=NOW)
    fleet.changed(LEDGER, account("new"), settled(1, NOW, 1), now_ns=NOW + 5)
    fleet.listed(LEDGER, [account("other")], asked_at_ns=NOW + 3, now_ns=NOW + 9)
    assert sorted(run.key.run for run in fleet) == ["new", "other"]


def test_runs_of_one_name_in_two_ledgers_are_two() -> None:
    fleet = Fleet()
    fleet.listed("/one.db", [account(cost=1)], asked_at_ns=NOW, now_ns=NOW)
    fleet.listed("/two.db", [account(cost=2)], asked_at_ns=NOW, now_ns=NOW)
    assert len(fleet) == 2


def test_a_finished_run_stays_for_a_while() -> None:
    fleet = Fleet()
    over = account(status=types_pb2.STATUS_FINISHED, openers=0, entries=20)
    fleet.changed(LEDGER, over, types_pb2.Entry(seq=20, kind="closed"), now_ns=NOW)
    fleet.tidy(NOW + LINGER_NS)
    assert len(fleet) == 1
    fleet.tidy(NOW + LINGER_NS + 1)
    assert len(fleet) == 0


def test_where_all_are_wanted_it_stays() -> None:
    fleet = Fleet(show_finished=True)
    fleet.listed(LEDGER, [account(status=types_pb2.STATUS_FINISHED)], asked_at_ns=NOW, now_ns=NOW)
    fleet.tidy(NOW + 100 * LINGER_NS)
    assert len(fleet) == 1


def test_compute_goes_on_between_two_entries_of_a_run_that_is_open() -> None:
    limits = types_pb2.Limits(compute_rate_nanodollars_per_hour=36 * DOLLAR)
    fleet = Fleet()
    fleet.listed(
        LEDGER,
        [
            account("open", cost=DOLLAR, limits=limits),
            account("stopped", cost=DOLLAR, limits=limits, status=types_pb2.STATUS_STOPPED),
        ],
        asked_at_ns=NOW,
        now_ns=NOW,
    )
    costs = {run.key.run: run.total_cost_nanodollars(NOW + 100 * SECOND) for run in fleet}
    assert costs == {"open": 2 * DOLLAR, "stopped": DOLLAR}
