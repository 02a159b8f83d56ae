from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from leash.usage import Usage
from leash.v1 import shim_pb2, types_pb2
from leash_shim.gateway.config import METRICS_DIRECTORY
from leash_shim.gateway.metrics import ERROR_KINDS, PROVIDERS, REASONS, GatewayMetrics
from leash_shim.observer import DECISIONS, Exchange

CALL = b"one call's id..."


@pytest.fixture
def metrics() -> GatewayMetrics:
    return GatewayMetrics()


def exchange(request_id: bytes = CALL, **told: Any) -> Exchange:
    return Exchange(**{"request_id": request_id, "method": "POST", "path": "/v1/messages", "started_ns": 0} | told)


def value(metrics: GatewayMetrics, name: str, **labels: str) -> float:
    """A sample, which has to be there."""
    found = metrics.registry.get_sample_value(name, labels)
    assert found is not None, f"{name} {labels}"
    return found


def samples(metrics: GatewayMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Everything that is counted; not when each series was made."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def stopped(reason: types_pb2.Reason.ValueType, *, counts: bool) -> shim_pb2.Push:
    return shim_pb2.Push(run_stopped=shim_pb2.RunStopped(run="nightly", reason=reason, counts=counts))


def warned(reason: str, *, counts: bool) -> shim_pb2.Push:
    return shim_pb2.Push(run_warned=shim_pb2.RunWarned(run="nightly", reason=reason, counts=counts))


def test_a_request_is_under_way_until_it_has_ended(metrics: GatewayMetrics) -> None:
    first, second = exchange(), exchange()
    metrics.began(first)
    metrics.began(second)
    assert value(metrics, "leash_requests_in_flight") == 2
    metrics.ended(first)
    metrics.ended(second)
    assert value(metrics, "leash_requests_in_flight") == 0


def test_a_request_that_is_over_is_counted_by_decision_provider_and_status(metrics: GatewayMetrics) -> None:
    metrics.ended(exchange(decision="admitted", provider="anthropic", status=200, ended_ns=3_000_000_000))
    assert value(metrics, "leash_calls_total", decision="admitted", provider="anthropic") == 1
    assert value(metrics, "leash_responses_total", code="200") == 1
    assert value(metrics, "leash_request_duration_seconds_sum") == 3
    assert value(metrics, "leash_request_duration_seconds_bucket", le="2.5") == 0
    assert value(metrics, "leash_request_duration_seconds_bucket", le="5.0") == 1


def test_a_request_that_was_cut_before_it_was_decided_has_failed(metrics: GatewayMetrics) -> None:
    metrics.ended(exchange())
    assert value(metrics, "leash_calls_total", decision="failed", provider="none") == 1


def test_an_agent_that_got_no_status_is_not_counted_among_the_answers(metrics: GatewayMetrics) -> None:
    before = {key: count for key, count in samples(metrics).items() if key[0] == "leash_responses_total"}
    metrics.ended(exchange(decision="denied"))
    assert {key: count for key, count in samples(metrics).items() if key[0] == "leash_responses_total"} == before


def test_a_call_that_the_ledger_did_not_record_is_an_error_of_the_ledger(metrics: GatewayMetrics) -> None:
    metrics.reserved(exchange(), None, 5.0)
    metrics.ended(exchange(decision="failed", reason="leash_unavailable", status=503))
    metrics.ended(exchange(decision="failed", reason="too_many_runs", status=503))
    assert value(metrics, "leash_ledger_errors_total") == 1
    assert value(metrics, "leash_reserve_duration_seconds_sum") == 5


def test_what_comes_from_outside_makes_no_series_without_end(metrics: GatewayMetrics) -> None:
    for status in (529, 777, 778, 999):
        metrics.ended(exchange(decision="admitted", provider="a vendor of tomorrow", status=status))
    before = samples(metrics).keys()
    for status in range(600, 1000):
        metrics.ended(exchange(decision="admitted", provider=f"vendor {status}", status=status))
    metrics.pushed(warned("a reason of tomorrow", counts=True))
    metrics.reserved(exchange(), shim_pb2.Refused(reason=types_pb2.REASON_UNSPECIFIED), 0.001)

    assert samples(metrics).keys() == before
    assert value(metrics, "leash_responses_total", code="529") == 1
    assert value(metrics, "leash_responses_total", code="other") == 403
    assert value(metrics, "leash_calls_total", decision="admitted", provider="none") == 404
    assert value(metrics, "leash_budget_warnings_total", reason="other") == 1
    assert value(metrics, "leash_refusals_total", reason="other") == 1


def test_a_refusal_is_counted_by_its_reason(metrics: GatewayMetrics) -> None:
    metrics.reserved(exchange(), shim_pb2.Refused(reason=types_pb2.REASON_COST_BUDGET), 0.002)
    assert value(metrics, "leash_refusals_total", reason="cost_budget") == 1
    assert value(metrics, "leash_reserve_duration_seconds_count") == 1
    assert value(metrics, "leash_held_cost_usd") == 0


def test_a_stop_and_a_warning_count_for_the_session_that_is_told_so(metrics: GatewayMetrics) -> None:
    for counts in (True, False):
        metrics.pushed(stopped(types_pb2.REASON_STALL, counts=counts))
        metrics.pushed(warned("max_calls", counts=counts))
    assert value(metrics, "leash_stops_total", reason="stall") == 1
    assert value(metrics, "leash_budget_warnings_total", reason="max_calls") == 1


def test_tokens_are_counted_by_kind(metrics: GatewayMetrics) -> None:
    usage = Usage(
        input_tokens=100, output_tokens=20, cached_input_tokens=60, reasoning_tokens=15, web_search_requests=2
    )
    metrics.settled(exchange(), usage)
    metrics.settled(exchange(), Usage(input_tokens=1, other_tool_requests=1))
    metrics.settled(exchange(), None)
    assert value(metrics, "leash_tokens_total", kind="input") == 101
    assert value(metrics, "leash_tokens_total", kind="output") == 20
    assert value(metrics, "leash_tokens_total", kind="cached_input") == 60
    assert value(metrics, "leash_tokens_total", kind="reasoning") == 15
    assert value(metrics, "leash_tokens_total", kind="cache_write") == 0
    assert value(metrics, "leash_server_tool_requests_total") == 3


def test_a_settle_costs_once_it_is_confirmed(metrics: GatewayMetrics) -> None:
    metrics.closed(CALL, shim_pb2.Closed(outcome="settled", cost_nanodollars=25_000_000), "settle", 0.004)
    assert value(metrics, "leash_token_cost_usd_total") == 0.025
    assert value(metrics, "leash_settle_duration_seconds_sum") == 0.004
    assert value(metrics, "leash_blind_calls_total") == 0


def test_a_settle_that_could_not_be_priced_is_a_blind_call(metrics: GatewayMetrics) -> None:
    blind = shim_pb2.Closed(outcome="settled", blind=types_pb2.REASON_UNPRICED_MODEL)
    metrics.closed(CALL, blind, "settle", 0.004)
    assert value(metrics, "leash_blind_calls_total") == 1


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [("voided", "void"), ("unresolved", "abandon"), ("voided", "cancel"), ("", "settle"), ("voided", "settle")],
)
def test_a_call_that_ends_in_another_way_costs_nothing(metrics: GatewayMetrics, outcome: str, kind: str) -> None:
    metrics.closed(CALL, shim_pb2.Closed(outcome=outcome), kind, 0.004)
    assert value(metrics, "leash_token_cost_usd_total") == 0
    assert value(metrics, "leash_settle_duration_seconds_count") == 0


