"""What requests to generate and to embed with Gemini say about their calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash_shim.meter import Asked, RequestFacts
from leash_shim.meter.gemini_request import read_embedding, read_request
from leash_shim.meter.openai_request import PROVIDER_PROMPT_TOKENS
from tests.exchanges.exchange import Exchange
from tests.exchanges.gemini import EXCHANGES
from tests.exchanges.odd import odd_bodies

PATH = "/v1beta/models/gemini-2.5-pro:generateContent"
CONTENTS = [{"role": "user", "parts": [{"text": "hello"}]}]


def facts_of(path: str = PATH, **fields: Any) -> RequestFacts:
    return read_request(Asked(json.dumps({"contents": CONTENTS} | fields).encode(), path))


def with_part(part: object) -> RequestFacts:
    return facts_of(contents=[*CONTENTS, {"role": "user", "parts": [{"text": "so"}, part]}])


def embedding(fields: object, method: str = "embedContent") -> RequestFacts:
    return read_embedding(Asked(json.dumps(fields).encode(), f"/v1beta/models/gemini-embedding-001:{method}"))


def test_an_ordinary_request() -> None:
    fields = {
        "contents": [
            {"role": "user", "parts": [{"text": "hello"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True},
                    {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "CvcQ"},
                ],
            },
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "rain"}}}]},
        ],
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "tools": [{"functionDeclarations": [{"name": "f"}]}, {"computerUse": {"environment": "ENVIRONMENT_BROWSER"}}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        "generationConfig": {"maxOutputTokens": 700, "candidateCount": 3, "responseSchema": {"type": "OBJECT"}},
        "serviceTier": "flex",
        "labels": {"team": "a"},
        "someSetting": True,
    }
    body = json.dumps(fields).encode()
    assert read_request(Asked(body, PATH)) == RequestFacts(
        model="gemini-2.5-pro",
        input_bound_tokens=len(body) + PROVIDER_PROMPT_TOKENS,
        output_bound_tokens=700,
        choices=3,
        service_tier="flex",
    )


def test_names_may_be_in_snake_case_and_lists_of_one_without_their_brackets() -> None:
    fields = {
        "contents": {"parts": {"text": "hello"}},
        "system_instruction": {"parts": {"text": "be brief"}},
        "tools": {"function_declarations": [{"name": "f"}]},
        "generation_config": {"max_output_tokens": 700, "candidate_count": 3},
        "service_tier": "flex",
    }
    body = json.dumps(fields).encode()
    assert read_request(Asked(body, PATH)) == RequestFacts(
        model="gemini-2.5-pro",
        input_bound_tokens=len(body) + PROVIDER_PROMPT_TOKENS,
        output_bound_tokens=700,
        choices=3,
        service_tier="flex",
    )


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", b'{"a":' + b"[" * 100_000])
def test_an_unreadable_body_has_no_bounds(body: bytes) -> None:
    assert read_request(Asked(body, PATH)) == RequestFacts(model="gemini-2.5-pro")
    assert read_embedding(Asked(body, PATH)) == RequestFacts(model="gemini-2.5-pro", output_bound_tokens=0)


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", False),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro", True),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent/", "gemini-2.5-pro", True),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", False),
        ("/v1/publishers/google/models/gemini%2D2.5-pro:generateContent", "gemini-2.5-pro", False),
        ("/v1beta/tunedModels/mine-123:generateContent", "mine-123", False),
        ("/v1/projects/p/locations/l/endpoints/4711:streamGenerateContent", "4711", True),
        ("/v1beta/dynamic/x:generateContent", "", False),
    ],
)
def test_the_path_names_the_model_and_how_it_answers(path: str, model: str, stream: bool) -> None:
    facts = facts_of(path, model="models/other")
    assert (facts.model, facts.stream) == (model, stream)


@pytest.mark.parametrize(
    "part",
    [
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
        {"inline_data": {"mime_type": "image/png", "data": "AA=="}},
        {"fileData": {"fileUri": "https://example.com/a.mp4"}},
        {"text": "see", "fileData": {"fileUri": "gs://b/a.mp4"}},
        {"fileData": {"fileUri": "gs://b/a.mp4"}, "videoMetadata": {"fps": 1}},
        {"executableCode": {"code": "1"}},
        {"codeExecutionResult": {"output": "1"}},
        {"toolResponse": {"response": {}}},
        {"somethingNew": "x"},
        {"functionResponse": {"name": "f", "response": {}, "parts": [{"fileData": {"fileUri": "gs://b/a.png"}}]}},
        {"function_response": {"name": "f", "response": {}, "parts": {"inlineData": {"data": "AA=="}}}},
    ],
)
def test_a_prompt_that_is_not_all_text_has_no_input_bound(part: object) -> None:
    assert with_part(part).input_bound_tokens is None


@pytest.mark.parametrize(
    "fields",
    [
        {"contents": None},
        {"contents": []},
        {"contents": "hello"},
        {"contents": ["hello"]},
        {"contents": [*CONTENTS, 7]},
        {"systemInstruction": "be brief"},
        {"systemInstruction": {"parts": [{"fileData": {"fileUri": "gs://b/a.txt"}}]}},
        {"cachedContent": "cachedContents/1"},
        {"cached_content": "cachedContents/1"},
        {"modelArmorConfig": {"promptTemplateName": "x"}},
    ],
)
def test_what_is_not_in_the_request_has_no_input_bound(fields: dict[str, Any]) -> None:
    assert facts_of(**fields).input_bound_tokens is None


@pytest.mark.parametrize(
    ("tools", "web_search", "other_tools"),
    [
        ([{"googleSearch": {}}], True, False),
        ([{"google_search": {}}], True, False),
        ({"google_search": {}}, True, False),
        ([{"googleSearchRetrieval": {}}], True, False),
        ([{"enterpriseWebSearch": {}}], True, False),
        ([{"functionDeclarations": [], "googleSearch": {}}], True, False),
        ([{"codeExecution": {}}], False, False),
        ([{"urlContext": {}}], False, False),
        ([{"fileSearch": {"fileSearchStoreNames": ["x"]}}], False, False),
        ([{"googleMaps": {}}], False, True),
        ([{"googleSearch": {}}, {"google_maps": {}}], True, True),
        ([{"retrieval": {"vertexAiSearch": {}}}], False, True),
        ([{"exaAiSearch": {}}], False, True),
        ([{"newerThanThis": {}}], False, True),
    ],
)
def test_tools_that_the_provider_runs(tools: object, web_search: bool, other_tools: bool) -> None:
    facts = facts_of(tools=tools)
    assert (facts.server_tools, facts.web_search, facts.other_tools) == (True, web_search, other_tools)
    assert facts.input_bound_tokens is None


@pytest.mark.parametrize("tools", [None, [], [{}], [{"functionDeclarations": []}], {"computer_use": {}}])
def test_tools_that_run_here(tools: object) -> None:
    facts = facts_of(tools=tools)
    assert (facts.server_tools, facts.web_search, facts.other_tools) == (False, False, False)
    assert facts.input_bound_tokens is not None


@pytest.mark.parametrize(
    ("config", "bound", "choices"),
    [
        ({}, None, 1),
        ({"maxOutputTokens": 500}, 500, 1),
        ({"maxOutputTokens": "500", "candidateCount": "8"}, 500, 8),
        ({"maxOutputTokens": 0, "candidateCount": 0}, None, 1),
        ({"maxOutputTokens": -1, "candidateCount": -1}, None, 1),
        ({"candidateCount": 2**40}, None, 2**16),
        ([], None, 1),
        (None, None, 1),
    ],
)
def test_the_output_is_bounded_by_its_maximum(config: object, bound: int | None, choices: int) -> None:
    facts = facts_of(generationConfig=config)
    assert (facts.output_bound_tokens, facts.choices) == (bound, choices)


def test_an_embedding() -> None:
    request = {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "rain"}]}, "taskType": "X"}
    assert embedding(request) == RequestFacts(
        model="gemini-embedding-001",
        input_bound_tokens=len(json.dumps(request)) + PROVIDER_PROMPT_TOKENS,
        output_bound_tokens=0,
    )


def test_a_batch_of_embeddings_has_as_many_prompts() -> None:
    one = {"content": {"parts": [{"text": "rain"}]}, "embedContentConfig": {"title": "weather"}}
    request = {"requests": [one, one, one]}
    assert embedding(request, "batchEmbedContents") == RequestFacts(
        model="gemini-embedding-001",
        input_bound_tokens=len(json.dumps(request)) + 3 * PROVIDER_PROMPT_TOKENS,
        output_bound_tokens=0,
        prompts=3,
    )
    assert embedding({"requests": one}, "batchEmbedContents").prompts == 1


@pytest.mark.parametrize(
    "request_",
    [
        {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]}},
        {"requests": [{"content": {"parts": [{"text": "x"}]}}, {"content": {"parts": [{"fileData": {}}]}}]},
        {"requests": ["rain"]},
        {"requests": []},
        {},
    ],
)
def test_an_embedding_of_something_else_has_no_input_bound(request_: object) -> None:
    assert embedding(request_).input_bound_tokens is None


TEXT = st.text(max_size=20)
PART = st.one_of(
    st.builds(lambda text: {"text": text}, TEXT),
    st.builds(lambda text: {"functionCall": {"name": text, "args": {text: text}}}, TEXT),
    st.builds(lambda text: {"function_response": {"name": "f", "response": {text: [text]}}}, TEXT),
)
CONTENT = st.builds(lambda parts: {"role": "user", "parts": parts}, st.one_of(PART, st.lists(PART, max_size=3)))
REQUEST = st.fixed_dictionaries(
    {"contents": st.one_of(CONTENT, st.lists(CONTENT, min_size=1, max_size=3))},
    optional={
        "system_instruction": CONTENT,
        "tools": st.lists(st.builds(lambda text: {"functionDeclarations": [{"description": text}]}, TEXT)),
        "generationConfig": st.builds(lambda text: {"responseSchema": {"description": text}}, TEXT),
    },
)


def texts(value: Any) -> str:
    """All text in a value, keys and all."""
    if isinstance(value, dict):
        return "".join(texts(key) + texts(each) for key, each in value.items())
    if isinstance(value, list):
        return "".join(map(texts, value))
    return value if isinstance(value, str) else ""


@given(REQUEST, st.booleans())
def test_the_input_bound_is_no_less_than_a_token_for_each_byte_of_text(
    request_: dict[str, Any], ascii_only: bool
) -> None:
    body = json.dumps(request_, ensure_ascii=ascii_only, separators=(",", ":")).encode()
    bound = read_request(Asked(body, PATH)).input_bound_tokens
    assert bound is not None
    assert bound >= len(texts(request_).encode()) + PROVIDER_PROMPT_TOKENS


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_no_request_makes_it_raise(exchange: Exchange) -> None:
    wire_format = exchange.way.format
    assert wire_format is not None
    for body in odd_bodies(exchange.request):
        facts = wire_format.read_request(Asked(body, exchange.path))
        assert facts.input_bound_tokens is None or facts.input_bound_tokens > len(body)
        assert 1 <= facts.choices <= 2**16
        assert 1 <= facts.prompts <= 2**16
