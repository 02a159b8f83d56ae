from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

from leashd.event_log import log_entries
from leashd.logs import journal_fields
from tests.unit.leashd.desk import Desk, priced


def told(desk: Desk, run: str = "r") -> list[dict[str, Any]]:
    """What the log tells of a run's whole journal, but for what is for debugging."""
    account = desk.account(run)
    with capture_logs() as lines:
        log_entries([(account, stored.entry) for stored in desk.ledger.journal(account.number)])
    return [dict(line) for line in lines if line["log_level"] != "debug"]


def test_a_stop_has_its_run_its_reason_and_exact_figures(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=5_000_000)
    shim.admitted(1)
    shim.settle(1, tokens=6_000)
    assert shim.refused(2) == "cost_budget"

    assert told(desk) == [
        {
            "event": "run_stopped",
            "run": "r",
            "reason": "cost_budget",
            "used": "$0.006",
            "limit": "$0.005",
            "log_level": "warning",
        }
    ]


def test_a_warning_and_what_observation_would_stop(desk: Desk) -> None:
    shim = priced(desk, max_calls=1, warn_at_ppm=500_000, observe=True)
    shim.admitted(1)
    shim.settle(1)
    shim.admitted(2)

    assert [(line["event"], line["reason"], line["used"], line["limit"]) for line in told(desk)] == [
        ("run_warned", "max_calls", "1", "1"),
        ("run_would_stop", "max_calls", "1", "1"),
    ]


def test_who_killed_and_who_raised(desk: Desk) -> None:
    shim = desk.session()
    shim.open()
    desk.kill("r", now=True)
    desk.raise_limits(resume=True)

    killed, raised = told(desk)
    assert (killed["event"], killed["reason"], killed["uid"], killed["now"]) == ("run_killed", "kill_switch", 7, True)
    assert (raised["event"], raised["uid"], raised["lifted"]) == ("run_raised", 7, True)


def test_unresolved_calls_are_one_line_for_a_run_and_a_resolve_is_one(desk: Desk) -> None:
    shim = desk.session()
    shim.open()
    shim.admitted(1, 2)
    shim.abandon(1)
    shim.abandon(2)
    shim.settle(2)
    desk.resolve(b"", 5)

    resolved, unresolved = told(desk)
    assert (unresolved["event"], unresolved["reason"], unresolved["calls"]) == (
        "calls_unresolved",
        "unresolved_calls",
        2,
    )
    assert (resolved["event"], resolved["cost"], resolved["uid"]) == ("call_resolved", "$0.000000005", 7)


def test_ordinary_calls_are_not_told_of(desk: Desk) -> None:
    shim = desk.session()
    shim.open()
    shim.admitted(1)
    shim.settle(1, tokens=5)
    shim.close()
    assert told(desk) == []


def test_a_tenants_run_is_found_in_the_journal_by_its_whole_name_and_by_its_own() -> None:
    fields = journal_fields({"event": "run_stopped", "run": "ann/nightly", "uid": None}, level="warning", message="m")
    assert fields == [
        ("MESSAGE", "m"),
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "leashd"),
        ("LEASH_EVENT", "run_stopped"),
        ("LEASH_RUN", "ann/nightly"),
        ("LEASH_RUN", "nightly"),
    ]
