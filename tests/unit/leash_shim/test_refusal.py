from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from leash.v1 import shim_pb2, types_pb2
from leash_shim import refusal
from leash_shim.refusal import Reader
from tests.harness import REPOSITORY

ANYONE = Reader()


def cost_stop(**changes: Any) -> shim_pb2.Refused:
    fields = {
        "reason": types_pb2.REASON_COST_BUDGET,
        "used": 5_010_000_000,
        "limit": 5_000_000_000,
        "unit": types_pb2.UNIT_NANODOLLARS,
        "calls": 18,
        "token_cost_nanodollars": 4_100_000_000,
        "compute_cost_nanodollars": 910_000_000,
        "total_cost_nanodollars": 5_010_000_000,
    }
    return shim_pb2.Refused(**(fields | changes))


def test_a_stop_is_told_in_the_words_and_fields_that_scripts_rely_on() -> None:
    answer = refusal.refused("a3f9", cost_stop(), ANYONE)
    assert answer.status == 429
    assert answer.body == (
        b'{"type":"error","error":{"type":"leash_boundary","code":"cost_budget","reason":"cost_budget",'
        b'"message":"leash stopped run a3f9: cost_budget ($5.01 of $5.00 after 18 calls)","run":"a3f9","calls":18,'
        b'"token_cost":4.10,"compute_cost":0.91,"total_cost":5.01,"limit":5.00,"used":5.01,"unit":"dollars"}}'
    )
    assert dict(answer.headers) == {
        b"content-type": b"application/json",
        b"content-length": str(len(answer.body)).encode(),
        b"x-should-retry": b"false",
    }


def test_the_documentation_shows_a_stop_as_it_is() -> None:
    page = (REPOSITORY / "docs" / "clients.md").read_text(encoding="utf-8")
    head, _, body = page.split("```text\n", 1)[1].split("\n```", 1)[0].partition("\n\n")
    answer = refusal.refused("nightly", cost_stop(), ANYONE)
    assert body.replace("\n ", "").encode() == answer.body
    status, *headers = head.splitlines()
    assert status == f"HTTP/1.1 {answer.status}"
    assert {b"content-type: application/json", b"x-should-retry: false"} <= {line.encode() for line in headers}


def test_costs_carry_all_their_digits() -> None:
    answer = refusal.refused("r", cost_stop(token_cost_nanodollars=9_007_199_254_740_993_001), ANYONE)
    error = json.loads(answer.body, parse_float=Decimal)["error"]
    assert error["token_cost"] == Decimal("9007199254.740993001")


@pytest.mark.parametrize("status", [429, 402, 400])
def test_the_person_chooses_the_status_of_a_stop(status: int) -> None:
    assert refusal.refused("r", cost_stop(), Reader(chosen_status=status)).status == status


# What real clients send; docs/clients.md has the ones that were measured.
CODEX = "codex_cli_rs/0.98.0 (Debian 12.0.0; x86_64) xterm-256color"
CODEX_DESKTOP = "Codex Desktop/0.98.0 (Mac OS 15.0.0; arm64)"
AI_SDK = "ai/6.0.326 ai-sdk/provider-utils/4.0.66 runtime/node.js/v20.20.2"
AI_SDK_STREAM = "ai-sdk/openai/3.0.141 ai-sdk/provider-utils/4.0.66 runtime/node.js/v20.20.2"
GOOGLE = "google-genai-sdk/3.4.0 gl-python/3.11.7"
GEMINI_CLI = "GeminiCLI/0.20.0/gemini-3-pro (linux; x64)"


@pytest.mark.parametrize(
    ("user_agent", "status", "ungoverned"),
    [
        (CODEX, 400, 400),
        (CODEX_DESKTOP, 400, 400),
        ("codex-tui/1.0", 400, 400),
        (AI_SDK, 402, 402),
        (AI_SDK_STREAM, 402, 402),
        (GOOGLE, 402, 402),
        (GEMINI_CLI, 402, 402),
        ("OpenAI/Python 3.54.0", 429, 402),
        ("Anthropic/JS 1.12.0", 429, 402),
        ("python-requests/2.34 (not codex)", 429, 402),
        ("openai-sdk/1.0", 429, 402),
        ("", 429, 402),
    ],
)
def test_a_client_that_retries_a_429_gets_a_status_that_it_does_not_retry(
    user_agent: str, status: int, ungoverned: int
) -> None:
    reader = Reader(user_agent=user_agent)
    unbounded = cost_stop(reason=types_pb2.REASON_UNBOUNDED_CALL, payment_required=True)
    assert refusal.refused("r", cost_stop(), reader).status == status
    assert refusal.refused("r", unbounded, reader).status == ungoverned
    assert refusal.aborted("r", types_pb2.REASON_KILL_SWITCH, reader).status == status


