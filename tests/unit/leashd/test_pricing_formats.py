"""Worked examples, from the bytes of an answer to the nanodollar: the meters and the daemon's pricing together.

A dollar for a million tokens is 1,000 nanodollars for each, and a dollar is 1,000,000,000.
"""

from __future__ import annotations

import json
from typing import Any

from leash_shim.meter import Asked, RouteKind, route
from leash_shim.tap import tap_for
from leashd.core.closing import Report
from leashd.operations import SettleCall
from leashd.pricing import PriceBook
from tests.exchanges.exchange import EVENTS, JSON, dump, events
from tests.unit.leashd.desk import Desk, Shim, call_id, outcome

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
SONNET = {
    "input": 3,
    "output": 15,
    "cached_input": 0.30,
    "cache_write_5m": 3.75,
    "cache_write_1h": 6,
    "web_search_per_request": 0.01,
    "tiers": {"batch": {"input": 1.5, "output": 7.5, "cached_input": 0.15}},
}
SONNET_OF_LITELLM = {
    "litellm_provider": "anthropic",
    "input_cost_per_token": 3e-06,
    "input_cost_per_token_above_200k_tokens": 6e-06,
    "input_cost_per_token_batches": 1.5e-06,
    "output_cost_per_token": 1.5e-05,
    "output_cost_per_token_above_200k_tokens": 2.25e-05,
    "output_cost_per_token_batches": 7.5e-06,
    "cache_read_input_token_cost": 3e-07,
    "cache_read_input_token_cost_above_200k_tokens": 6e-07,
    "cache_creation_input_token_cost": 3.75e-06,
    "cache_creation_input_token_cost_above_200k_tokens": 7.5e-06,
    "cache_creation_input_token_cost_above_1hr": 6e-06,
    "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
    "search_context_cost_per_query": {
        "search_context_size_low": 0.01,
        "search_context_size_medium": 0.01,
        "search_context_size_high": 0.01,
    },
}
PRO_OF_LITELLM = {
    "litellm_provider": "vertex_ai-language-models",
    "input_cost_per_token": 1.25e-06,
    "input_cost_per_token_above_200k_tokens": 2.5e-06,
    "input_cost_per_token_above_200k_tokens_priority": 4.5e-06,
    "input_cost_per_token_priority": 2.25e-06,
    "output_cost_per_token": 1e-05,
    "output_cost_per_token_above_200k_tokens": 1.5e-05,
    "output_cost_per_token_above_200k_tokens_priority": 2.7e-05,
    "output_cost_per_token_priority": 1.8e-05,
    "cache_read_input_token_cost": 1.25e-07,
    "cache_read_input_token_cost_above_200k_tokens": 2.5e-07,
    "cache_read_input_token_cost_above_200k_tokens_priority": 4.5e-07,
    "cache_read_input_token_cost_priority": 2.25e-07,
}


def priced(
    desk: Desk,
    prices: dict[str, Any],
    path: str,
    *,
    request: dict[str, Any],
    answer: bytes,
    answer_type: str = JSON,
) -> Report:
    """What the daemon makes of an answer, under a table with the prices of the model that was asked."""
    way = route("POST", path)
    assert way.kind is RouteKind.METERED
    assert way.format is not None
    facts = way.format.read_request(Asked(dump(request), path, JSON))
    tap = tap_for(
        way.format,
        facts,
        status=200,
        answer_headers=[(b"content-type", answer_type.encode())],
        hides_usage_chunk=False,
    )
    for at in range(0, len(answer), 7):
        tap.feed(answer[at : at + 7])
    metered = tap.finish()[1]
    assert metered is not None
    assert not metered.broken_off

    shim = desk.session()
    shim.open(prices=desk.prices(json.dumps({facts.model: prices}).encode()))
    shim.admitted(1, model=facts.model)
    [(_, call)] = desk.ledger.open_calls(shim.name)
    settle = SettleCall(
        session=shim.name,
        link=shim.link,
        run="r",
        call=call_id(1),
        http_status=200,
        usage=metered.usage,
        model=metered.model,
        fingerprint=metered.fingerprint,
    )
    report = PriceBook(desk.ledger).report(settle, call)
    assert report.priced
    assert _settled_cost(desk, shim, settle) == report.cost_nanodollars
    return report


