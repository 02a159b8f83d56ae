"""What the client sees of a stream for which leash asked for the usage."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter import sse
from leash_shim.meter.usage_filter import UsageChunkFilter

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def provider_stream(
    deltas: list[dict[str, Any]],
    *,
    include_usage: bool,
    newline: str = "\n",
    compact: bool = True,
    usage_before_end: bool = True,
    heartbeat: bool = False,
) -> bytes:
    """What an OpenAI-compatible provider sends, with or without the option."""
    separators = (",", ":") if compact else (", ", ": ")
    parts = []

    def send(choices: list[object], usage: object) -> None:
        chunk: dict[str, object] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o"}
        if include_usage and not usage_before_end:
            chunk["usage"] = usage
        chunk["choices"] = choices
        if include_usage and usage_before_end:
            chunk["usage"] = usage
        chunk["obfuscation"] = "xyz"
        parts.append("data: " + json.dumps(chunk, separators=separators) + newline * 2)
        if heartbeat:
            parts.append(f": keep-alive{newline}{newline}")

    for delta in deltas:
        send([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}], None)
    send([{"index": 0, "delta": {}, "finish_reason": "stop"}], None)
    if include_usage:
        send([], USAGE)
        if heartbeat:
            parts.pop()
    parts.append("data: [DONE]" + newline * 2)
    return "".join(parts).encode()


def filtered(pieces: list[bytes]) -> bytes:
    visible = UsageChunkFilter()
    return b"".join([visible.feed(piece) for piece in pieces]) + visible.finish()


STREAMS = [
    {"newline": "\n"},
    {"newline": "\r\n"},
    {"newline": "\r"},
    {"compact": False},
    {"usage_before_end": False},
    {"compact": False, "usage_before_end": False, "newline": "\r\n"},
    {"heartbeat": True},
]
DELTAS = [{"role": "assistant", "content": ""}, {"content": 'say "usage":null, please\n\ndata: x'}]


@pytest.mark.parametrize("shape", STREAMS)
def test_the_client_gets_what_the_provider_sends_without_the_option(shape: dict[str, Any]) -> None:
    stream = provider_stream(DELTAS, include_usage=True, **shape)
    expected = provider_stream(DELTAS, include_usage=False, **shape)
    assert filtered([stream]) == expected
    assert filtered([stream[at : at + 1] for at in range(len(stream))]) == expected
    for cut in range(len(stream) + 1):
        assert filtered([stream[:cut], stream[cut:]]) == expected


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["content", "refusal", "usage"]), st.none() | st.text()), max_size=4),
    st.sampled_from(STREAMS),
    st.data(),
)
def test_any_deltas_in_any_pieces(deltas: list[dict[str, Any]], shape: dict[str, Any], data: st.DataObject) -> None:
    stream = provider_stream(deltas, include_usage=True, **shape)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert filtered(pieces) == provider_stream(deltas, include_usage=False, **shape)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_each_event_goes_out_with_its_last_byte(newline: bytes) -> None:
    visible = UsageChunkFilter()
    delta = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}' + newline
    assert visible.feed(b": connecting" + newline) == b": connecting" + newline
    assert visible.feed(newline) == newline
    for _ in range(3):
        assert visible.feed(delta + newline) == delta.replace(b',"usage":null', b"") + newline
    assert visible.feed(delta[:20]) == b""
    assert visible.feed(delta[20:]) == delta.replace(b',"usage":null', b"")
    assert visible.feed(newline) == newline
    assert visible.feed(b'data: {"choices":[],"usage":{}}' + newline) == b""
    assert visible.feed(newline) == b""
    assert visible.feed(b"data: [DONE]" + newline) == b"data: [DONE]" + newline
    assert visible.feed(newline) == newline
    assert visible.finish() == b""


def test_a_heartbeat_is_not_held_back_by_an_event_that_is_decided() -> None:
    visible = UsageChunkFilter()
    assert visible.feed(b'data: {"choices":[],"usage":{}}\n') == b""
    assert visible.feed(b": still here\n") == b": still here\n"
    assert visible.feed(b"\n: and here\n\n") == b": and here\n\n"


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        # The event's other fields go with it, a comment within it does not.
        (b'event: chunk\nid: 7\n: note\ndata: {"choices":[],"usage":{}}\nretry: 3\n\nid: 8\n\n', b": note\nid: 8\n\n"),
        # Data of several lines.
        (b'data: {\ndata: "choices": [],\ndata: "usage": {}}\n\ndata: [DONE]\n\n', b"data: [DONE]\n\n"),
        (b'data: {\r\ndata: "choices": [],\r\n:x\r\ndata: "usage": {}}\r\n\r\n', b":x\r\n"),
        # One line ending between events.
        (b'data: {"a":1}\ndata: {"choices":[],"usage":{}}\ndata: [DONE]\n', b'data: {"a":1}\ndata: [DONE]\n'),
        # More than one, and one that the end cut off.
        (b'data: {"choices":[],"usage":{}}\n\n' * 2 + b'data: {"choices":[],"usage":{}}', b""),
        # A field without a space after its colon, or with two.
        (b'data:{"choices":[],"usage":{}}\n\ndata:  {"choices":[],"usage":{}}\n\n', b""),
    ],
)
def test_the_usage_chunk_is_taken_out_whatever_it_looks_like(stream: bytes, expected: bytes) -> None:
    assert filtered([stream]) == expected
    for cut in range(len(stream) + 1):
        assert filtered([stream[:cut], stream[cut:]]) == expected
    assert filtered([stream[at : at + 1] for at in range(len(stream))]) == expected


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\n\n\n",
        b'{"error":{"message":"\n\nno event stream"},"usage":null}',
        b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"choices":[],"usage":{}',
        b'data: {"choices":[],"usage":\n\ndata: {}}\n\n',
        b'data: {"choices":[],"usage":{}} trailing\n\n',
        b"event: ping\n\nid: 4\n\ndata\n\ndata:\n\n",
        b'xdata: {"choices":[],"usage":{}}\n\n',
        b'data: {"error":{"message":"overloaded"},"choices":[],"usage":{}}\n\n',
        b'data: {"a": NaN, "usage": null, "choices": []}\n\n',
        b'data: [{"choices":[],"usage":{}}]\n\n',
        "data: \u2028é\n\n".encode(),
    ],
)
def test_everything_else_passes_byte_for_byte(stream: bytes) -> None:
    assert filtered([stream]) == stream
    for cut in range(len(stream) + 1):
        assert filtered([stream[:cut], stream[cut:]]) == stream


TOKENS = [
    b"\r",
    b"\n",
    b"\r\n",
    b"data: ",
    b"event: x",
    b": c",
    b'{"choices":[],',
    b'"usage":{}}',
    b'"usage":null}',
    b"{",
    b"}",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=30), st.data())
def test_the_pieces_make_no_difference(tokens: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(tokens)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert filtered(pieces) == filtered([stream])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=8))
def test_bytes_without_usage_pass(pieces: list[bytes]) -> None:
    assert filtered(pieces) == b"".join(pieces)


@pytest.mark.long
@pytest.mark.parametrize("size", [1000, 100_000])
@pytest.mark.parametrize("unit", [b'"usage":null,', b"data: x\n", b'data: {"usage":null,\n', b'data: {"choices":[],'])
def test_ten_megabytes_of_nonsense_pass_within_bounds(unit: bytes, size: int) -> None:
    nonsense = b'data: {"choices":[],"usage":' + unit * (10_000_000 // len(unit))
    visible = UsageChunkFilter()
    passed = 0
    start = time.perf_counter()
    tracemalloc.start()
    try:
        for at in range(0, len(nonsense), size):
            passed += len(visible.feed(nonsense[at : at + size]))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert passed + len(visible.finish()) == len(nonsense)
    assert peak_bytes < 4 * sse.MAX_LINE_BYTES
    assert time.perf_counter() - start < 30


@pytest.mark.long
def test_single_bytes_of_nonsense_take_time_in_proportion() -> None:
    nonsense = b'data: {"choices":[],"usage":' + b"x" * (sse.MAX_LINE_BYTES + 200_000)
    start = time.perf_counter()
    assert filtered([nonsense[at : at + 1] for at in range(len(nonsense))]) == nonsense
    assert time.perf_counter() - start < 30


def test_an_event_beyond_the_bound_passes_and_the_next_usage_chunk_is_hidden() -> None:
    long = b'data: {"choices":[],"usage":{"x":"' + b"x" * sse.MAX_LINE_BYTES + b'"}}\n\n'
    usage = b'data: {"choices":[],"usage":{}}\n\n'
    for pieces in ([long + usage], [long, usage], [long[:100], long[100:], usage[:5], usage[5:]]):
        assert filtered(pieces) == long
