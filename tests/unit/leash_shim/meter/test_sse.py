"""Splitting event streams, whatever pieces they come in."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter import json_text, sse


def events_of(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The data and event types that a reader hands on and that are JSON or no multi-line data."""
    events: list[tuple[bytes, bytes]] = []

    def read(data: bytes, event: bytes) -> bool:
        understood = json_text.is_object(data)
        if understood or data == b"[DONE]":
            events.append((data, event))
        return understood

    reader = sse.EventReader(read)
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return events


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b'data: {"a":1}\n\ndata: [DONE]\n\n', [(b'{"a":1}', b""), (b"[DONE]", b"")]),
        (
            b'data: {"a":1}\r\n\r\ndata:{"b":2}\r\rdata: {"c":3}\n\n',
            [(b'{"a":1}', b""), (b'{"b":2}', b""), (b'{"c":3}', b"")],
        ),
        (b': comment\n\n:\ndata: {"a":1}\n: in between\n\n', [(b'{"a":1}', b"")]),
        (b'event: error\ndata: {"a":1}\n\ndata: {"b":2}\n\n', [(b'{"a":1}', b"error"), (b'{"b":2}', b"")]),
        (b'data: {\ndata: "a":\ndata: 1}\n\n', [(b'{\n"a":\n1}', b"")]),
        (b'data: {\r\ndata: "a":1}\r\n\r\n', [(b'{\n"a":1}', b"")]),
        (b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n', [(b'{"a":1}', b""), (b'{"b":2}', b""), (b"[DONE]", b"")]),
        (b'data: {"a":1}', [(b'{"a":1}', b"")]),
        (b'data: {"a":1}\ndata', [(b'{"a":1}', b"")]),
        (b'database: {"a":1}\n\nid: 7\nretry: 1\n\n', []),
        (b'data: {"a"\n\ndata: {"b":2}\n\n', [(b'{"b":2}', b"")]),
        (b"\n\n\r\n\r\n\r\r", []),
        (b'event: one\nevent: two\ndata: {"a":1}\n\n', [(b'{"a":1}', b"two")]),
        (b'event:one \ndata:{"a":1}\n\ndata: {"b":2}\n\n', [(b'{"a":1}', b"one "), (b'{"b":2}', b"")]),
        (b'event: lost\n\ndata: {"a":1}\n\n', [(b'{"a":1}', b"")]),
        (b'events: x\nevent x\ndata : {"c":1}\ndata: {"a":1}\n\n', [(b'{"a":1}', b"")]),
        (b'data: {"a":1}\nevent: late\n\n', [(b'{"a":1}', b"late")]),
    ],
)
def test_events_are_read_whatever_their_line_endings_and_pieces(
    stream: bytes, expected: list[tuple[bytes, bytes]]
) -> None:
    assert events_of([stream]) == expected
    for cut in range(len(stream) + 1):
        assert events_of([stream[:cut], stream[cut:]]) == expected
    assert events_of([stream[at : at + 1] for at in range(len(stream))]) == expected


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"data", b":", b" ", b"{", b"}", b'"', b"x"]), max_size=40),
    st.data(),
)
def test_lines_put_together_are_the_input(tokens: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(tokens)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    splitter = sse.LineSplitter(max_bytes=8)
    lines: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        lines += splitter.feed(stream[start:end])
    assert b"".join(lines) + splitter.finish() == stream


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_line_without_end_costs_its_event_and_no_memory(size: int) -> None:
    megabytes = 10 if size > 10 else 2
    piece = b"x" * size
    seen: list[bytes] = []

    def read(data: bytes, event: bytes) -> bool:
        seen.append(data)
        return json_text.is_object(data)

    reader = sse.EventReader(read)
    start = time.perf_counter()
    tracemalloc.start()
    try:
        reader.feed(b'data: {"a":1}\n\ndata: ')
        for _ in range(megabytes * 1_000_000 // size):
            reader.feed(piece)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    reader.feed(b'\ndata: {"lost":1}\n\ndata: {"b":2}\n\n')
    assert seen == [b'{"a":1}', b'{"b":2}']
    assert peak_bytes < 6 * sse.MAX_LINE_BYTES
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize("line", [b"\n", b"x\n", b"data: x\n", b"\r", b"data:\r\n"])
def test_megabytes_of_tiny_lines_in_one_piece_are_not_lines_all_at_once(line: bytes) -> None:
    reader = sse.EventReader(lambda data, event: False)
    piece = line * (2_000_000 // len(line))
    tracemalloc.start()
    try:
        reader.feed(piece)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All of them at once take twenty times as much as their bytes.
    assert peak_bytes < 8 * sse.MAX_LINE_BYTES


@pytest.mark.parametrize("beyond", [-1, 0, 1, 2, 70_000])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_a_line_about_as_long_as_the_bound_reads_alike_in_one_piece_and_in_many(beyond: int, ending: bytes) -> None:
    data = b'data: {"a":"' + b"x" * (sse.MAX_LINE_BYTES - 15 - len(ending) + beyond) + b'"}' + ending * 2
    stream = data + b'data: {"b":1}' + ending * 2
    whole = events_of([stream])
    assert whole[-1] == (b'{"b":1}', b"")
    size = 10_007
    assert events_of([stream[at : at + size] for at in range(0, len(stream), size)]) == whole
    for cut in (len(data) - 3, len(data) - 2, len(data) - 1, len(data)):
        assert events_of([stream[:cut], stream[cut:]]) == whole


def test_an_event_of_very_many_lines_costs_itself() -> None:
    seen: list[bytes] = []

    def read(data: bytes, event: bytes) -> bool:
        seen.append(data)
        return False

    reader = sse.EventReader(read)
    start = time.perf_counter()
    reader.feed(b"data: {" + b"x" * (sse.MAX_EVENT_BYTES - 100) + b"\n")
    for _ in range(200):
        reader.feed(b"data: x\n" * 1000)
    reader.feed(b"\ndata: {}\n\n")
    assert [len(data) for data in seen] == [sse.MAX_EVENT_BYTES - 99, 2]
    assert time.perf_counter() - start < 5