@pytest.mark.parametrize("kind", ["settle", "void", "abandon", "cancel"])
def test_a_hold_is_held_until_its_call_is_closed(metrics: GatewayMetrics, kind: str) -> None:
    metrics.reserved(exchange(), shim_pb2.Admitted(held_nanodollars=1_500_000_000), 0.001)
    assert value(metrics, "leash_held_cost_usd") == 1.5
    metrics.closed(CALL, shim_pb2.Closed(), kind, 0.1)
    metrics.closed(CALL, shim_pb2.Closed(), kind, 0.1)
    assert value(metrics, "leash_held_cost_usd") == 0


def test_holds_do_not_drift(metrics: GatewayMetrics) -> None:
    # Each a fraction that has no exact form in binary: as a sum of such, what is left at the end is not zero.
    calls = [number.to_bytes(16, "big") for number in range(1, 1001)]
    for number, call in enumerate(calls, start=1):
        metrics.reserved(exchange(call), shim_pb2.Admitted(held_nanodollars=number * 100_000_001), 0.001)
    for call in sorted(calls, key=lambda call: call[::-1]):
        metrics.closed(call, shim_pb2.Closed(outcome="settled"), "settle", 0.001)
    assert value(metrics, "leash_held_cost_usd") == 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [(0, "cut"), (400, "request"), (401, "request"), (429, "rate_limited"), (500, "server"), (529, "server")],
)
def test_what_a_provider_fails_at_is_told_apart(metrics: GatewayMetrics, status: int, kind: str) -> None:
    metrics.upstream_failed(exchange(provider="gemini"), status)
    counted = {
        other: value(metrics, "leash_upstream_errors_total", provider="gemini", kind=other) for other in ERROR_KINDS
    }
    assert counted == {other: float(other == kind) for other in ERROR_KINDS}


def test_a_session_tells_of_its_calls(metrics: GatewayMetrics) -> None:
    session: Any = SimpleNamespace(on_closed=None)
    metrics.watch_session(session)
    session.on_closed(CALL, shim_pb2.Closed(outcome="settled", cost_nanodollars=7), "settle", 0.1)
    assert value(metrics, "leash_settle_duration_seconds_count") == 1


def test_a_worker_that_has_no_room_for_its_figures_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(METRICS_DIRECTORY, str(tmp_path / "gone"))
    with pytest.raises(ValueError, match=r"no room for metrics in .*/gone: No such file or directory \(set TMPDIR\)"):
        GatewayMetrics()


def test_the_reasons_are_those_of_the_contract() -> None:
    assert {"kill_switch", "deadline", "cost_budget", "unresolved_calls", "other"} <= set(REASONS)
    assert "unspecified" not in REASONS
    assert len(REASONS) == len(types_pb2.Reason.values())


def test_every_series_whose_first_event_matters_is_there_from_the_start(metrics: GatewayMetrics) -> None:
    for decision in DECISIONS:
        for provider in PROVIDERS:
            assert value(metrics, "leash_calls_total", decision=decision, provider=provider) == 0
    for reason in REASONS:
        assert value(metrics, "leash_stops_total", reason=reason) == 0
        assert value(metrics, "leash_refusals_total", reason=reason) == 0
        assert value(metrics, "leash_budget_warnings_total", reason=reason) == 0
    assert value(metrics, "leash_ledger_errors_total") == 0
    assert value(metrics, "leash_blind_calls_total") == 0
    assert value(metrics, "leash_responses_total", code="503") == 0