def _settled_cost(desk: Desk, shim: Shim, settle: SettleCall) -> int:
    """What the call costs in the ledger."""
    cost = outcome(desk.ask(settle))[1]
    shim.acknowledge(1)
    assert desk.account().totals.token_cost_nanodollars == cost
    return cost


def test_an_openai_call_with_cached_and_reasoning_tokens(desk: Desk) -> None:
    usage = {
        "prompt_tokens": 12_345,
        "completion_tokens": 1_873,
        "total_tokens": 14_218,
        "prompt_tokens_details": {"cached_tokens": 10_240},
        "completion_tokens_details": {"reasoning_tokens": 1_536},
    }
    report = priced(
        desk,
        {"input": 2.5, "cached_input": 1.25, "output": 10},
        CHAT,
        request={"model": "gpt-4o", "messages": []},
        answer=dump({"model": "gpt-4o-2024-08-06", "choices": [], "usage": usage, "service_tier": "default"}),
    )
    # Input:      12,345 - 10,240 = 2,105 x  2,500 =  5,262,500
    # Cached:                      10,240 x  1,250 = 12,800,000
    # Output, reasoning and all:    1,873 x 10,000 = 18,730,000
    assert report.cost_nanodollars == 36_792_500


def test_a_responses_stream_whose_reasoning_has_a_price_of_its_own(desk: Desk) -> None:
    usage = {
        "input_tokens": 12_345,
        "input_tokens_details": {"cached_tokens": 10_240},
        "output_tokens": 1_873,
        "output_tokens_details": {"reasoning_tokens": 1_536},
        "total_tokens": 14_218,
    }
    response = {"id": "resp_1", "model": "o9", "status": "completed", "output": [], "usage": usage}
    report = priced(
        desk,
        {"input": 2.5, "cached_input": 1.25, "output": 10, "reasoning": 12},
        RESPONSES,
        request={"model": "o9", "input": "hello", "stream": True},
        answer=events(
            {"type": "response.created", "response": response | {"status": "in_progress", "usage": None}},
            {"type": "response.completed", "response": response},
            named=True,
        ),
        answer_type=EVENTS,
    )
    # Input and cached, as above:      5,262,500 + 12,800,000 = 18,062,500
    # Output:       1,873 - 1,536 = 337 x 10,000              =  3,370,000
    # Reasoning:                  1,536 x 12,000              = 18,432,000
    assert report.cost_nanodollars == 39_864_500


def test_an_anthropic_call_with_two_cache_writes_and_two_searches(desk: Desk) -> None:
    usage = {
        "input_tokens": 37,
        "cache_read_input_tokens": 5_000,
        "cache_creation_input_tokens": 3_333,
        "cache_creation": {"ephemeral_5m_input_tokens": 1_111, "ephemeral_1h_input_tokens": 2_222},
        "output_tokens": 613,
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
        "service_tier": "standard",
    }
    request = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 1_024,
        "messages": [],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    }
    answer = dump({"type": "message", "model": "claude-sonnet-4-5-20250929", "content": [], "usage": usage})
    # Input:              37 x      3,000 =    111,000
    # Read:            5,000 x        300 =  1,500,000
    # Written for 5m:  1,111 x      3,750 =  4,166,250
    # Written for 1h:  2,222 x      6,000 = 13,332,000
    # Output:            613 x     15,000 =  9,195,000
    # Searches:            2 x 10,000,000 = 20,000,000
    report = priced(desk, SONNET, MESSAGES, request=request, answer=answer)
    assert (report.cost_nanodollars, report.tool_cost_nanodollars) == (48_304_250, 20_000_000)
    assert not report.unpriced_tool


def test_the_same_as_a_stream_and_with_litellms_prices(desk: Desk) -> None:
    begun = {
        "input_tokens": 37,
        "cache_read_input_tokens": 5_000,
        "cache_creation_input_tokens": 3_333,
        "cache_creation": {"ephemeral_5m_input_tokens": 1_111, "ephemeral_1h_input_tokens": 2_222},
        "output_tokens": 2,
    }
    ended = {"output_tokens": 613, "server_tool_use": {"web_search_requests": 2}}
    report = priced(
        desk,
        SONNET_OF_LITELLM,
        MESSAGES,
        request={"model": "claude-sonnet-4-5", "max_tokens": 1_024, "messages": [], "stream": True},
        answer=events(
            {"type": "message_start", "message": {"model": "claude-sonnet-4-5-20250929", "usage": begun}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ended},
            {"type": "message_stop"},
            named=True,
        ),
        answer_type=EVENTS,
    )
    assert (report.cost_nanodollars, report.tool_cost_nanodollars) == (48_304_250, 20_000_000)


