"""Metering Gemini, as JSON, as a JSON array and as event streams."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash.usage import Usage
from leash_shim.meter import Metered, RequestFacts
from leash_shim.meter.gemini import GEMINI_CONTENT, GEMINI_EMBEDDINGS
from tests.exchanges.exchange import EVENTS, JSON, Exchange, dump, events
from tests.exchanges.gemini import EXCHANGES
from tests.exchanges.odd import odd_bodies

USAGE = {"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12}
READ = Usage(input_tokens=9, output_tokens=3)
ENDED = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": USAGE}


def metered(body: bytes, content_type: str = JSON, *, want_fingerprint: bool = True, **facts: Any) -> Metered:
    meter = GEMINI_CONTENT.meter(
        content_type=content_type, facts=RequestFacts(**facts), want_fingerprint=want_fingerprint
    )
    meter.feed(body)
    found = meter.finish()
    assert meter.finish() == found
    return found


def streamed(*chunks: Any, **facts: Any) -> Metered:
    found = metered(events(*chunks), EVENTS, stream=True, **facts)
    assert metered(dump(list(chunks)), stream=True, **facts) == found
    return found


def chunk(*parts: Any, **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}}], **fields}


def fingerprint_of(*parts: Any) -> bytes:
    return metered(dump(chunk(*parts, usageMetadata=USAGE))).fingerprint


def call(name: str = "look_up", **arguments: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": arguments}}


def piece(path: str, **value: Any) -> dict[str, Any]:
    return {"functionCall": {"partialArgs": [{"jsonPath": path, **value}], "willContinue": True}}


def test_each_chunk_tells_what_was_used_so_far() -> None:
    body = b"[" + dump(chunk({"text": "a"}, usageMetadata={"promptTokenCount": 9})) + b",\r\n" + dump(ENDED) + b"]"
    meter = GEMINI_CONTENT.meter(content_type=JSON, facts=RequestFacts(stream=True))
    seen = []
    for at in range(len(body)):
        meter.feed(body[at : at + 1])
        if meter.peek() not in seen:
            seen.append(meter.peek())
    assert seen == [None, Usage(input_tokens=9), READ]


def test_a_later_usage_stands_in_the_place_of_an_earlier_one_where_it_has_a_count() -> None:
    more = USAGE | {"candidatesTokenCount": 8, "totalTokenCount": 17}
    found = streamed({"usageMetadata": USAGE}, {"usageMetadata": more}, {"usageMetadata": {"trafficType": "X"}}, ENDED)
    assert found.usage == READ
    assert streamed({"usageMetadata": more}, {"usageMetadata": {"trafficType": "X"}}).usage == Usage(
        input_tokens=9, output_tokens=8
    )


@pytest.mark.parametrize(
    ("chunks", "broken_off"),
    [
        ([chunk({"text": "a"})], True),
        ([chunk({"text": "a"}, usageMetadata=USAGE)], False),
        ([chunk({"text": "a"}, usageMetadata=USAGE), chunk({"text": "b"})], True),
        ([chunk({"text": "a"}), ENDED], False),
        ([ENDED, chunk({"text": "b"})], False),
        ([{"promptFeedback": {"blockReason": "SAFETY"}}], False),
        ([{"promptFeedback": {"safetyRatings": []}}, chunk({"text": "a"})], True),
        ([ENDED, {"error": {"code": 503}}], False),
        ([chunk({"text": "a"}, usageMetadata=USAGE), {"error": {"code": 503}}], True),
        ([{"usageMetadata": USAGE}, {"error": {"code": 503}}], True),
        ([{"error": {"code": 503}}, {"usageMetadata": USAGE}], True),
        ([{"error": {"code": 503}}], True),
        ([{"error": None}], False),
        ([{"something": "else"}], False),
    ],
)
def test_a_stream_is_broken_off_where_neither_its_end_nor_its_usage_stands_last(
    chunks: list[Any], broken_off: bool
) -> None:
    assert streamed(*chunks).broken_off is broken_off


@pytest.mark.parametrize("cut", [b"", b"[", b'[{"candidates":[]', b"{", b'"'])
def test_what_was_cut_before_it_began_is_blind(cut: bytes) -> None:
    assert metered(cut, stream=True) == Metered()


@pytest.mark.parametrize("ending", [b"", b"]", b",", b"\n,\r\n{", b',{"candidates":[{"content":{"parts":[{"text":"}]'])
def test_an_array_that_is_not_closed_is_broken_off(ending: bytes) -> None:
    body = b"[" + dump(chunk({"text": "a"}, usageMetadata=USAGE)) + ending
    found = metered(body, stream=True)
    assert found.usage == READ
    assert found.broken_off == (ending != b"]")


def test_an_answer_that_is_no_stream_has_no_end_to_miss() -> None:
    assert not metered(dump(chunk({"text": "a"}))).broken_off
    assert metered(dump(chunk({"text": "a"}))).usage is None
    body = dump({"embedding": {"values": []}, "usageMetadata": {"promptTokenCount": 4}})
    meter = GEMINI_EMBEDDINGS.meter(content_type=JSON, facts=RequestFacts())
    meter.feed(body)
    assert meter.finish() == Metered(Usage(input_tokens=4))


def test_every_different_query_is_a_search_for_each_candidate() -> None:
    def grounded(index: int, *queries: Any, key: str = "webSearchQueries") -> dict[str, Any]:
        return {"candidates": [{"index": index, "groundingMetadata": {key: list(queries)}}], "usageMetadata": USAGE}

    def searches(*chunks: Any) -> int:
        usage = streamed(*chunks).usage
        assert usage is not None
        return usage.web_search_requests

    assert searches(grounded(0, "a", "b")) == 2
    assert searches(grounded(0, "a", "", "a", None, 7)) == 1
    assert searches(grounded(0, "a"), grounded(0, "a", "b"), grounded(0, "c")) == 3
    assert searches(grounded(0, "a"), grounded(1, "a")) == 2
    assert searches(grounded(0, "a"), grounded(0, "b", key="imageSearchQueries")) == 2
    assert searches(grounded(0, "a"), ENDED) == 1
    assert searches(grounded(0)) == 0
    assert searches(grounded(0, *map(str, range(5_000)))) == 1_000


def test_a_tool_that_no_table_can_price_counts_where_it_was_used() -> None:
    grounding = {"groundingMetadata": {"groundingChunks": [{"maps": {}}]}}
    used = {"candidates": [grounding], "usageMetadata": USAGE}
    assert streamed(used, ENDED, other_tools=True).usage == Usage(
        input_tokens=9, output_tokens=3, other_tool_requests=1
    )
    assert streamed(used, ENDED).usage == READ
    assert streamed(ENDED, other_tools=True).usage == READ


def test_equal_calls_have_one_fingerprint_however_they_are_told() -> None:
    whole = fingerprint_of(call(a=[1, 2], b=1))
    assert fingerprint_of(call(b=1, a=[1, 2]) | {"thoughtSignature": "x"}) == whole
    assert streamed(chunk(call(b=1, a=[1, 2])), ENDED).fingerprint == whole
    assert fingerprint_of({"function_call": call(b=1, a=[1, 2])["functionCall"] | {"id": "1"}}) == whole


def test_different_replies_have_different_fingerprints() -> None:
    replies: list[tuple[Any, ...]] = [
        (call(a=1),),
        (call(a=2),),
        (call(a="1"),),
        (call("look_down", a=1),),
        (call(),),
        (call(a=1), call(a=1)),
        (call(a=1), call(a=2)),
        (call(a=2), call(a=1)),
        (call(a=1), {"text": "so"}),
        ({"text": "so"},),
        ({"executableCode": {"code": "so"}},),
        (),
    ]
    assert len({fingerprint_of(*parts) for parts in replies}) == len(replies)


def test_thoughts_do_not_count() -> None:
    assert fingerprint_of({"text": "hm", "thought": True}, {"text": "so"}) == fingerprint_of({"text": "so"})
    assert fingerprint_of({"text": "hm", "thought": True}) == b""


def test_candidates_are_told_apart() -> None:
    def candidates(*texts: str) -> bytes:
        told = [{"index": at, "content": {"parts": [{"text": text}]}} for at, text in enumerate(texts)]
        return metered(dump({"candidates": told})).fingerprint

    assert candidates("a", "b") != candidates("b", "a") != candidates("ab")


def test_arguments_in_pieces_are_told_apart_by_where_they_belong() -> None:
    opening = {"functionCall": {"name": "f", "willContinue": True}}
    replies = [
        (opening, piece("$.a", stringValue="xy")),
        (opening, piece("$.b", stringValue="xy")),
        (opening, piece("$.a", stringValue="x"), piece("$.b", stringValue="y")),
        (opening, piece("$.a", numberValue=1)),
        (opening, piece("$.a", boolValue=True)),
        (opening, piece("$.a", nullValue=None)),
        (opening, piece("$.a", stringValue="xy"), opening, piece("$.a", stringValue="xy")),
        (opening,),
    ]
    assert len({streamed(*map(chunk, parts), ENDED).fingerprint for parts in replies}) == len(replies)


@given(st.lists(st.text(max_size=6), min_size=1, max_size=5))
def test_the_cuts_of_an_argument_make_no_difference(pieces: list[str]) -> None:
    opening = {"functionCall": {"name": "f", "willContinue": True}}
    cut = streamed(chunk(opening), *(chunk(piece("$.a", stringValue=text)) for text in pieces), ENDED)
    whole = streamed(chunk(opening, piece("$.a", stringValue="".join(pieces))), ENDED)
    assert cut.fingerprint == whole.fingerprint


def test_a_piece_of_no_call_and_calls_beyond_any_reply_do_no_harm() -> None:
    assert len(streamed(chunk(piece("$.a", stringValue="x")), ENDED).fingerprint) == 8
    calls = [call(a=number) for number in range(400)]
    assert fingerprint_of(*calls) == fingerprint_of(*calls[:128])


def test_many_details_and_many_chunks_take_no_time_together() -> None:
    details = [{"modality": "TEXT", "tokenCount": 1}] * 100_000
    many = dump({"usageMetadata": USAGE | {"promptTokensDetails": details}})
    body = b"[" + many + b',{"candidates":[]}' * 50_000 + b"]"
    started = time.monotonic()
    assert metered(body, stream=True).usage == READ
    # Each chunk that went through the details again would take twenty minutes in all.
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_no_answer_makes_it_raise(exchange: Exchange) -> None:
    for body in odd_bodies(exchange.answer):
        found = metered(body, exchange.answer_type, stream=exchange.facts.stream, other_tools=True)
        again = metered(
            body, exchange.answer_type, stream=exchange.facts.stream, other_tools=True, want_fingerprint=False
        )
        assert (again.usage, again.model, again.broken_off) == (found.usage, found.model, found.broken_off)
        assert len(found.fingerprint) in (0, 8)
