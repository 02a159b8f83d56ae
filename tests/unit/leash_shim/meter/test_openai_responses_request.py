"""What a responses request says about the call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leash_shim.meter import Asked, RequestFacts
from leash_shim.meter.openai_request import PROVIDER_PROMPT_TOKENS
from leash_shim.meter.openai_responses import OPENAI_RESPONSES

FUNCTION = {"type": "function", "name": "f", "parameters": {}}
HOSTED_SHELL = {"type": "shell", "environment": {"type": "container_auto"}}
USER = {"role": "user", "content": "hi"}


def facts(*, path: str = "/v1/responses", **fields: Any) -> RequestFacts:
    body = json.dumps({"model": "gpt-5", "input": "hi", **fields}).encode()
    return OPENAI_RESPONSES.read_request(Asked(body, path))


def test_the_facts_of_a_request() -> None:
    body = b'{"model":"gpt-5","input":"hi","stream":true,"max_output_tokens":64,"service_tier":"flex"}'
    assert OPENAI_RESPONSES.read_request(Asked(body, "/v1/responses")) == RequestFacts(
        model="gpt-5",
        stream=True,
        input_bound_tokens=len(body) + PROVIDER_PROMPT_TOKENS,
        output_bound_tokens=64,
        service_tier="flex",
    )


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"model":', b"\xff"])
def test_a_body_that_cannot_be_read_has_no_facts(body: bytes) -> None:
    assert OPENAI_RESPONSES.read_request(Asked(body, "/v1/responses")) == RequestFacts()


@pytest.mark.parametrize(
    "given",
    [
        "hi",
        [],
        [USER, {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ho"}]}],
        [{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]}],
        [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}],
        [{"type": "function_call_output", "call_id": "c", "output": "done"}],
        [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "done"}]}],
        [{"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"}],
        [{"type": "custom_tool_call_output", "call_id": "c", "output": "done"}],
        [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}],
    ],
)
def test_a_prompt_that_is_inline_text_has_a_bound(given: object) -> None:
    found = facts(input=given, tools=[FUNCTION, {"type": "custom", "name": "g"}], metadata={"a": "b"}, new=5)
    body = {"model": "gpt-5", "input": given, "tools": [FUNCTION, {"type": "custom", "name": "g"}]}
    assert found.input_bound_tokens == len(json.dumps(body | {"metadata": {"a": "b"}, "new": 5})) + 1_024
    assert not found.server_tools


@pytest.mark.parametrize(
    "fields",
    [
        {"input": None},
        {"input": {"id": "x"}},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": ""}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://a"}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image"}]}]},
        {"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot"}}]},
        {"input": [{"type": "compaction", "encrypted_content": "gAAAA"}]},
        {"input": ["text"]},
        {"input": [None]},
        {"input": [USER, {"type": ["message"], "content": "hi"}]},
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"context": {"new": "thing"}},
    ],
)
def test_what_is_not_wholly_inline_text_has_no_bound(fields: dict[str, Any]) -> None:
    found = facts(max_output_tokens=5, **fields)
    assert (found.input_bound_tokens, found.output_bound_tokens, found.model) == (None, 5, "gpt-5")


@pytest.mark.parametrize(
    ("tools", "server_tools", "other_tools"),
    [
        (None, False, False),
        ([], False, False),
        ([FUNCTION, {"type": "local_shell"}, {"type": "apply_patch"}, {"type": "computer"}], False, False),
        ([{"type": "computer_use_preview"}], False, False),
        ([{"type": "shell", "environment": {"type": "local"}}], False, False),
        ([HOSTED_SHELL], True, True),
        ([{"type": "shell", "environment": {"type": "container_reference", "container_id": "c"}}], True, True),
        ([{"type": "shell"}], True, True),
        ([{"type": "shell", "environment": "local"}], True, True),
        ([{"type": "web_search"}], True, False),
        ([FUNCTION, {"type": "web_search_preview_2025_03_11"}], True, False),
        ([{"type": "file_search"}], True, False),
        ([{"type": "code_interpreter"}], True, False),
        ([{"type": "image_generation"}], True, False),
        ([{"type": "mcp"}], True, False),
        ([{"type": ["function"]}], True, False),
        ([{}], True, False),
        (["function"], True, False),
        ({"type": "function"}, True, False),
        ("web_search", True, False),
    ],
)
def test_what_the_provider_may_run(tools: object, server_tools: bool, other_tools: bool) -> None:
    found = facts(tools=tools)
    assert (found.server_tools, found.other_tools) == (server_tools, other_tools)
    assert (found.input_bound_tokens is None) == server_tools


@pytest.mark.parametrize(
    ("fields", "metered"),
    [
        ({"background": True}, False),
        ({"background": True, "stream": False}, False),
        ({"background": True, "stream": True}, True),
        ({"background": False}, True),
        ({"background": None}, True),
        ({}, True),
    ],
)
def test_a_response_in_the_background_has_no_usage(fields: dict[str, Any], metered: bool) -> None:
    assert (facts(**fields).unmeterable == "") is metered


@pytest.mark.parametrize(
    ("fields", "path", "model"),
    [
        ({}, "/v1/responses", "gpt-5"),
        ({"model": ["gpt-5"]}, "/v1/responses", ""),
        ({"model": "a\n"}, "/v1/responses", ""),
        ({}, "/openai/deployments/mine/responses", "mine"),
        # Any of several may answer, so that none is named before one has.
        ({"models": ["other/model"]}, "/api/v1/responses", ""),
        ({"models": []}, "/api/v1/responses", "gpt-5"),
    ],
)
def test_which_model_is_asked(fields: dict[str, Any], path: str, model: str) -> None:
    assert facts(path=path, **fields).model == model


@pytest.mark.parametrize(
    ("maximum", "bound"), [(5, 5), ("5", 5), (5.0, 5), (0, None), (-5, None), (None, None), ([5], None), (2**60, None)]
)
def test_the_most_that_is_generated(maximum: object, bound: int | None) -> None:
    assert facts(max_output_tokens=maximum).output_bound_tokens == bound
