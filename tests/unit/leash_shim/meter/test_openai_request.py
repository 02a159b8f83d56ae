"""What a chat completions request says about its call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter import Asked, RequestFacts
from leash_shim.meter.openai_request import PROVIDER_PROMPT_TOKENS, read_request

MESSAGES = [{"role": "user", "content": "hello"}]


def facts_of(**fields: Any) -> RequestFacts:
    return read_request(Asked(json.dumps({"model": "gpt-4o", "messages": MESSAGES, **fields}).encode()))


def is_bounded(**fields: Any) -> bool:
    return facts_of(**fields).input_bound_tokens is not None


def test_an_ordinary_request() -> None:
    body = json.dumps(
        {
            "model": "gpt-4o",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "name": "ann", "content": [{"type": "text", "text": "hello"}]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]},
                {
                    "role": "assistant",
                    "content": [{"type": "refusal", "refusal": "no"}],
                    "refusal": None,
                    "audio": None,
                },
                {"role": "tool", "tool_call_id": "c", "content": "42"},
            ],
            "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}],
            "functions": [{"name": "h"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x"}},
            "max_completion_tokens": 500,
            "n": 3,
            "stream": True,
            "service_tier": "flex",
            "temperature": 0.5,
            "logit_bias": {"50256": -100},
            "min_p": 0.1,
            "enable_thinking": False,
        }
    ).encode()
    assert read_request(Asked(body)) == RequestFacts(
        model="gpt-4o",
        stream=True,
        input_bound_tokens=len(body) + PROVIDER_PROMPT_TOKENS,
        output_bound_tokens=500,
        choices=3,
        server_tools=False,
        web_search=False,
        service_tier="flex",
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", b'{"model":', b'{"a":' + b"[" * 100_000, b"--boundary\r\n"]
)
def test_an_unreadable_body_has_no_model_and_no_bounds(body: bytes) -> None:
    assert read_request(Asked(body)) == RequestFacts()


def test_a_request_without_model_or_messages_is_read_all_the_same() -> None:
    assert read_request(Asked(b'{"stream":true,"max_tokens":7}')) == RequestFacts(stream=True, output_bound_tokens=7)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}],
        [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
        [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}],
        [{"type": "file", "file": {"file_id": "file-1"}}],
        [{"type": "video_url"}],
        [{"type": ["text"]}],
        [{"text": "no type"}],
        ["text"],
        {"type": "text"},
        7,
    ],
)
def test_a_prompt_that_is_not_all_text_has_no_input_bound(content: object) -> None:
    assert not is_bounded(messages=[*MESSAGES, {"role": "user", "content": content}])


@pytest.mark.parametrize(
    "message", [{"role": "assistant", "audio": {"id": "audio_1"}}, {"role": "user", "images": ["AA=="]}, "hello", None]
)
def test_a_message_that_names_something_else_has_no_input_bound(message: object) -> None:
    assert not is_bounded(messages=[message])


@pytest.mark.parametrize("messages", [None, {}, "hello", 7])
def test_messages_that_are_none_have_no_input_bound(messages: object) -> None:
    assert not is_bounded(messages=messages)


@pytest.mark.parametrize("name", ["prompt", "previous_response_id", "conversation", "file_ids", "documents", "extra"])
@pytest.mark.parametrize("value", ["id_1", ["id_1"], {"id": "id_1"}])
def test_an_unknown_parameter_that_may_name_something_has_no_input_bound(name: str, value: object) -> None:
    assert not is_bounded(**{name: value})


@pytest.mark.parametrize("value", [1, 0.5, True, False, None])
def test_an_unknown_setting_changes_nothing(value: object) -> None:
    assert is_bounded(new_setting=value)


@pytest.mark.parametrize(
    "fields",
    [
        {"web_search_options": {}},
        {"tools": [{"type": "function"}, {"type": "web_search"}]},
        {"tools": [{"type": "mcp", "server_url": "https://example.org"}]},
        {"tools": [{"googleSearch": {}}]},
        {"tools": [{"type": ["function"]}]},
        {"tools": ["code_interpreter"]},
        {"tools": {}},
        {"plugins": [{"id": "web"}]},
        {"search_parameters": {"mode": "auto"}},
        {"enable_search": True},
        {"connectors": [{"id": "web-search"}]},
    ],
)
def test_tools_that_the_provider_runs(fields: dict[str, Any]) -> None:
    facts = facts_of(**fields)
    assert facts.server_tools
    assert facts.input_bound_tokens is None
    assert facts.web_search == ("web_search_options" in fields)


@pytest.mark.parametrize(
    "fields", [{"web_search_options": None}, {"tools": None}, {"tools": []}, {"plugins": []}, {"enable_search": False}]
)
def test_tools_that_are_not_asked_for(fields: dict[str, Any]) -> None:
    facts = facts_of(**fields)
    assert not facts.server_tools
    assert facts.input_bound_tokens is not None


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({}, None),
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 20}, 20),
        ({"max_tokens": 10, "max_completion_tokens": 20}, 20),
        ({"max_tokens": 30, "max_completion_tokens": 20}, 30),
        ({"max_tokens": 10, "max_completion_tokens": None}, 10),
        ({"max_tokens": 10.0}, 10),
        ({"max_tokens": "10"}, 10),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 1.5}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": 10**30}, None),
        ({"max_tokens": "9" * 5000}, None),
        ({"max_tokens": [10]}, None),
        ({"max_tokens": 10, "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}, 10),
    ],
)
def test_the_output_bound(fields: dict[str, Any], bound: int | None) -> None:
    assert facts_of(**fields).output_bound_tokens == bound


def test_a_prediction_may_be_billed_as_output_on_top() -> None:
    bound = facts_of(max_tokens=10, prediction={"type": "content", "content": "x" * 100}).output_bound_tokens
    assert bound is not None
    assert bound >= 110


@pytest.mark.parametrize(
    ("value", "choices"),
    [(1, 1), (5, 5), (None, 1), (0, 1), (-2, 1), ("3", 3), (2.0, 2), (True, 1), ([], 1), (10**9, 1 << 16)],
)
def test_the_number_of_choices(value: object, choices: int) -> None:
    assert facts_of(n=value).choices == choices


def test_a_model_name_that_cannot_be_shown_is_none() -> None:
    assert facts_of(model="gpt\n4").model == ""
    assert facts_of(model=7).model == ""


def test_half_an_emoji_in_the_prompt_hides_nothing() -> None:
    facts = read_request(
        Asked(b'{"model":"gpt-4o","messages":[{"role":"user","content":"cut \\ud83d"}],"max_tokens":5}')
    )
    assert (facts.model, facts.output_bound_tokens) == ("gpt-4o", 5)
    assert facts.input_bound_tokens is not None


@settings(deadline=None)
@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from(["model", "messages", "tools", "n", "max_tokens", "stream", "prediction", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["text", "content", "type"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]), inner, max_size=3)
            ),
        ),
    ).map(lambda fields: json.dumps(fields).encode())
)
def test_nothing_raises(body: bytes) -> None:
    facts = read_request(Asked(body))
    assert facts.choices >= 1
    assert facts.input_bound_tokens is None or facts.input_bound_tokens >= len(body)


@pytest.mark.parametrize(
    "path", ["/openai/deployments/dear/chat/completions", "/openai/Deployments/dear/chat/completions"]
)
def test_azures_deployment_is_the_model_whatever_the_body_says(path: str) -> None:
    assert read_request(Asked(b'{"model":"cheap","messages":[]}', path)).model == "dear"
    assert read_request(Asked(b"", path)).model == "dear"


def test_where_another_model_may_answer_none_is_named() -> None:
    assert facts_of(models=["cheap", "dear"]).model == ""
    assert facts_of(models=[]).model == "gpt-4o"


def test_a_web_search_hides_no_other_tool() -> None:
    facts = facts_of(web_search_options={}, tools=[{"type": "code_interpreter"}])
    assert (facts.server_tools, facts.web_search, facts.other_tools) == (True, True, True)
    facts = facts_of(web_search_options={})
    assert (facts.server_tools, facts.web_search, facts.other_tools) == (True, True, False)
