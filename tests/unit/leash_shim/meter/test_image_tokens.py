"""The tokens of images, as each format that tells them from text does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leash.usage import Usage
from leash_shim.meter import RequestFacts
from leash_shim.meter.gemini import GEMINI_CONTENT
from leash_shim.meter.gemini_usage import read_usage
from leash_shim.meter.openai_media import OPENAI_IMAGES, OPENAI_SPEECH, OPENAI_TRANSCRIPTIONS, OpenAIImages

IMAGE_ANSWER: dict[str, Any] = {"created": 1, "data": [{"b64_json": "aGk="}]}
IMAGE_USAGE: dict[str, Any] = {
    "total_tokens": 1456,
    "input_tokens": 400,
    "output_tokens": 1056,
    "input_tokens_details": {"text_tokens": 77, "image_tokens": 323},
}


def drawn(usage: dict[str, Any], wire_format: Any = OPENAI_IMAGES) -> Usage | None:
    meter = wire_format.meter(content_type="application/json", facts=RequestFacts())
    meter.feed(json.dumps(IMAGE_ANSWER | {"usage": usage}).encode())
    read: Usage | None = meter.finish().usage
    return read


@pytest.mark.parametrize("details", [{}, {"output_tokens_details": None}, {"output_tokens_details": {}}])
def test_all_that_an_image_endpoint_generates_is_images_where_it_does_not_say(details: dict[str, Any]) -> None:
    assert drawn(IMAGE_USAGE | details) == Usage(
        input_tokens=400, image_input_tokens=323, output_tokens=1056, image_output_tokens=1056
    )


def test_an_image_endpoint_may_generate_text_besides() -> None:
    details = {"output_tokens_details": {"text_tokens": 56, "image_tokens": 1000}}
    assert drawn(IMAGE_USAGE | details) == Usage(
        input_tokens=400, image_input_tokens=323, output_tokens=1056, image_output_tokens=1000
    )


def test_the_last_event_of_a_streamed_image_is_read_alike() -> None:
    meter = OpenAIImages().meter(content_type="text/event-stream", facts=RequestFacts(stream=True))
    for event in (
        {"type": "image_generation.partial_image", "b64_json": "aGk=", "partial_image_index": 0},
        {"type": "image_generation.completed", "b64_json": "aGk=", "usage": IMAGE_USAGE},
    ):
        meter.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    assert meter.finish().usage == drawn(IMAGE_USAGE)


@pytest.mark.parametrize("wire_format", [OPENAI_TRANSCRIPTIONS, OPENAI_SPEECH])
def test_no_other_endpoint_generates_images_unsaid(wire_format: Any) -> None:
    usage = drawn({"input_tokens": 10, "output_tokens": 20}, wire_format)
    assert usage is not None
    assert (usage.output_tokens, usage.image_output_tokens) == (20, 0)


def test_gemini_tells_images_by_their_modality_each_way() -> None:
    block = {
        "promptTokenCount": 600,
        "candidatesTokenCount": 1340,
        "thoughtsTokenCount": 100,
        "toolUsePromptTokenCount": 300,
        "totalTokenCount": 2340,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 60},
            {"modality": "IMAGE", "tokenCount": 258},
            {"modality": "IMAGE", "tokenCount": 258},
            {"modality": "AUDIO", "tokenCount": 24},
        ],
        "toolUsePromptTokensDetails": [
            {"modality": "IMAGE", "tokenCount": 200},
            {"modality": "TEXT", "tokenCount": 100},
        ],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}, {"tokenCount": 50}, None],
    }
    assert read_usage(block) == Usage(
        input_tokens=900,
        output_tokens=1440,
        audio_input_tokens=24,
        reasoning_tokens=100,
        image_input_tokens=716,
        image_output_tokens=1290,
    )


def test_geminis_images_are_never_more_than_all_there_is() -> None:
    details = [{"modality": "IMAGE", "tokenCount": 900}, {"modality": "IMAGE", "tokenCount": True}]
    block = {"promptTokenCount": 5, "candidatesTokenCount": 7}
    usage = read_usage(block | {"promptTokensDetails": details, "candidatesTokensDetails": details})
    assert usage == Usage(input_tokens=5, output_tokens=7, image_input_tokens=5, image_output_tokens=7)


@pytest.mark.parametrize(
    ("details", "image_tokens"),
    [
        ({}, 1_290),
        ({"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_200}]}, 1_200),
        ({"candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 1_290}]}, 0),
    ],
)
def test_an_image_of_gemini_whose_tokens_are_not_told_apart_is_all_of_them(
    details: dict[str, object], image_tokens: int
) -> None:
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 1_290, "totalTokenCount": 1_300} | details
    part = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    body = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}], "usageMetadata": usage}
    meter = GEMINI_CONTENT.meter(content_type="application/json", facts=RequestFacts())
    meter.feed(json.dumps(body).encode())
    read = meter.finish().usage
    assert read is not None
    assert (read.output_tokens, read.image_output_tokens) == (1_290, image_tokens)
