"""What chat and text completions have in common: when a stream has ended, and which usage stands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leash.usage import Usage
from leash_shim.meter import Metered, RequestFacts, WireFormat
from leash_shim.meter.openai_chat import OPENAI_CHAT
from leash_shim.meter.openai_completions import OPENAI_COMPLETIONS

STREAM = "text/event-stream"
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
ZEROS = dict.fromkeys(USAGE, 0)
READ = Usage(input_tokens=9, output_tokens=3)

BOTH = pytest.mark.parametrize("wire_format", [OPENAI_CHAT, OPENAI_COMPLETIONS], ids=lambda each: each.name)


def metered(wire_format: WireFormat, body: bytes, content_type: str = STREAM, *, fingerprint: bool = True) -> Metered:
    meter = wire_format.meter(content_type=content_type, facts=RequestFacts(), want_fingerprint=fingerprint)
    meter.feed(body)
    result = meter.finish()
    assert meter.peek() == result.usage
    return result


def chunk(*choices: dict[str, Any], **fields: Any) -> bytes:
    return b"data: " + json.dumps({"model": "m", "choices": list(choices), **fields}).encode() + b"\n\n"


GOES_ON = {"index": 0, "delta": {"content": "a"}, "text": "a", "finish_reason": None}
STOPS = {"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}
DONE = b"data: [DONE]\n\n"


@BOTH
@pytest.mark.parametrize(
    ("stream", "usage", "broken_off"),
    [
        (chunk(GOES_ON) + chunk(STOPS) + chunk(usage=USAGE) + DONE, READ, False),
        # One of the three ends is enough.
        (chunk(GOES_ON) + chunk(STOPS, usage=USAGE), READ, False),
        (chunk(GOES_ON) + chunk(usage=USAGE), READ, False),
        (chunk(GOES_ON, usage=USAGE) + DONE, READ, False),
        (chunk(GOES_ON) + chunk(STOPS), None, False),
        (chunk(GOES_ON) + DONE, None, False),
        (chunk(GOES_ON) + b"data:[DONE] \r\n\r\n", None, False),
        # A running usage is the least that it came to, until the end.
        (chunk(GOES_ON, usage=USAGE), READ, True),
        (chunk(GOES_ON), None, True),
        (chunk(GOES_ON) + b'data: "[DONE', None, True),
        (chunk(), None, True),
        # An error in its place, and nothing of the format at all.
        (chunk(GOES_ON) + b'data: {"error":{"message":"overloaded"}}\n\n' + DONE, None, True),
        (b'data: {"error":{"message":"overloaded"}}\n\n', None, True),
        (b": ping\n\n", None, False),
        (b'data: {"id":1}\n\n', None, False),
        (DONE, None, False),
        (b"", None, False),
    ],
)
def test_a_stream_has_ended_where_one_of_its_ends_came(
    wire_format: WireFormat, stream: bytes, usage: Usage | None, broken_off: bool
) -> None:
    for told in (stream, stream.replace(b"\n", b"\r\n"), stream.rstrip()):
        for fingerprint in (True, False):
            result = metered(wire_format, told, fingerprint=fingerprint)
            assert (result.usage, result.broken_off) == (usage, broken_off)


@BOTH
@pytest.mark.parametrize(
    "stream",
    [
        chunk(STOPS, usage=USAGE) + chunk(GOES_ON, usage=ZEROS) + DONE,
        chunk(GOES_ON, usage=ZEROS) + chunk(usage=USAGE),
        chunk(STOPS, x_groq={"usage": USAGE}),
        chunk(usage=None, x_groq={"usage": USAGE}),
        chunk(usage=USAGE, error=None) + DONE,
        chunk(usage=USAGE, error="") + DONE,
        chunk(usage=USAGE, error=False) + DONE,
        chunk(usage=USAGE, error={}) + DONE,
        chunk(usage={**USAGE, "completion_tokens": 1, "total_tokens": 10}) + chunk(usage=USAGE),
    ],
)
def test_which_usage_stands(wire_format: WireFormat, stream: bytes) -> None:
    assert metered(wire_format, stream).usage == READ


@BOTH
def test_zeros_alone_are_zero(wire_format: WireFormat) -> None:
    assert metered(wire_format, chunk(usage=ZEROS)).usage == Usage()


@BOTH
@pytest.mark.parametrize(
    ("members", "usage", "broken_off"),
    [
        ({"choices": [GOES_ON], "usage": USAGE}, READ, False),
        ({"choices": [GOES_ON]}, None, False),
        ({"choices": [], "usage": USAGE, "error": {"code": 502}}, None, True),
        ({"error": "overloaded"}, None, True),
        ({"error": ""}, None, False),
        ("[DONE]", None, False),
    ],
)
def test_one_body_needs_no_end(wire_format: WireFormat, members: Any, usage: Usage | None, broken_off: bool) -> None:
    result = metered(wire_format, json.dumps(members).encode(), "application/json")
    assert (result.usage, result.broken_off) == (usage, broken_off)


@BOTH
@pytest.mark.parametrize("choice", [None, 5, [], {"index": 2**40}, {"index": -1}, {"index": "0"}, {"index": [0]}])
def test_a_choice_that_is_none_says_nothing(wire_format: WireFormat, choice: Any) -> None:
    said = choice | GOES_ON | choice if isinstance(choice, dict) else choice
    assert metered(wire_format, chunk(said, usage=USAGE)).fingerprint == b""
