from __future__ import annotations

import gzip

import pytest

from leash_shim.meter import RequestFacts, WireFormat, route
from leash_shim.tap import Tap, tap_for

REPORT = b'{"model":"m","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}}'
TEXT = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"one"}}]}\n\n'
USAGE_CHUNK = b"data: " + REPORT + b"\n\n"
DONE = b"data: [DONE]\n\n"
JSON = (b"Content-Type", b"application/json")
SSE = (b"content-type", b"Text/Event-Stream; charset=utf-8")


def chat() -> WireFormat:
    found = route("POST", "/v1/chat/completions").format
    assert found is not None
    return found


def tap(*headers: tuple[bytes, bytes], status: int = 200, hides: bool = False) -> Tap:
    return tap_for(chat(), RequestFacts(), status=status, answer_headers=headers, hides_usage_chunk=hides)


def through(tapped: Tap, *pieces: bytes) -> bytes:
    seen = b"".join([tapped.feed(piece) for piece in pieces])
    tail, _ = tapped.finish()
    return seen + tail


def test_a_plain_answer_passes_and_is_read() -> None:
    tapped = tap(JSON)
    assert tapped.feed(REPORT[:20]) + tapped.feed(REPORT[20:]) == REPORT
    tail, metered = tapped.finish()
    assert tail == b""
    assert metered is not None
    assert metered.usage is not None
    assert (metered.usage.input_tokens, metered.usage.output_tokens, metered.model) == (11, 5, "m")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_compressed_answer_passes_compressed_and_is_read(size: int) -> None:
    packed = gzip.compress(REPORT)
    tapped = tap(JSON, (b"Content-Encoding", b"gzip"))
    assert not tapped.reframes
    assert b"".join(tapped.feed(packed[at : at + size]) for at in range(0, len(packed), size)) == packed
    _, metered = tapped.finish()
    assert metered is not None
    assert metered.usage is not None
    assert metered.usage.output_tokens == 5


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_hidden_chunk_is_read_and_not_seen(size: int) -> None:
    whole = TEXT + USAGE_CHUNK + DONE
    tapped = tap(SSE, hides=True)
    assert tapped.reframes
    assert through(tapped, *(whole[at : at + size] for at in range(0, len(whole), size))) == TEXT + DONE


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_hidden_chunk_in_a_compressed_stream_leaves_a_plain_one(size: int) -> None:
    packed = gzip.compress(TEXT + USAGE_CHUNK + DONE)
    tapped = tap(SSE, (b"content-encoding", b"gzip"), hides=True)
    assert through(tapped, *(packed[at : at + size] for at in range(0, len(packed), size))) == TEXT + DONE


def test_what_is_no_event_stream_keeps_its_bytes() -> None:
    tapped = tap(JSON, hides=True)
    assert not tapped.reframes
    assert through(tapped, USAGE_CHUNK) == USAGE_CHUNK


@pytest.mark.parametrize("tapped", [tap(JSON, status=400), tap(JSON, (b"content-encoding", b"rot13"))])
def test_an_error_or_an_unknown_encoding_is_only_passed_on(tapped: Tap) -> None:
    assert tapped.feed(REPORT) == REPORT
    assert tapped.peek() is None
    assert tapped.finish() == (b"", None)


def test_without_a_format_nothing_is_read() -> None:
    tapped = tap_for(None, None, status=200, answer_headers=[JSON], hides_usage_chunk=False)
    assert tapped.feed(REPORT) == REPORT
    assert tapped.finish() == (b"", None)


def test_peek_knows_what_has_come() -> None:
    tapped = tap(SSE)
    assert tapped.peek() is None
    tapped.feed(USAGE_CHUNK)
    known = tapped.peek()
    assert known is not None
    assert known.output_tokens == 5


def test_what_was_read_before_a_decoder_gave_up_is_the_least_that_it_came_to() -> None:
    running = TEXT + USAGE_CHUNK
    tapped = tap(SSE, (b"content-encoding", b"gzip"))
    tapped.feed(gzip.compress(running))
    tapped.feed(gzip.compress(running)[:10] + b"\xff" * 60)
    _, metered = tapped.finish()
    assert metered is not None
    assert metered.usage is not None
    assert metered.broken_off
