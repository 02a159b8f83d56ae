"""What a messages request says about its call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash_shim.meter import Asked, RequestFacts
from leash_shim.meter.anthropic_request import read_request
from leash_shim.meter.openai_request import PROVIDER_PROMPT_TOKENS
from tests.exchanges.anthropic import EXCHANGES
from tests.exchanges.odd import odd_bodies

ASKED: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "hello"}],
}
OWN = {"name": "look_up", "input_schema": {"type": "object"}}


def facts_of(path: str = "/v1/messages", **fields: Any) -> RequestFacts:
    return read_request(Asked(json.dumps(ASKED | fields).encode(), path))


def with_block(block: Any) -> RequestFacts:
    return facts_of(messages=[*ASKED["messages"], {"role": "user", "content": [{"type": "text", "text": "so"}, block]}])


def test_an_ordinary_request() -> None:
    fields = {
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hello"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "Eq=="},
                    {"type": "redacted_thinking", "data": "Em=="},
                    {"type": "tool_use", "id": "t", "name": "look_up", "input": {"city": "Bern"}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "rain"}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "rain"}]},
                    {"type": "tool_result", "tool_use_id": "u"},
                ],
            },
        ],
        "tools": [OWN, OWN | {"type": "custom"}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 32},
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "metadata": {"user_id": "u"},
        "stop_sequences": ["stop"],
        "stream": True,
        "service_tier": "standard_only",
        "top_k": 5,
        "some_setting": True,
    }
    body = json.dumps(ASKED | fields).encode()
    assert read_request(Asked(body, "/v1/messages")) == RequestFacts(
        model="claude-sonnet-4-5",
        stream=True,
        input_bound_tokens=len(body) + PROVIDER_PROMPT_TOKENS,
        output_bound_tokens=64,
        service_tier="standard_only",
    )


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", b'{"a":' + b"[" * 100_000])
def test_an_unreadable_body_has_no_model_and_no_bounds(body: bytes) -> None:
    assert read_request(Asked(body, "/v1/messages")) == RequestFacts()


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-4-8:rawPredict", "claude-opus-4-8"),
        ("/v1/x/publishers/anthropic/models/claude-opus-4-8@20260101:streamRawPredict", "claude-opus-4-8@20260101"),
        ("/v1/x/publishers/anthropic/models/claude-opus-4-8%4020260101:rawPredict/", "claude-opus-4-8@20260101"),
        ("/v1/messages", "claude-sonnet-4-5"),
    ],
)
def test_vertex_names_the_model_in_the_path(path: str, model: str) -> None:
    assert facts_of(path).model == model


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
        {"type": "search_result", "source": "https://example.com", "title": "x", "content": []},
        {"type": "container_upload", "file_id": "file_1"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "mcp_tool_use", "id": "m", "name": "x", "server_name": "y", "input": {}},
        {"type": "compaction", "content": "x", "encrypted_content": "y"},
        {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}},
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {"type": "url"}}]},
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "x"}]},
        {"type": "tool_result", "tool_use_id": "t", "content": None},
        {"type": ["text"]},
        {"text": "no type"},
        "text",
        None,
    ],
)
def test_a_prompt_that_is_not_all_text_has_no_input_bound(block: object) -> None:
    assert with_block(block).input_bound_tokens is None


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": None},
        {"messages": {}},
        {"messages": ["hello"]},
        {"messages": [{"role": "user", "content": 7}]},
        {"messages": [{"role": "user"}]},
        {"system": [{"type": "image"}]},
        {"system": 7},
        {"thread": {"type": "continue", "previous_message_id": "msg_1"}},
        {"container": "container_1"},
        {"prompt_id": "p"},
        {"files": [{"id": "file_1"}]},
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
        {"tools": [{"type": "computer_toolset_20260801"}]},
        {"tools": [OWN, {"type": "memory_20250818", "name": "memory"}]},
    ],
)
def test_what_is_not_in_the_request_has_no_input_bound(fields: dict[str, Any]) -> None:
    assert facts_of(**fields).input_bound_tokens is None


@pytest.mark.parametrize(
    "kind",
    ["bash_20250124", "text_editor_20250728", "memory_20250818", "computer_20251124", "browser_toolset_20260801"],
)
def test_tools_that_anthropic_defines_run_here(kind: str) -> None:
    assert not facts_of(tools=[{"type": kind}]).server_tools


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [OWN, {"type": "web_fetch_20260318", "name": "web_fetch"}]},
        {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]},
        {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-8"}]},
        {"tools": [{"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}]},
        {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]},
        {"tools": [{"type": "newer_than_this"}]},
        {"tools": [{"type": ["custom"]}]},
        {"tools": {"type": "web_search_20250305"}},
        {"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "x"}]},
        {"container": {"skills": [{"type": "anthropic", "skill_id": "xlsx"}]}},
        {"context_management": {"edits": [{"type": "clear_thinking_20251015"}, {"type": "compact_20260112"}]}},
        {"compaction": {"type": "summarize"}},
        {"fallbacks": "default"},
        {"fallbacks": [{"model": "claude-opus-4-8"}]},
        {"thread": {"type": "create"}},
    ],
)
def test_what_the_provider_goes_on_with_by_itself(fields: dict[str, Any]) -> None:
    facts = facts_of(**fields)
    assert facts.server_tools
    assert facts.input_bound_tokens is None


def test_a_tool_that_a_message_adds_may_run_at_the_provider() -> None:
    addition = {"type": "tool_addition", "tool": {"type": "tool_definition"}}
    search = {"type": "web_search_20250305", "name": "web_search"}
    assert with_block(addition | {"tool": {"type": "tool_definition", "definition": search}}).server_tools
    assert not with_block(addition | {"tool": {"type": "tool_definition", "definition": OWN}}).server_tools
    assert not with_block(addition | {"tool": {"type": "tool_reference", "name": "look_up"}}).server_tools
    compacted = {"type": "compaction", "tool_changes": [addition | {"tool": {"definition": search}}]}
    assert with_block(compacted).server_tools


@pytest.mark.parametrize(
    ("tools", "bills"),
    [
        (["code_execution_20250825"], True),
        (["code_execution_20260521", "custom"], True),
        (["code_execution_20250825", "web_search_20250305"], True),
        (["code_execution_20250825", "web_fetch_20250910"], True),
        (["code_execution_20250825", "web_search_20260209"], False),
        (["web_fetch_20260318", "code_execution_20260120"], False),
        (["code_execution_20250825", "web_search"], True),
        (["web_search_20250305"], False),
        ([], False),
    ],
)
def test_code_that_the_provider_runs_bills_but_beside_the_newer_web_tools(tools: list[str], bills: bool) -> None:
    assert facts_of(tools=[{"type": kind} for kind in tools]).other_tools is bills


@pytest.mark.parametrize(
    ("told", "bound"), [(500, 500), (500.0, 500), ("500", 500), (0, None), (-1, None), (None, None), ([5], None)]
)
def test_the_output_is_bounded_by_its_maximum(told: object, bound: int | None) -> None:
    assert facts_of(max_tokens=told).output_bound_tokens == bound


def test_fast_is_a_tier() -> None:
    assert facts_of(speed="fast", service_tier="auto").service_tier == "fast"
    assert facts_of(speed="standard", service_tier="auto").service_tier == "auto"


TEXT = st.text(max_size=20)
BLOCK = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXT),
    st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "x"}, TEXT),
    st.builds(lambda text: {"type": "tool_use", "id": "t", "name": "f", "input": {text: text}}, TEXT),
    st.builds(lambda text: {"type": "tool_result", "tool_use_id": "t", "content": text}, TEXT),
)
CONTENT = st.one_of(TEXT, st.lists(BLOCK, max_size=4))
REQUEST = st.fixed_dictionaries(
    {"model": TEXT, "messages": st.lists(st.builds(lambda content: {"role": "user", "content": content}, CONTENT))},
    optional={
        "system": TEXT,
        "tools": st.lists(st.builds(lambda text: {"name": text, "description": text, "input_schema": {}}, TEXT)),
        "max_tokens": st.integers(1, 1_000),
        "stop_sequences": st.lists(TEXT, max_size=2),
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
    request: dict[str, Any], ascii_only: bool
) -> None:
    body = json.dumps(request, ensure_ascii=ascii_only, separators=(",", ":")).encode()
    bound = read_request(Asked(body, "/v1/messages")).input_bound_tokens
    assert bound is not None
    assert bound >= len(texts(request).encode()) + PROVIDER_PROMPT_TOKENS


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_no_request_makes_it_raise(exchange: Any) -> None:
    for body in odd_bodies(exchange.request):
        facts = read_request(Asked(body, exchange.path))
        assert facts.input_bound_tokens is None or facts.input_bound_tokens > len(body)
        assert facts.output_bound_tokens is None or facts.output_bound_tokens > 0