def test_a_gemini_call_that_thinks(desk: Desk) -> None:
    usage = {
        "promptTokenCount": 2_048,
        "candidatesTokenCount": 311,
        "thoughtsTokenCount": 1_777,
        "totalTokenCount": 4_136,
    }
    report = priced(
        desk,
        {"input": 0.3, "output": 2.5},
        "/v1beta/models/gemini-2.5-flash:generateContent",
        request={"contents": [{"parts": [{"text": "hello"}]}]},
        answer=dump({"candidates": [], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}),
    )
    # Input:                    2,048 x   300 =   614,400
    # Output: 311 + 1,777 =     2,088 x 2,500 = 5,220,000
    assert report.cost_nanodollars == 5_834_400


def test_a_gemini_stream_that_thinks_searches_and_is_rounded_up_once(desk: Desk) -> None:
    usage = {
        "promptTokenCount": 1_003,
        "cachedContentTokenCount": 3,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 5,
        "totalTokenCount": 1_015,
    }
    queries = {"webSearchQueries": ["rain today", "rain bergen", "rain today"]}
    candidate = {"content": {"parts": [{"text": "In Bergen"}]}, "finishReason": "STOP", "groundingMetadata": queries}
    report = priced(
        desk,
        {"input": 0.075, "output": 0.3, "cached_input": 0.01875, "web_search_per_request": 0.014},
        "/v1beta/models/gemini-3-flash:streamGenerateContent",
        request={"contents": [{"parts": [{"text": "hello"}]}], "tools": [{"googleSearch": {}}]},
        answer=b"[" + dump({"candidates": [candidate], "usageMetadata": usage}) + b"]",
    )
    # Input:    1,003 - 3 = 1,000 x         75 =     75,000
    # Cached:                   3 x      18.75 =         56.25
    # Output:       7 + 5 =    12 x        300 =      3,600
    # Searches:                 2 x 14,000,000 = 28,000,000
    assert (report.cost_nanodollars, report.tool_cost_nanodollars) == (28_078_657, 28_000_000)


def test_a_call_in_the_batch_tier(desk: Desk) -> None:
    usage = {"input_tokens": 1_001, "cache_read_input_tokens": 400, "output_tokens": 333, "service_tier": "batch"}
    report = priced(
        desk,
        SONNET,
        MESSAGES,
        request={"model": "claude-sonnet-4-5", "max_tokens": 1_024, "messages": []},
        answer=dump({"type": "message", "model": "claude-sonnet-4-5-20250929", "content": [], "usage": usage}),
    )
    # Input:  1,001 x 1,500 = 1,501,500
    # Read:     400 x   150 =    60,000
    # Output:   333 x 7,500 = 2,497,500
    assert report.cost_nanodollars == 4_059_000


def test_a_call_in_the_batch_tier_of_litellm(desk: Desk) -> None:
    usage = {"input_tokens": 1_001, "output_tokens": 333, "service_tier": "batch"}
    report = priced(
        desk,
        SONNET_OF_LITELLM,
        MESSAGES,
        request={"model": "claude-sonnet-4-5", "max_tokens": 1_024, "messages": []},
        answer=dump({"type": "message", "model": "claude-sonnet-4-5-20250929", "content": [], "usage": usage}),
    )
    # Input:  1,001 x 1,500 = 1,501,500
    # Output:   333 x 7,500 = 2,497,500
    assert report.cost_nanodollars == 3_999_000


def _long_sonnet(desk: Desk, *, input_tokens: int) -> Report:
    """A call that reads 60,000 tokens from the cache, and writes 1,000 for 5 minutes and 2,000 for an hour."""
    usage = {
        "input_tokens": input_tokens,
        "cache_read_input_tokens": 60_000,
        "cache_creation_input_tokens": 3_000,
        "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 2_000},
        "output_tokens": 2_000,
        "service_tier": "standard",
    }
    return priced(
        desk,
        SONNET_OF_LITELLM,
        MESSAGES,
        request={"model": "claude-sonnet-4-5", "max_tokens": 4_096, "messages": []},
        answer=dump({"type": "message", "model": "claude-sonnet-4-5-20250929", "content": [], "usage": usage}),
    )