@pytest.mark.parametrize("user_agent", [CODEX, AI_SDK, GOOGLE, ""])
def test_what_the_person_chose_goes_for_every_client_and_every_final_refusal(user_agent: str) -> None:
    reader = Reader(user_agent=user_agent, chosen_status=429)
    unbounded = cost_stop(reason=types_pb2.REASON_UNBOUNDED_CALL, payment_required=True)
    assert refusal.refused("r", cost_stop(), reader).status == 429
    assert refusal.refused("r", unbounded, reader).status == 429


def test_google_is_told_the_status_as_its_own_errors_tell_it() -> None:
    answer = refusal.refused("a3f9", cost_stop(), Reader(provider="gemini"))
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["status"], error["reason"]) == (429, "RESOURCE_EXHAUSTED", "cost_budget")
    assert error["message"] == "leash stopped run a3f9: cost_budget ($5.01 of $5.00 after 18 calls)"
    assert json.loads(refusal.failed(400, "bad_path", "…", provider="gemini").body)["error"]["status"] == (
        "INVALID_ARGUMENT"
    )


def test_ollama_is_told_the_text_where_its_clients_look_and_the_rest_beside_it() -> None:
    told = json.loads(refusal.refused("a3f9", cost_stop(), Reader(provider="ollama")).body)
    usual = json.loads(refusal.refused("a3f9", cost_stop(), ANYONE).body)
    assert told == {"type": "error", "error": usual["error"]["message"], "leash": usual["error"]}
    assert json.loads(refusal.failed(502, "upstream_failed", "no route", provider="ollama").body) == {
        "error": "no route",
        "leash": {"type": "leash_gateway", "code": "upstream_failed", "message": "no route"},
    }


@pytest.mark.parametrize("provider", ["openai", "anthropic", ""])
def test_all_others_are_told_in_one_shape(provider: str) -> None:
    assert refusal.refused("r", cost_stop(), Reader(provider=provider)).body == (
        refusal.refused("r", cost_stop(), ANYONE).body
    )


def test_a_request_that_cannot_be_governed_is_402_and_stops_nothing() -> None:
    told = cost_stop(reason=types_pb2.REASON_UNBOUNDED_CALL, payment_required=True, detail="Set max_tokens.")
    answer = refusal.refused("a3f9", told, ANYONE)
    assert answer.status == 402
    assert dict(answer.headers)[b"x-should-retry"] == b"false"
    message = json.loads(answer.body)["error"]["message"]
    assert (
        message == "leash refused a call of run a3f9: unbounded_call ($5.01 of $5.00 after 18 calls). Set max_tokens."
    )


@pytest.mark.parametrize(("told", "sent"), [(12, b"12"), (0, b"1"), (61, b"60")])
def test_a_transient_refusal_is_429_with_a_retry_after_of_a_minute_at_most(told: int, sent: bytes) -> None:
    transient = cost_stop(reason=types_pb2.REASON_BUDGET_HELD, transient=True, retry_after_seconds=told)
    answer = refusal.refused("r", transient, Reader(chosen_status=402))
    assert answer.status == 429
    assert dict(answer.headers)[b"retry-after"] == sent
    assert b"x-should-retry" not in dict(answer.headers)
    assert "leash refused a call of run r: budget_held" in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize(
    ("reason", "unit", "used", "limit", "shown"),
    [
        (types_pb2.REASON_MAX_CALLS, types_pb2.UNIT_CALLS, 100, 100, "max_calls (100 of 100 calls)"),
        (types_pb2.REASON_MAX_CALLS, types_pb2.UNIT_CALLS, 1, 1, "max_calls (1 of 1 call)"),
        (
            types_pb2.REASON_DEADLINE,
            types_pb2.UNIT_NANOSECONDS,
            1_800_000_000_000,
            1_800_000_000_000,
            "deadline (30m of 30m after 18 calls)",
        ),
        (
            types_pb2.REASON_STALL,
            types_pb2.UNIT_REPLIES,
            5,
            5,
            "stall (5 equal replies in a row, limit 5, after 18 calls)",
        ),
        (types_pb2.REASON_KILL_SWITCH, types_pb2.UNIT_UNSPECIFIED, 0, 0, "kill_switch (after 18 calls)"),
    ],
)
def test_each_unit_has_its_form(
    reason: types_pb2.Reason.ValueType, unit: types_pb2.Unit.ValueType, used: int, limit: int, shown: str
) -> None:
    answer = refusal.refused("r", cost_stop(reason=reason, unit=unit, used=used, limit=limit), ANYONE)
    assert json.loads(answer.body)["error"]["message"] == f"leash stopped run r: {shown}"


