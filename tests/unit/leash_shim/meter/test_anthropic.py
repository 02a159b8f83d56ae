"""Metering Anthropic's messages, as JSON and as event streams."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash.usage import Usage
from leash_shim.meter import Metered, RequestFacts
from leash_shim.meter.anthropic import ANTHROPIC_MESSAGES
from tests.exchanges.anthropic import EXCHANGES
from tests.exchanges.exchange import EVENTS, JSON, Exchange, dump, events
from tests.exchanges.odd import odd_bodies

USAGE = {"input_tokens": 9, "output_tokens": 3}
READ = Usage(input_tokens=9, output_tokens=3)
START = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}}
DELTA = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
STOP = {"type": "message_stop"}


def metered(body: bytes, content_type: str = JSON, *, want_fingerprint: bool = True, **facts: Any) -> Metered:
    meter = ANTHROPIC_MESSAGES.meter(
        content_type=content_type, facts=RequestFacts(**facts), want_fingerprint=want_fingerprint
    )
    meter.feed(body)
    return meter.finish()


def streamed(*values: dict[str, Any], **facts: Any) -> Metered:
    return metered(events(*values, named=True), EVENTS, **facts)


def fingerprint_of(*content: Any) -> bytes:
    return metered(dump({"type": "message", "content": list(content), "usage": USAGE})).fingerprint


def call(name: str = "look_up", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu", "name": name, "input": arguments}


def opened(index: Any, name: str) -> dict[str, Any]:
    return {
        "type": "content_block_start",
        "index": index,
        "content_block": {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}},
    }


def wrote(index: Any, text: str) -> dict[str, Any]:
    return {
        "type": "content_block_delta",
        "index": index,
        "delta": {"type": "input_json_delta", "partial_json": text},
    }


def test_what_was_reported_so_far_is_known_before_the_end() -> None:
    meter = ANTHROPIC_MESSAGES.meter(content_type=EVENTS, facts=RequestFacts())
    seen = []
    for event in (START, opened(0, "f"), DELTA, STOP):
        meter.feed(events(event, named=True))
        seen.append(meter.peek())
    assert seen == [Usage(input_tokens=9, output_tokens=1)] * 2 + [READ] * 2


def test_a_json_answer_is_known_at_its_end_only() -> None:
    body = dump({"type": "message", "model": "m", "content": [], "usage": USAGE})
    meter = ANTHROPIC_MESSAGES.meter(content_type=JSON, facts=RequestFacts())
    meter.feed(body[:-1])
    assert meter.peek() is None
    meter.feed(body[-1:])
    assert meter.peek() == READ


@pytest.mark.parametrize(
    ("ending", "broken_off"),
    [
        ((), True),
        ((STOP,), True),
        (({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, STOP), True),
        (({"type": "message_delta", "usage": {"output_tokens": None}}, STOP), True),
        ((DELTA,), False),
        ((DELTA, STOP), False),
        ((DELTA | {"usage": {"output_tokens": 0}},), False),
        ((DELTA | {"delta": {}},), True),
        ((DELTA | {"delta": {}}, STOP), False),
        ((DELTA | {"delta": {}}, DELTA), False),
        ((DELTA | {"usage": None}, DELTA | {"delta": {}}), False),
    ],
)
def test_a_stream_has_ended_with_the_count_of_its_output(ending: tuple[dict[str, Any], ...], broken_off: bool) -> None:
    assert streamed(START, *ending).broken_off is broken_off


def test_a_stream_that_ends_without_any_usage_is_blind_and_not_broken_off() -> None:
    start = {"type": "message_start", "message": {"model": "m"}}
    assert streamed(start, {"type": "message_delta", "delta": {}}, STOP) == Metered(None, "m")
    assert streamed(start, {"type": "message_delta", "delta": {}}) == Metered(None, "m", broken_off=True)


def test_nothing_of_the_format_is_blind() -> None:
    assert metered(b"", EVENTS) == Metered()
    assert metered(b": waiting\n\ndata: hello\n\n", EVENTS) == Metered()
    assert metered(b"") == Metered()


def test_equal_calls_have_one_fingerprint_however_they_are_told() -> None:
    whole = fingerprint_of(call(b=1, a=[1, 2]))
    assert (
        streamed(START, opened(0, "look_up"), wrote(0, '{"a": [1,'), wrote(0, ' 2], "b": 1}'), DELTA).fingerprint
        == whole
    )
    assert fingerprint_of(call(a=[1, 2], b=1) | {"id": "toolu_2"}) == whole
    assert streamed(START, opened(3, "look_up"), wrote(3, '{"b":1,"a":[1,2]}'), DELTA).fingerprint == whole


def test_different_calls_have_different_fingerprints() -> None:
    replies: list[tuple[Any, ...]] = [
        (call(a=1),),
        (call(a=2),),
        (call(a="1"),),
        (call("look_down", a=1),),
        (call(),),
        (call(a=1), call(a=1)),
        (call(a=1), call(a=2)),
        (call(a=2), call(a=1)),
        (call(a=1), {"type": "text", "text": "so"}),
        ({"type": "text", "text": "so"},),
        (call(a=1) | {"type": "server_tool_use"}, {"type": "text", "text": "other"}),
    ]
    assert len({fingerprint_of(*content) for content in replies}) == len(replies)


def test_interleaved_blocks_are_told_apart() -> None:
    mixed = streamed(
        *(START, opened(1, "f"), opened(2, "g"), wrote(2, '{"b"'), wrote(1, '{"a":'), wrote(2, ":2}"), wrote(1, "1}")),
        DELTA,
    )
    assert mixed.fingerprint == fingerprint_of(call("f", a=1), call("g", b=2))


def test_thinking_does_not_count() -> None:
    text = {"type": "text", "text": "so"}
    thoughts = [{"type": "thinking", "thinking": thought, "signature": thought} for thought in "ab"]
    assert fingerprint_of(thoughts[0], text) == fingerprint_of(thoughts[1], text) == fingerprint_of(text)
    assert fingerprint_of(*thoughts, {"type": "redacted_thinking", "data": "x"}) == b""


def test_calls_beyond_any_reply_make_no_difference() -> None:
    calls = [call(a=number) for number in range(400)]
    assert fingerprint_of(*calls) == fingerprint_of(*calls[:128])


@pytest.mark.parametrize("index", [None, -1, "0", 2**60, [0], 1.5])
def test_a_block_without_a_place_is_passed_over(index: object) -> None:
    found = streamed(START, opened(index, "f"), wrote(index, "{}"), DELTA)
    assert (found.usage, found.fingerprint) == (READ, b"")


def test_content_is_not_decoded_where_it_tells_nothing() -> None:
    broken = b'event: content_block_delta\ndata: {"type":"message_delta","usage":{"output_tokens":99}}\n\n'
    body = events(START, named=True) + broken + events(DELTA, named=True)
    assert metered(body, EVENTS, want_fingerprint=False).usage == READ
    assert metered(body, EVENTS).usage == Usage(input_tokens=9, output_tokens=99)


def test_code_that_ran_is_seen_without_a_fingerprint() -> None:
    ran = {"type": "server_tool_use", "id": "s", "name": "code_execution", "input": {}}
    values = (START, {"type": "content_block_start", "index": 0, "content_block": ran}, DELTA)
    expected = Usage(input_tokens=9, output_tokens=3, other_tool_requests=1)
    assert streamed(*values, want_fingerprint=False, other_tools=True).usage == expected
    assert streamed(*values, want_fingerprint=False).usage == READ


def test_the_model_of_the_request_is_no_other_model() -> None:
    usage = USAGE | {"iterations": [{"type": "message", "model": "alias", **USAGE}]}
    body = dump({"type": "message", "model": "alias-20260101", "content": [], "usage": usage})
    assert metered(body, model="alias").usage == READ
    assert metered(body, model="other").usage == Usage(input_tokens=9, output_tokens=3, other_tool_requests=1)


@given(st.lists(st.text(max_size=6), min_size=1, max_size=5))
def test_the_cuts_of_a_text_make_no_difference(pieces: list[str]) -> None:
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces
    ]
    opening = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    whole = fingerprint_of({"type": "text", "text": "".join(pieces)})
    assert streamed(START, opening, *deltas, DELTA).fingerprint == whole


def test_many_iterations_and_many_events_take_no_time_together() -> None:
    iterations = [{"type": "compaction", "input_tokens": 1}] * 20_000
    many = events(START, DELTA | {"usage": {"output_tokens": 3, "iterations": iterations}}, named=True)
    little = b'data: {"type":"message_delta","usage":{"output_tokens":3}}\n\n' * 20_000
    started = time.monotonic()
    found = metered(many + little, EVENTS)
    # Each event that went through the iterations again would take two minutes and more in all.
    assert time.monotonic() - started < 20
    # No answer has more than 10,000.
    assert found.usage == Usage(input_tokens=10_009, output_tokens=3)


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_no_answer_makes_it_raise(exchange: Exchange) -> None:
    for body in odd_bodies(exchange.answer):
        found = metered(body, exchange.answer_type, other_tools=True)
        again = metered(body, exchange.answer_type, other_tools=True, want_fingerprint=False)
        assert (again.usage, again.model, again.broken_off) == (found.usage, found.model, found.broken_off)
        assert len(found.fingerprint) in (0, 8)
        json.dumps(found.model)
