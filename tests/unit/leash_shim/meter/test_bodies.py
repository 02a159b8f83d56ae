"""How an answer is cut into values: one body, an outline of it, events, lines, an array."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from leash.usage import Usage
from leash_shim.meter import Meter, Metered
from leash_shim.meter.bodies import (
    DONE,
    MAX_JSON_BYTES,
    EventMeter,
    JsonMeter,
    LineMeter,
    ObjectsMeter,
    OutlineMeter,
    is_event_stream,
    meter_for,
)
from leash_shim.meter.json_outline import MAX_VALUE_BYTES


@dataclass
class Recorded:
    """A reply that only keeps what it was given."""

    values: list[tuple[object, bytes]] = field(default_factory=list)
    streamed: bool | None = None
    skipped: bytes = b"none of it"

    @property
    def usage(self) -> Usage | None:
        return Usage(input_tokens=len(self.values)) if self.values else None

    def skips(self, data: bytes, event: bytes, /) -> bool:
        return self.skipped in data or event == b"skipped"

    def add(self, value: object, event: bytes, /) -> None:
        self.values.append((value, event))

    def metered(self, *, streamed: bool) -> Metered:
        self.streamed = streamed
        return Metered(self.usage)


MeterOf = Callable[[Recorded], Meter]


def read(make: MeterOf, body: bytes) -> Recorded:
    """What a reply is given of the body, which is the same however it is cut."""

    def by_pieces(pieces: list[bytes]) -> Recorded:
        reply = Recorded()
        meter = make(reply)
        for piece in pieces:
            meter.feed(piece)
        meter.finish()
        return reply

    whole = by_pieces([body])
    for cut in range(len(body) + 1):
        assert by_pieces([body[:cut], body[cut:]]) == whole
    assert by_pieces([body[at : at + 1] for at in range(len(body))]) == whole
    return whole


def lines(reply: Recorded) -> Meter:
    return LineMeter(reply, max_line_bytes=16)


def events(reply: Recorded) -> Meter:
    return EventMeter(reply, max_event_bytes=200)


@pytest.mark.parametrize("make", [JsonMeter, OutlineMeter])
def test_one_body_is_one_value(make: Callable[[Callable[[], Recorded]], Meter]) -> None:
    def of(reply: Recorded) -> Meter:
        return make(lambda: reply)

    reply = read(of, b'\n{"a": [1]}\n')
    assert reply == Recorded([({"a": [1]}, b"")], streamed=False)
    assert read(of, b'{"a":').values == [(None, b"")]
    assert read(of, b"").values == [(None, b"")]


def test_a_body_beyond_the_bound_is_not_kept() -> None:
    seen: list[Recorded] = []

    def make() -> Recorded:
        seen.append(Recorded())
        return seen[-1]

    meter = JsonMeter(make)
    meter.feed(b'{"a":"' + b"x" * (MAX_JSON_BYTES - 8))
    meter.feed(b'"}')
    assert isinstance(meter.finish(), Metered)
    assert seen[-1].values[0][0] is not None
    meter.feed(b" ")
    meter.finish()
    assert seen[-1].values == [(None, b"")]


def test_an_outline_has_what_is_small_of_a_body_of_any_size() -> None:
    reply = Recorded()
    meter = OutlineMeter(lambda: reply)
    meter.feed(b'{"data":[')
    for _ in range(40):
        meter.feed(b"0.5," * MAX_VALUE_BYTES)
    meter.feed(b'0],"usage":{"total_tokens":7}}')
    assert meter.peek() is not None
    assert reply.values == [({"data": None, "usage": {"total_tokens": 7}}, b"")]


def test_events_are_values_with_their_types() -> None:
    stream = b'event: one\ndata: {"a":1}\n\n: c\ndata: skipped {"b":2}\n\ndata: [DONE]\n\ndata: {"c":\ndata: 3}\n\n'
    reply = read(events, stream)
    assert reply.streamed is True
    wanted = [({"a": 1}, b"one"), (DONE, b""), ({"c": 3}, b"")]
    assert [value for value in reply.values if value[0] is not None] == wanted


def test_what_a_reply_skips_is_not_decoded() -> None:
    stream = b'data: {"a":"none of it"}\n\nevent: skipped\ndata: {"b":1}\n\ndata: {"c":1}\n\n'
    assert read(events, stream).values == [({"c": 1}, b"")]


def test_an_event_stream_can_be_asked_before_its_end() -> None:
    meter = events(Recorded())
    assert meter.peek() is None
    meter.feed(b'data: {"a":1}\n\ndata: {"b":')
    assert meter.peek() == Usage(input_tokens=1)


def test_an_event_beyond_the_bound_costs_itself() -> None:
    stream = b'data: {"a":"%s"}\n\ndata: {"b":1}\n\n' % (b"x" * 300)
    assert read(events, stream).values == [({"b": 1}, b"")]


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b'{"a":1}\n{"b":2}\n', [{"a": 1}, {"b": 2}]),
        (b'{"a":1}\r\n\r\n \n{"b":2}', [{"a": 1}, {"b": 2}]),
        (b'  {"a":1}\rrest\n7\n[]\n', [{"a": 1}]),
        (b'{"a":"xxxxxxx"}\n{"b":2}', [{"a": "xxxxxxx"}, {"b": 2}]),
        # One byte beyond the bound, or many, come in one piece or in several.
        (b'{"a":"xxxxxxxxx"}\n{"b":2}', [{"b": 2}]),
        (b'{"a":"%s"}\n{"b":2}' % (b"x" * 90), [{"b": 2}]),
        (b'{"b":2}\n{"a":"%s' % (b"x" * 90), [{"b": 2}]),
        (b'{"a":\n{"b":2}\n', [None, {"b": 2}]),
    ],
)
def test_each_line_is_a_value(body: bytes, values: list[object]) -> None:
    assert [value for value, _ in read(lines, body).values] == values


def test_the_objects_of_an_array_are_values_and_so_is_one_alone() -> None:
    assert [value for value, _ in read(ObjectsMeter, b'[{"a":1}\n,{"b":[{}]}]').values] == [{"a": 1}, {"b": [{}]}]
    assert [value for value, _ in read(ObjectsMeter, b'{"a":1}').values] == [{"a": 1}]
    assert [value for value, _ in read(ObjectsMeter, b'[{"a":1},{"b":').values] == [{"a": 1}, None]


@pytest.mark.parametrize(
    ("content_type", "streams"),
    [
        ("text/event-stream", True),
        (" Text/Event-Stream ; charset=utf-8", True),
        ("text/event-streams", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_the_content_type_tells_events_from_a_body(content_type: str, streams: bool) -> None:
    assert is_event_stream(content_type) is streams
    reply = Recorded()
    meter = meter_for(content_type, lambda: reply)
    meter.feed(b"data: " + json.dumps({"a": 1}).encode() + b"\n\n")
    meter.finish()
    assert reply.streamed is streams
    assert reply.values == ([({"a": 1}, b"")] if streams else [(None, b"")])
