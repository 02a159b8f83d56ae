"""OpenAI's text completions: their requests, and what their answers do that chat completions' do not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leash.usage import Usage
from leash_shim.meter import Asked, Metered, RequestFacts
from leash_shim.meter.openai_completions import OPENAI_COMPLETIONS, prompt_count
from leash_shim.meter.openai_request import MAX_CHOICES, PROVIDER_PROMPT_TOKENS

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def facts(*, path: str = "/v1/completions", **fields: Any) -> RequestFacts:
    body = json.dumps({"model": "davinci", "prompt": "It rains", **fields}).encode()
    return OPENAI_COMPLETIONS.read_request(Asked(body, path))


def metered(body: bytes, content_type: str = "application/json") -> Metered:
    meter = OPENAI_COMPLETIONS.meter(content_type=content_type, facts=RequestFacts())
    meter.feed(body)
    return meter.finish()


def test_the_facts_of_a_request() -> None:
    body = b'{"model":"davinci","prompt":"It rains","max_tokens":16,"stream":true,"service_tier":"flex"}'
    assert OPENAI_COMPLETIONS.read_request(Asked(body, "/v1/completions")) == RequestFacts(
        model="davinci",
        stream=True,
        input_bound_tokens=len(body) + PROVIDER_PROMPT_TOKENS,
        output_bound_tokens=16,
        service_tier="flex",
    )


def test_azures_deployment_is_the_model() -> None:
    assert facts(path="/openai/deployments/my%20gpt/completions").model == "my gpt"


@pytest.mark.parametrize(
    ("fields", "choices", "prompts"),
    [
        ({}, 1, 1),
        ({"n": 3}, 3, 1),
        ({"n": 2, "best_of": 5}, 5, 1),
        ({"n": "3", "best_of": 2.0}, 3, 1),
        ({"prompt": ["a", "b", "c"], "n": 2}, 6, 3),
        ({"prompt": [1, 2, 3]}, 1, 1),
        ({"prompt": [[1, 2], [3]]}, 2, 2),
        ({"prompt": ["a"] * 70_000, "best_of": 20}, MAX_CHOICES, MAX_CHOICES),
        ({"prompt": None, "n": -1, "best_of": True}, 1, 1),
    ],
)
def test_what_is_generated_for_each_prompt(fields: dict[str, Any], choices: int, prompts: int) -> None:
    found = facts(**fields)
    assert (found.choices, found.prompts) == (choices, prompts)


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        ("", 1),
        ("a", 1),
        (["a", ""], 2),
        ([5], 1),
        ([[5], []], 2),
        ([], 0),
        (None, 0),
        ({}, 0),
        (["a", 5], 0),
        ([["a"]], 0),
        ([[True]], 0),
        ([{}], 0),
        (-5, 0),
    ],
)
def test_how_many_prompts_there_are(prompt: object, count: int) -> None:
    assert prompt_count(prompt) == count


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": None},
        {"prompt": ["a", {"file_id": "f"}]},
        {"prompt": {"id": "pmpt_1"}},
        {"adapter": {"id": "a"}},
        {"plugins": [{"id": "web"}]},
        {"context": "stored-1"},
    ],
)
def test_what_is_not_wholly_in_the_request_has_no_bound(fields: dict[str, Any]) -> None:
    assert facts(**fields).input_bound_tokens is None


@pytest.mark.parametrize(
    "fields",
    [{"suffix": "x"}, {"stop": ["a"]}, {"logit_bias": {"5": 1}}, {"echo": True}, {"min_p": 0.5}, {"new": None}],
)
def test_settings_leave_the_bound_as_it_is(fields: dict[str, Any]) -> None:
    assert facts(**fields).input_bound_tokens is not None


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b'{"prompt":', b"\xff"])
def test_a_body_that_cannot_be_read_has_no_facts(body: bytes) -> None:
    assert OPENAI_COMPLETIONS.read_request(Asked(body)) == RequestFacts()


def test_a_stream_is_asked_for_its_usage() -> None:
    prepared = OPENAI_COMPLETIONS.prepare(b'{"stream":true,"prompt":"x"}', inject=True)
    assert prepared.hides_usage_chunk
    assert json.loads(prepared.body) == {"stream": True, "prompt": "x", "stream_options": {"include_usage": True}}
    assert not OPENAI_COMPLETIONS.prepare(b'{"stream":true}', inject=False).hides_usage_chunk


def test_each_choice_is_a_text_of_its_own() -> None:
    def of(*texts: str) -> bytes:
        choices = [{"text": text} for text in texts]
        return metered(json.dumps({"choices": choices, "usage": USAGE}).encode()).fingerprint

    assert len({of("a b"), of("a", "b"), of("b", "a"), of("a")}) == 4
    assert of("a b", "c") == of("a  b ", "c\n")
    assert of("") == b""


@pytest.mark.parametrize(
    ("body", "usage", "broken_off"),
    [
        (b'{"choices":[{"text":"a","finish_reason":null}]}', None, True),
        (b'{"choices":[{"text":"a","finish_reason":"stop"}]}', None, False),
        (b'{"choices":[{"text":"a"}]}\n\ndata: [DONE]', None, False),
        (b'{"choices":[{"text":"a"}],"usage":{"prompt_tokens":9}}', Usage(input_tokens=9), True),
        (b'{"choices":[],"usage":{"prompt_tokens":9}}', Usage(input_tokens=9), False),
        (b'{"error":{"message":"overloaded"}}', None, True),
        (b"[DONE]", None, False),
        (b"", None, False),
    ],
)
def test_a_stream_that_does_not_end_is_broken_off(body: bytes, usage: Usage | None, broken_off: bool) -> None:
    result = metered(b"data: " + body + b"\n\n", "text/event-stream")
    assert (result.usage, result.broken_off) == (usage, broken_off)
