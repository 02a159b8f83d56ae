"""Metering Ollama's own endpoints, and what their requests say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash.usage import Usage
from leash_shim.meter import Asked, Metered, RequestFacts
from leash_shim.meter.ollama import OLLAMA_EMBED, OLLAMA_GENERATE
from leash_shim.meter.openai_request import PROVIDER_PROMPT_TOKENS
from tests.exchanges.exchange import JSON, LINES, Exchange, dump, lines
from tests.exchanges.odd import odd_bodies
from tests.exchanges.ollama import EXCHANGES

COUNTS = {"prompt_eval_count": 9, "eval_count": 3}
READ = Usage(input_tokens=9, output_tokens=3)
DONE = {"model": "m", "done": True, "done_reason": "stop", **COUNTS}


def metered(body: bytes, content_type: str = LINES) -> Metered:
    meter = OLLAMA_GENERATE.meter(content_type=content_type, facts=RequestFacts())
    meter.feed(body)
    found = meter.finish()
    assert meter.finish() == found
    return found


def says(content: str = "", *calls: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "message": {"role": "assistant", "content": content, "tool_calls": list(calls)}} | fields


def call(name: str = "look_up", **arguments: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


def fingerprint_of(content: str, *calls: Any) -> bytes:
    return metered(lines(says(content, *calls), DONE)).fingerprint


def facts_of(**fields: Any) -> RequestFacts:
    return OLLAMA_GENERATE.read_request(Asked(json.dumps({"model": "m"} | fields).encode(), "/api/chat"))


def test_the_counts_stand_on_the_line_that_is_done() -> None:
    meter = OLLAMA_GENERATE.meter(content_type=LINES, facts=RequestFacts())
    meter.feed(lines(says("a", done=False), says("b", done=False)))
    assert meter.peek() is None
    meter.feed(dump(DONE))
    assert meter.finish() == Metered(READ, "m", fingerprint_of("ab"))


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", " Application/JSON "])
def test_a_whole_answer(content_type: str) -> None:
    body = json.dumps(DONE | says("ab"), indent=1).encode()
    assert metered(body, content_type) == Metered(READ, "m", fingerprint_of("ab"))


@pytest.mark.parametrize("content_type", [LINES, "application/x-ndjson; charset=utf-8", "text/plain", ""])
def test_anything_else_is_read_by_the_line(content_type: str) -> None:
    assert metered(lines(says("a"), DONE), content_type).usage == READ


@pytest.mark.parametrize(
    ("values", "broken_off"),
    [
        ([says("a")], True),
        ([says("a"), DONE], False),
        ([says("a"), DONE | {"done": False}], True),
        ([says("a"), {"error": "CUDA error"}], True),
        ([{"error": "CUDA error"}], True),
        ([DONE, {"error": "CUDA error"}], False),
        ([{"something": "else"}], False),
        ([], False),
    ],
)
def test_a_stream_ends_with_a_line_that_is_done(values: list[Any], broken_off: bool) -> None:
    assert metered(lines(*values)).broken_off is broken_off


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_a_model_that_is_loaded_or_let_go_costs_nothing(reason: str) -> None:
    done = {"model": "m", "done": True, "done_reason": reason}
    assert metered(lines(done)).usage == Usage()
    assert metered(dump(done), JSON).usage == Usage()
    assert metered(lines({"model": "m", "done": True, "done_reason": "stop"})).usage is None
    assert metered(lines(done | COUNTS)).usage == READ


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"eval_count": 3}, Usage(output_tokens=3)),
        ({"prompt_eval_count": 9}, Usage(input_tokens=9)),
        ({"prompt_eval_count": 0}, Usage()),
        ({"prompt_eval_count": "9", "eval_count": -3}, None),
        ({}, None),
    ],
)
def test_a_count_that_is_left_out_is_zero_beside_another(counts: dict[str, Any], usage: Usage | None) -> None:
    assert metered(lines({"model": "m", "done": True} | counts)).usage == usage


def test_the_line_that_is_done_may_have_a_long_context() -> None:
    # 300,000 tokens are two megabytes.
    body = lines({"model": "m", "response": "a"}, DONE | {"context": list(range(300_000))})
    assert len(body) > 1 << 20
    assert metered(body).usage == READ


def test_a_line_that_is_no_json_costs_itself_only() -> None:
    assert metered(b"proxy: hello\n" + lines(says("a")) + b"{\n\n\r\n" + lines(DONE)).usage == READ


def test_replies_are_told_apart_by_what_they_say_and_do() -> None:
    replies = [
        fingerprint_of("a"),
        fingerprint_of("", call()),
        fingerprint_of("", call(a=1)),
        fingerprint_of("", call(a=2)),
        fingerprint_of("", call("look_down", a=1)),
        fingerprint_of("", call(a=1), call(a=1)),
        fingerprint_of("a", call(a=1)),
        fingerprint_of(""),
    ]
    assert len(set(replies)) == len(replies)
    assert replies[-1] == b""


def test_equal_replies_have_one_fingerprint_however_they_are_told() -> None:
    assert fingerprint_of("", call(a=1, b=[2])) == fingerprint_of("", call(b=[2], a=1) | {"id": "call_1"})
    apart = lines(says("", call(a=1)), says("", call(b=2)), DONE)
    assert metered(apart).fingerprint == fingerprint_of("", call(a=1), call(b=2))
    thought = says("a")
    thought["message"]["thinking"] = "hm"
    assert metered(lines(thought, DONE)).fingerprint == fingerprint_of("a")
    calls = [call(a=number) for number in range(400)]
    assert fingerprint_of("", *calls) == fingerprint_of("", *calls[:128])


def test_an_ordinary_request() -> None:
    fields = {
        "model": "qwen3:8b",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hello", "images": []},
            {"role": "assistant", "content": "", "tool_calls": [call(a=1)]},
            {"role": "tool", "tool_name": "look_up", "content": "rain"},
        ],
        "tools": [{"type": "function", "function": {"name": "look_up"}}],
        "format": {"type": "object"},
        "options": {"num_predict": 300, "temperature": 0},
        "think": True,
    }
    body = json.dumps(fields).encode()
    assert OLLAMA_GENERATE.read_request(Asked(body, "/api/chat")) == RequestFacts(
        model="qwen3:8b",
        stream=True,
        input_bound_tokens=len(body) + PROVIDER_PROMPT_TOKENS,
        output_bound_tokens=300,
    )


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", b'{"a":' + b"[" * 100_000])
def test_an_unreadable_body_has_no_model_and_no_bounds(body: bytes) -> None:
    assert OLLAMA_GENERATE.read_request(Asked(body, "/api/chat")) == RequestFacts(stream=True)
    assert OLLAMA_EMBED.read_request(Asked(body, "/api/embed")) == RequestFacts(output_bound_tokens=0)


@pytest.mark.parametrize(("stream", "expected"), [(True, True), (None, True), (False, False)])
def test_it_streams_unless_told_otherwise(stream: bool | None, expected: bool) -> None:
    assert facts_of(stream=stream).stream is expected


@pytest.mark.parametrize(
    "fields",
    [
        {"images": ["AA=="]},
        {"images": "AA=="},
        {"messages": [{"role": "user", "content": "see", "images": ["AA=="]}]},
        {"messages": [{"role": "user", "content": "see"}, {"role": "user", "images": {"0": "AA=="}}]},
    ],
)
def test_a_picture_has_no_input_bound(fields: dict[str, Any]) -> None:
    assert facts_of(**fields).input_bound_tokens is None


@pytest.mark.parametrize("options", [{}, None, [], {"num_predict": -1}, {"num_predict": -2}, {"num_predict": 0}])
def test_without_a_maximum_the_output_has_no_bound(options: object) -> None:
    assert facts_of(options=options).output_bound_tokens is None


@pytest.mark.parametrize(
    ("given_", "prompts"), [("rain", 1), (["rain", "snow"], 2), ([], None), (None, None), ({"text": "rain"}, None)]
)
def test_embeddings_have_as_many_prompts_as_inputs(given_: object, prompts: int | None) -> None:
    body = json.dumps({"model": "m", "input": given_}).encode()
    assert OLLAMA_EMBED.read_request(Asked(body, "/api/embed")) == RequestFacts(
        model="m",
        input_bound_tokens=None if prompts is None else len(body) + prompts * PROVIDER_PROMPT_TOKENS,
        output_bound_tokens=0,
        prompts=prompts or 1,
    )


TEXT = st.text(max_size=20)


@given(st.lists(TEXT, max_size=4), TEXT, TEXT, st.booleans())
def test_the_input_bound_is_no_less_than_a_token_for_each_byte_of_text(
    contents: list[str], system: str, description: str, ascii_only: bool
) -> None:
    request = {
        "model": "m",
        "system": system,
        "prompt": system,
        "messages": [{"role": "user", "content": content} for content in contents],
        "tools": [{"function": {"description": description}}],
    }
    body = json.dumps(request, ensure_ascii=ascii_only, separators=(",", ":")).encode()
    bound = OLLAMA_GENERATE.read_request(Asked(body, "/api/chat")).input_bound_tokens
    assert bound is not None
    assert bound >= len("".join([*contents, system, system, description]).encode()) + PROVIDER_PROMPT_TOKENS


@given(st.lists(st.integers(0, 200_000), max_size=30))
def test_a_context_has_no_more_tokens_than_bytes(context: list[int]) -> None:
    bound = facts_of(prompt="x", context=context).input_bound_tokens
    assert bound is not None
    assert bound >= len(context) + PROVIDER_PROMPT_TOKENS


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_nothing_makes_it_raise(exchange: Exchange) -> None:
    wire_format = exchange.way.format
    assert wire_format is not None
    for body in odd_bodies(exchange.answer):
        meter, quick = exchange.meter(), exchange.meter(want_fingerprint=False)
        meter.feed(body)
        quick.feed(body)
        assert meter.finish().usage == quick.finish().usage
    for body in odd_bodies(exchange.request):
        facts = wire_format.read_request(Asked(body, exchange.path))
        assert facts.input_bound_tokens is None or facts.input_bound_tokens > len(body)
