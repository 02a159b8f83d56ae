"""The same exchange told in another way, as another server might: the same usage, model and fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from leash_shim.meter import Metered
from leash_shim.meter.bodies import is_event_stream
from tests.exchanges.corpus import CORPUS
from tests.exchanges.exchange import JSON, LINES, Exchange

EXCHANGES = [exchange for exchange in CORPUS.values() if not exchange.is_large]
STREAMS = [exchange for exchange in EXCHANGES if is_event_stream(exchange.answer_type)]

WRITERS: dict[str, Callable[[Any], str]] = {
    "spaced": json.dumps,
    "indented": lambda value: json.dumps(value, indent=4),
    "in another order": lambda value: json.dumps(value, sort_keys=True),
    "unescaped": lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    "turned round": lambda value: json.dumps(turned(value), separators=(",", ":")),
    "with more members": lambda value: json.dumps(widened(value), separators=(",", ":")),
}

LINE_ENDINGS = (b"\n", b"\r\n", b"\r")


def turned(value: Any) -> Any:
    """The value with the members of each object in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(each) for key, each in reversed(value.items())}
    return [turned(each) for each in value] if isinstance(value, list) else value


def widened(value: Any) -> Any:
    """The value with members that no reader knows, in its outermost object and in that of its usage."""
    if not isinstance(value, dict):
        return value
    members = {
        key: each | {"x_new": [{"tokens": 7}]} if key == "usage" and each else each for key, each in value.items()
    }
    return {"x_first": {"usage": "none"}} | members | {"x_last": [True, None]}


def rewritten(exchange: Exchange, body: bytes, write: Callable[[Any], str]) -> bytes:
    """An answer with each JSON value in it written anew, where that can be done."""
    if exchange.answer_type == JSON:
        try:
            return write(json.loads(body)).encode()
        except ValueError:
            pass
    return b"".join(rewritten_line(line, write) for line in body.splitlines(keepends=True))


def rewritten_line(line: bytes, write: Callable[[Any], str]) -> bytes:
    start = line.find(b"{")
    if start < 0:
        return line
    end = len(line.rstrip())
    try:
        value = json.loads(line[start:end])
    except ValueError:
        return line
    # A line holds no line ending but its own.
    return line[:start] + write(value).replace("\n", "").encode() + line[end:]


def read(exchange: Exchange, body: bytes) -> Metered:
    half = len(body) // 2
    metered = exchange.read([body[:half], body[half:]])
    assert metered == exchange.read([body])
    return metered


@pytest.mark.parametrize("how", WRITERS)
@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_json_may_be_written_otherwise(exchange: Exchange, how: str) -> None:
    assert read(exchange, rewritten(exchange, exchange.sent, WRITERS[how])) == exchange.read([exchange.sent])


@pytest.mark.parametrize("how", WRITERS)
@pytest.mark.parametrize(
    "exchange", [each for each in STREAMS if each.prepared.hides_usage_chunk], ids=lambda exchange: exchange.name
)
def test_what_leash_asked_for_is_taken_out_however_it_is_written(exchange: Exchange, how: str) -> None:
    assert exchange.way.format is not None
    sent = rewritten(exchange, exchange.sent, WRITERS[how])
    for step in (1, 5, len(sent)):
        visible = exchange.way.format.visible_filter()
        assert visible is not None
        seen = b"".join(visible.feed(sent[at : at + step]) for at in range(0, len(sent), step)) + visible.finish()
        assert seen == rewritten(exchange, exchange.answer, WRITERS[how])


@pytest.mark.parametrize("ending", LINE_ENDINGS, ids=repr)
@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_an_event_stream_may_have_other_lines(exchange: Exchange, ending: bytes) -> None:
    lines = exchange.sent.splitlines()
    expected = exchange.read([exchange.sent])
    plain = ending.join([*lines, b""])
    tight = ending.join(
        [line.replace(b": ", b":", 1) if line.startswith((b"data: ", b"event: ")) else line for line in lines]
    )
    commented = ending.join([part for line in lines for part in (line, b": ping" if not line else b"id: 7")])
    begun = ending.join([b": hello", b"", b"retry: 3", b"", *lines])
    for told in (plain, tight + ending, commented, begun + ending):
        assert read(exchange, told) == expected


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_an_event_that_is_broken_costs_itself_alone(exchange: Exchange) -> None:
    expected = exchange.read([exchange.sent])
    for broken in (
        b'data: {"usage":\n\n',
        b"data: \xff\xfe\n\n",
        b"data\n\n",
        b"event\ndata:\n\n",
        b"data: {}\n\n",
        b"data: 0\n\n",
    ):
        assert read(exchange, broken + exchange.sent) == expected


@pytest.mark.parametrize(
    "exchange", [each for each in EXCHANGES if each.answer_type == LINES], ids=lambda exchange: exchange.name
)
def test_lines_may_have_others_between_them(exchange: Exchange) -> None:
    expected = exchange.read([exchange.sent])
    for told in (
        exchange.sent.replace(b"\n", b"\r\n"),
        exchange.sent.replace(b"\n", b"\n\n"),
        b'\n{"broken":\n' + exchange.sent,
        exchange.sent.rstrip(),
    ):
        assert read(exchange, told) == expected


# A Gemini chunk tells the usage so far, and nothing says that another comes; two pictures are two ends.
ENDS_ARE_MARKED = [
    each
    for each in EXCHANGES
    if each.usage and not each.broken_off and "gemini" not in each.name and each.facts.choices == 1
]


@pytest.mark.parametrize("exchange", ENDS_ARE_MARKED, ids=lambda exchange: exchange.name)
def test_what_ends_too_soon_is_never_settled_with_less(exchange: Exchange) -> None:
    body = exchange.sent
    ends = [at + 1 for at, byte in enumerate(body) if byte == ord("\n")]
    for end in {0, *ends, *(end - 1 for end in ends), *range(0, len(body), 37)}:
        metered = exchange.read([body[:end]])
        assert metered.broken_off or metered.usage in (None, exchange.usage)