def test_an_anthropic_call_of_200k(desk: Desk) -> None:
    # Input, in all 200,000:  137,000 x  3,000 = 411,000,000
    # Read:                    60,000 x    300 =  18,000,000
    # Written for 5m:           1,000 x  3,750 =   3,750,000
    # Written for 1h:           2,000 x  6,000 =  12,000,000
    # Output:                   2,000 x 15,000 =  30,000,000
    assert _long_sonnet(desk, input_tokens=137_000).cost_nanodollars == 474_750_000


def test_an_anthropic_call_above_200k(desk: Desk) -> None:
    # Input, in all 200,001:  137,001 x  6,000 = 822,006,000
    # Read:                    60,000 x    600 =  36,000,000
    # Written for 5m:           1,000 x  7,500 =   7,500,000
    # Written for 1h:           2,000 x 12,000 =  24,000,000
    # Output:                   2,000 x 22,500 =  45,000,000
    assert _long_sonnet(desk, input_tokens=137_001).cost_nanodollars == 934_506_000


def _long_pro(desk: Desk, *, traffic_type: str) -> Report:
    """A call of 250,001 tokens on Vertex, of which 100,000 are from the cache, that thinks."""
    usage = {
        "promptTokenCount": 250_001,
        "cachedContentTokenCount": 100_000,
        "candidatesTokenCount": 400,
        "thoughtsTokenCount": 600,
        "totalTokenCount": 251_001,
        "trafficType": traffic_type,
    }
    return priced(
        desk,
        PRO_OF_LITELLM,
        "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent",
        request={"contents": [{"parts": [{"text": "hello"}]}]},
        answer=dump({"candidates": [], "usageMetadata": usage, "modelVersion": "gemini-2.5-pro"}),
    )


def test_a_gemini_call_above_200k(desk: Desk) -> None:
    # Input:  250,001 - 100,000 = 150,001 x  2,500 = 375,002,500
    # Cached:                     100,000 x    250 =  25,000,000
    # Output:         400 + 600 =   1,000 x 15,000 =  15,000,000
    assert _long_pro(desk, traffic_type="ON_DEMAND").cost_nanodollars == 415_002_500


def test_a_gemini_call_above_200k_with_priority(desk: Desk) -> None:
    # Input:  150,001 x  4,500 = 675,004,500
    # Cached: 100,000 x    450 =  45,000,000
    # Output:   1,000 x 27,000 =  27,000,000
    assert _long_pro(desk, traffic_type="ON_DEMAND_PRIORITY").cost_nanodollars == 747_004_500


def test_an_advisors_tokens_are_counted_and_have_no_price(desk: Desk) -> None:
    iterations = [
        {"type": "message", "input_tokens": 400, "output_tokens": 90},
        {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 800, "output_tokens": 1_600},
        {"type": "message", "input_tokens": 1_300, "cache_read_input_tokens": 400, "output_tokens": 440},
    ]
    usage = {"input_tokens": 400, "output_tokens": 530, "iterations": iterations}
    report = priced(
        desk,
        SONNET,
        MESSAGES,
        request={
            "model": "claude-sonnet-4-5",
            "max_tokens": 1_024,
            "messages": [],
            "tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-8"}],
        },
        answer=dump({"type": "message", "model": "claude-sonnet-4-5-20250929", "content": [], "usage": usage}),
    )
    # At the asked model's prices, which are the least that it came to:
    # Input:  400 + 800 + 1,300 = 2,500 x  3,000 =  7,500,000
    # Read:                         400 x    300 =    120,000
    # Output:  90 + 1,600 + 440 = 2,130 x 15,000 = 31,950,000
    assert report.cost_nanodollars == 39_570_000
    assert report.unpriced_tool


def test_an_ollama_stream(desk: Desk) -> None:
    done = {"model": "qwen3:8b", "done": True, "prompt_eval_count": 26, "eval_count": 259}
    report = priced(
        desk,
        {"input": 0.05, "output": 0.1},
        "/api/chat",
        request={"model": "qwen3:8b", "messages": []},
        answer=dump(done) + b"\n",
        answer_type="application/x-ndjson",
    )
    # Input:   26 x  50 =  1,300
    # Output: 259 x 100 = 25,900
    assert report.cost_nanodollars == 27_200
