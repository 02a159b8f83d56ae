"""What a messages request says about the call: its model, its bounds, and what the provider may run for it.

The rule: a bound is only given where it holds. Whatever is not known to be inline text takes the input's bound away,
and tools of the provider's, which make it go on with a longer prompt, take it all.
Source: https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from leash_shim.meter import json_text
from leash_shim.meter.json_text import elements, mapping
from leash_shim.meter.openai_request import PROVIDER_PROMPT_TOKENS
from leash_shim.meter.wire import RequestFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.meter.wire import Asked

# Google's Vertex names the model in the path: …/publishers/anthropic/models/MODEL:rawPredict.
_VERTEX_MODEL = re.compile(r"/models/([^/:]+):(?:rawPredict|streamRawPredict)/?\Z")

# Tools that the program itself runs: one that it defines, or one that Anthropic defines for it. Any other runs at the
# provider, who then goes on by itself.
_OWN_TOOL = (None, "custom")
_DEFINED_TOOLS = ("bash_", "text_editor_", "memory_", "computer_", "browser_")

# The tool whose container bills by the hour, and the web tools beside which it does not: those of this version and
# later ones. Source: …/agents-and-tools/tool-use/code-execution-tool
_EXECUTION_TOOL = "code_execution"
_WEB_TOOL = re.compile(r"web_(?:search|fetch)_([0-9]{8})")
_FREE_EXECUTION_SINCE = "20260209"

# Parameters that shape the answer or carry prompt text inline; any other that is not a number or a word like true may
# be a reference to something stored.
_INLINE = frozenset(
    """anthropic_beta anthropic_version cache_control context_management diagnostics inference_geo max_tokens messages
    metadata model output_config output_format service_tier speed stop_sequences stream system temperature thinking
    tool_choice tools top_k top_p""".split()  # noqa: SIM905 - a line for each says no more
)

# Parameters with which the provider does more for a request than to answer it once (MCP, containers, compaction, other
# models), or takes it for the next turn of a conversation that may have such.
_MORE_THAN_ONE_ANSWER = ("mcp_servers", "container", "compaction", "fallbacks", "thread")
_INLINE_BLOCKS = ("text", "thinking", "redacted_thinking", "tool_use")


def read_request(asked: Asked) -> RequestFacts:
    """The facts of a request; no bounds where its body is no JSON object."""
    members = mapping(json_text.parse(asked.body))
    vertex = _VERTEX_MODEL.search(asked.path)
    tools = [mapping(tool).get("type") for tool in _tools(members)]
    listed = isinstance(members.get("tools", []), list | None)
    server_tools = not listed or _runs_at_the_provider(members) or not all(map(_is_client_tool, tools))
    # The definitions of a tool that Anthropic defines are not in the request.
    inline = not server_tools and all(tool in _OWN_TOOL for tool in tools) and _is_inline(members)
    fast = members.get("speed") == "fast"
    return RequestFacts(
        model=json_text.name(unquote(vertex[1]) if vertex else members.get("model")),
        stream=members.get("stream") is True,
        input_bound_tokens=len(asked.body) + PROVIDER_PROMPT_TOKENS if inline else None,
        output_bound_tokens=json_text.whole(members.get("max_tokens")),
        server_tools=server_tools,
        other_tools=_bills_execution(tools),
        service_tier="fast" if fast else json_text.name(members.get("service_tier")),
    )


def _tools(members: Mapping[str, object]) -> list[object]:
    """The tools of a request: those that it lists, and those that its messages add."""
    tools = [*elements(members.get("tools"))]
    for message in map(mapping, elements(members.get("messages"))):
        for block in map(mapping, elements(message.get("content"))):
            for change in (block, *map(mapping, elements(block.get("tool_changes")))):
                definition = mapping(change.get("tool")).get("definition")
                tools += [] if definition is None else [definition]
    return tools


def _is_client_tool(kind: object) -> bool:
    return kind in _OWN_TOOL or (isinstance(kind, str) and kind.startswith(_DEFINED_TOOLS))


def _bills_execution(tools: list[object]) -> bool:
    """Whether code that the provider runs may bill."""
    kinds = [json_text.text(kind) for kind in tools]
    web = [found[1] for kind in kinds if (found := _WEB_TOOL.fullmatch(kind))]
    is_free = any(version >= _FREE_EXECUTION_SINCE for version in web)
    return not is_free and any(kind.startswith(_EXECUTION_TOOL) for kind in kinds)


def _runs_at_the_provider(members: Mapping[str, object]) -> bool:
    """Whether the provider may do more for the request than one answer."""
    if any(members.get(name) for name in _MORE_THAN_ONE_ANSWER):
        return True
    edits = elements(mapping(members.get("context_management")).get("edits"))
    return any(json_text.text(mapping(edit).get("type")).startswith("compact") for edit in edits)


def _is_inline(members: Mapping[str, object]) -> bool:
    """Whether the whole prompt is text within the body."""
    for name, value in members.items():
        if name not in _INLINE and value is not None and not isinstance(value, (bool, int, float)):
            return False
    messages = members.get("messages")
    return (
        isinstance(messages, list)
        and all(_is_text(mapping(message).get("content")) for message in messages)
        and _is_text(members.get("system", ""))
    )


def _is_text(content: object) -> bool:
    """Whether a content is text, in one piece or in blocks."""
    if isinstance(content, list):
        return all(_is_text_block(mapping(block)) for block in content)
    return isinstance(content, str)


def _is_text_block(block: Mapping[str, object]) -> bool:
    if block.get("type") == "tool_result":
        return _is_text(block.get("content", ""))
    return block.get("type") in _INLINE_BLOCKS