@pytest.mark.parametrize(
    ("used", "limit", "shown"),
    [
        (25_200_000, 25_000_000, "$0.0252 of $0.0250"),
        (125_000_000, 125_000_000, "$0.125 of $0.125"),
        (5_004_000_000, 5_000_000_000, "$5.004 of $5.000"),
        (1_200_000, 5_000_000_000, "$0.0012 of $5.00"),
    ],
)
def test_two_amounts_that_differ_look_different(used: int, limit: int, shown: str) -> None:
    answer = refusal.refused("r", cost_stop(used=used, limit=limit), ANYONE)
    assert json.loads(answer.body)["error"]["message"].endswith(f"({shown} after 18 calls)")


def test_what_to_do_is_a_sentence_of_its_own() -> None:
    told = cost_stop(reason=types_pb2.REASON_UNBOUNDED_CALL, payment_required=True, detail="strict needs a bound")
    message = json.loads(refusal.refused("r", told, ANYONE).body)["error"]["message"]
    assert message.endswith("after 18 calls). Strict needs a bound")


def test_the_rate_refuses_a_call_and_stops_nothing() -> None:
    rate = cost_stop(
        reason=types_pb2.REASON_RATE_LIMIT, unit=types_pb2.UNIT_TOKENS, used=100_200, limit=100_000, transient=True
    )
    message = json.loads(refusal.refused("r", rate, ANYONE).body)["error"]["message"]
    assert message == "leash refused a call of run r: rate_limit (100,200 of 100,000 tokens after 18 calls)"


def test_a_deadlines_limit_is_in_seconds_and_a_kill_has_none() -> None:
    deadline = cost_stop(reason=types_pb2.REASON_DEADLINE, unit=types_pb2.UNIT_NANOSECONDS, limit=90_500_000_000)
    assert json.loads(refusal.refused("r", deadline, ANYONE).body)["error"]["limit"] == 90.5
    kill = cost_stop(reason=types_pb2.REASON_KILL_SWITCH, unit=types_pb2.UNIT_UNSPECIFIED)
    assert json.loads(refusal.refused("r", kill, ANYONE).body)["error"]["limit"] is None


def test_every_reason_has_its_stable_name() -> None:
    names = [refusal.reason_name(value) for value in types_pb2.Reason.values() if value]
    assert names == [
        "kill_switch",
        "deadline",
        "cost_budget",
        "max_calls",
        "rate_limit",
        "stall",
        "meter_blind",
        "unpriced_model",
        "server_tool_unpriced",
        "max_cost_per_call",
        "budget_held",
        "unbounded_call",
        "ceiling_exceeds_budget",
        "unresolved_calls",
    ]


def test_an_aborted_call_is_a_terminal_refusal() -> None:
    answer = refusal.aborted("a3f9", types_pb2.REASON_KILL_SWITCH, Reader(chosen_status=402))
    assert answer.status == 402
    assert dict(answer.headers)[b"x-should-retry"] == b"false"
    error = json.loads(answer.body)["error"]
    assert (error["type"], error["code"], error["run"]) == ("leash_boundary", "kill_switch", "a3f9")


def test_a_failure_of_leash_itself_has_its_own_type() -> None:
    answer = refusal.failed(503, "leash_unavailable", "no daemon answers", retry_after_seconds=1)
    assert answer.status == 503
    assert json.loads(answer.body) == {
        "error": {"type": "leash_gateway", "code": "leash_unavailable", "message": "no daemon answers"}
    }
    assert dict(answer.headers)[b"retry-after"] == b"1"
    assert b"retry-after" not in dict(refusal.failed(502, "upstream_failed", "…").headers)
