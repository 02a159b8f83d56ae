"""OpenAI's images, transcriptions and speech: what can be metered, what bills, and what ends a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leash.usage import Usage
from leash_shim.meter import Asked, Metered, RequestFacts, WireFormat
from leash_shim.meter.json_text import LARGEST_NUMBER
from leash_shim.meter.openai_media import OPENAI_IMAGES, OPENAI_SPEECH, OPENAI_TRANSCRIPTIONS
from leash_shim.meter.openai_request import MAX_CHOICES

STREAM = "text/event-stream"
FORM = "multipart/form-data; boundary=b"
USAGE = {"input_tokens": 50, "output_tokens": 100, "total_tokens": 150}
DRAWN = Usage(input_tokens=50, output_tokens=100, image_output_tokens=100)
SPOKEN = Usage(input_tokens=50, output_tokens=100, audio_output_tokens=100)
WRITTEN = Usage(input_tokens=50, output_tokens=100)


def form(**fields: str) -> bytes:
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{fields[name]}\r\n' for name in fields]
    return "".join((*parts, "--b--\r\n")).encode()


def facts(wire_format: WireFormat, body: bytes, content_type: str = "", path: str = "") -> RequestFacts:
    return wire_format.read_request(Asked(body, path, content_type))


def metered(wire_format: WireFormat, body: bytes, content_type: str = STREAM, **wanted: bool) -> Metered:
    meter = wire_format.meter(content_type=content_type, facts=RequestFacts(), **wanted)
    meter.feed(body)
    assert meter.finish() == meter.finish()
    return meter.finish()


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "gpt-image-1", "n": "3"}, RequestFacts(model="gpt-image-1", choices=3)),
        ({"model": "gpt-image-1", "stream": "true"}, RequestFacts(model="gpt-image-1", stream=True)),
        ({"n": "-1", "stream": "yes"}, RequestFacts()),
        ({"n": "9" * 15}, RequestFacts(choices=MAX_CHOICES)),
    ],
)
def test_the_facts_of_an_image_in_either_form(fields: dict[str, str], expected: RequestFacts) -> None:
    assert facts(OPENAI_IMAGES, form(**fields), FORM) == expected
    loose = {name: True if value == "true" else value for name, value in fields.items()}
    assert facts(OPENAI_IMAGES, json.dumps(loose).encode(), "application/json") == expected


def test_azures_deployment_is_the_model() -> None:
    path = "/openai/deployments/draw/images/generations"
    assert facts(OPENAI_IMAGES, b'{"model":"other"}', path=path).model == "draw"


@pytest.mark.parametrize(
    ("fields", "meterable"),
    [
        ({}, True),
        ({"response_format": "json"}, True),
        ({"response_format": "verbose_json"}, True),
        ({"response_format": "diarized_json"}, True),
        ({"response_format": "text"}, False),
        ({"response_format": "srt", "stream": "false"}, False),
        ({"response_format": "vtt"}, False),
        ({"response_format": "text", "stream": "true"}, True),
    ],
)
def test_a_transcript_as_plain_text_has_no_usage(fields: dict[str, str], meterable: bool) -> None:
    why = facts(OPENAI_TRANSCRIPTIONS, form(model="m", **fields), FORM).unmeterable
    assert (why == "") is meterable
    assert meterable or f'"response_format" "{fields["response_format"]}"' in why


@pytest.mark.parametrize(
    ("fields", "meterable"),
    [
        ({"stream_format": "sse"}, True),
        ({"stream_format": "audio"}, False),
        ({"stream_format": ["sse"]}, False),
        ({"response_format": "mp3"}, False),
        ({}, False),
    ],
)
def test_speech_as_plain_audio_has_no_usage(fields: dict[str, Any], meterable: bool) -> None:
    found = facts(OPENAI_SPEECH, json.dumps({"model": "m", "input": "hi", **fields}).encode())
    assert (found.unmeterable == "", found.stream) == (meterable, meterable)


@pytest.mark.parametrize(
    "wire_format", [OPENAI_IMAGES, OPENAI_TRANSCRIPTIONS, OPENAI_SPEECH], ids=lambda each: each.name
)
@pytest.mark.parametrize(("body", "content_type"), [(b"", FORM), (b"", ""), (b"[]", ""), (b"\xff", FORM), (b"{", "")])
def test_a_body_that_cannot_be_read_names_no_model(wire_format: WireFormat, body: bytes, content_type: str) -> None:
    assert facts(wire_format, body, content_type).model == ""


PREVIEW = event("image_generation.partial_image", b64_json="aGk=")
PICTURE = event("image_generation.completed", b64_json="aGk=", usage=USAGE)
HEARD = event("transcript.text.done", text="It rains.", usage=USAGE)
ERROR = b'data: {"error":{"message":"overloaded"}}\n\n'


@pytest.mark.parametrize(
    ("wire_format", "stream", "usage", "broken_off"),
    [
        (OPENAI_IMAGES, PREVIEW + PICTURE, DRAWN, False),
        (OPENAI_IMAGES, PICTURE, DRAWN, False),
        (
            OPENAI_IMAGES,
            PREVIEW + PICTURE + PREVIEW + PICTURE + b"data: [DONE]\n\n",
            Usage(input_tokens=100, output_tokens=200, image_output_tokens=200),
            False,
        ),
        (OPENAI_IMAGES, PREVIEW, None, True),
        (OPENAI_IMAGES, PREVIEW + event("error", error={"message": "blocked"}), None, True),
        (OPENAI_IMAGES, ERROR, None, True),
        (OPENAI_IMAGES, event("image_edit.completed", b64_json="aGk="), None, False),
        (OPENAI_IMAGES, b": ping\n\ndata: {}\n\n", None, False),
        (OPENAI_TRANSCRIPTIONS, event("transcript.text.delta", delta="It") + HEARD, WRITTEN, False),
        (OPENAI_TRANSCRIPTIONS, event("transcript.text.delta", delta="It"), None, True),
        (OPENAI_TRANSCRIPTIONS, event("transcript.text.segment", text="It"), None, True),
        (OPENAI_TRANSCRIPTIONS, event("transcript.text.done", text="It"), None, False),
        (
            OPENAI_SPEECH,
            event("speech.audio.delta", audio="aGk=") + event("speech.audio.done", usage=USAGE),
            SPOKEN,
            False,
        ),
        (OPENAI_SPEECH, event("speech.audio.delta", audio="aGk="), None, True),
    ],
)
def test_a_stream(wire_format: WireFormat, stream: bytes, usage: Usage | None, broken_off: bool) -> None:
    for told in (stream, stream.replace(b"\n", b"\r\n")):
        for fingerprint in (True, False):
            result = metered(wire_format, told, want_fingerprint=fingerprint)
            assert (result.usage, result.broken_off) == (usage, broken_off)


def test_no_sum_outgrows_a_count() -> None:
    huge = event("image_generation.completed", usage={"input_tokens": LARGEST_NUMBER, "output_tokens": 1})
    usage = metered(OPENAI_IMAGES, huge * 3).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (LARGEST_NUMBER, 3)


@pytest.mark.parametrize(
    ("members", "usage", "broken_off"),
    [
        ({"text": "hi", "usage": {"type": "tokens", **USAGE}}, WRITTEN, False),
        ({"text": "hi", "usage": {"type": "duration", "seconds": 3}}, None, False),
        ({"text": "hi"}, None, False),
        ({"error": {"message": "overloaded"}}, None, True),
        ([], None, False),
    ],
)
def test_one_body(members: Any, usage: Usage | None, broken_off: bool) -> None:
    result = metered(OPENAI_TRANSCRIPTIONS, json.dumps(members).encode(), "application/json")
    assert (result.usage, result.broken_off) == (usage, broken_off)


def test_a_transcript_says_what_it_says_in_pieces_or_whole() -> None:
    whole = metered(OPENAI_TRANSCRIPTIONS, b'{"text":"It  rains."}', "application/json")
    streamed = metered(OPENAI_TRANSCRIPTIONS, event("transcript.text.delta", delta="It") + HEARD)
    assert whole.fingerprint == streamed.fingerprint != b""
    assert metered(OPENAI_IMAGES, PICTURE).fingerprint == b""


def test_pictures_of_any_size_leave_the_usage_readable() -> None:
    meter = OPENAI_IMAGES.meter(content_type="application/json", facts=RequestFacts())
    meter.feed(b'{"created":1,"data":[')
    for _ in range(20):
        meter.feed(b'{"b64_json":"' + b"aGk=" * (1 << 19) + b'"},')
    meter.feed(b'{}],"usage":' + json.dumps(USAGE).encode() + b"}")
    assert meter.finish().usage == DRAWN
