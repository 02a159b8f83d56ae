"""OpenAI's embeddings, and what vendors make of their usage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leash.usage import Usage
from leash_shim.meter import Asked, Metered, RequestFacts
from leash_shim.meter.openai_embeddings import OPENAI_EMBEDDINGS
from leash_shim.meter.openai_request import MAX_CHOICES, PROVIDER_PROMPT_TOKENS


def facts(body: object, path: str = "/v1/embeddings") -> RequestFacts:
    return OPENAI_EMBEDDINGS.read_request(Asked(json.dumps(body).encode(), path))


def metered(body: bytes) -> Metered:
    meter = OPENAI_EMBEDDINGS.meter(content_type="application/json", facts=RequestFacts())
    meter.feed(body)
    assert meter.peek() == meter.finish().usage
    return meter.finish()


@pytest.mark.parametrize(
    ("given", "prompts", "bounded"),
    [
        ("one", 1, True),
        (["one", "two"], 2, True),
        ([1, 2, 3], 1, True),
        ([[1, 2], [3]], 2, True),
        # A picture each, or one among texts: none has more tokens than the context window.
        ([{"image": "https://a"}, {"image": "https://b"}, {"text": "c"}], 3, False),
        (["one", {"image": "https://a"}], 2, False),
        ([{"image": "https://a"}] * 70_000, MAX_CHOICES, False),
        (None, 1, False),
        ([], 1, False),
        ({"id": 1}, 1, False),
    ],
)
def test_each_input_may_fill_the_context(given: object, prompts: int, bounded: bool) -> None:
    body = {"model": "e-3", "input": given}
    bound = len(json.dumps(body)) + prompts * PROVIDER_PROMPT_TOKENS if bounded else None
    assert facts(body) == RequestFacts(model="e-3", input_bound_tokens=bound, output_bound_tokens=0, prompts=prompts)


def test_azures_deployment_is_the_model() -> None:
    assert facts({"input": "one"}, "/openai/deployments/vectors/embeddings").model == "vectors"


@pytest.mark.parametrize("body", ["null", [], 7, {"model": ["m"], "input": 5}])
def test_a_body_that_cannot_be_read_has_no_facts(body: object) -> None:
    assert facts(body) == RequestFacts(output_bound_tokens=0)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 8, "total_tokens": 8}, 8),
        ({"prompt_tokens": 8}, 8),
        ({"total_tokens": 9}, 9),
        ({"prompt_tokens": 8, "total_tokens": 9, "completion_tokens": 0}, 9),
        ({"prompt_tokens": 0, "total_tokens": 0}, 0),
        ({"prompt_tokens": None, "total_tokens": "9"}, None),
        ({"prompt_tokens": True}, None),
        ({}, None),
        (None, None),
        ([9], None),
    ],
)
def test_what_was_read_is_all_that_bills(usage: Any, tokens: int | None) -> None:
    result = metered(json.dumps({"data": [{"embedding": [0.5]}], "model": "e-3", "usage": usage}).encode())
    assert result == Metered(None if tokens is None else Usage(input_tokens=tokens), "e-3")


def test_an_error_at_200_is_broken_off() -> None:
    assert metered(b'{"error":{"message":"overloaded"},"usage":{"total_tokens":9}}') == Metered(broken_off=True)
    assert metered(b'{"error":null,"usage":{"total_tokens":9}}') == Metered(Usage(input_tokens=9))
    assert metered(b"<html>") == Metered()
