"""What a responses request says about the call: its model, its bounds, and what the provider may run for it.

The rule: as for chat completions, a bound is only given where it holds, and whatever is not known to be inline text
takes it away. A response that is made in the background is answered before it has a usage.
Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash_shim.meter import json_text
from leash_shim.meter.json_text import elements, mapping
from leash_shim.meter.openai_request import PROVIDER_PROMPT_TOKENS, requested_model
from leash_shim.meter.wire import RequestFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.meter.wire import Asked

# What the program itself runs. Any other tool is the provider's.
_CLIENT_TOOLS = (
    *("function", "custom", "local_shell", "shell", "apply_patch"),
    *("computer", "computer_use", "computer_use_preview"),
)

# Parameters that shape the answer or carry prompt text inline; any other that is not a number or a word like true may
# be a reference to something stored.
_INLINE = frozenset(
    """client_metadata include input instructions max_output_tokens max_tool_calls metadata model parallel_tool_calls
    prompt_cache_key prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options
    temperature text tool_choice tools top_logprobs top_p truncation user verbosity""".split()  # noqa: SIM905 - a line for each says no more
)
_TEXT_PARTS = ("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text")
_INLINE_CALLS = ("function_call", "custom_tool_call")
_INLINE_OUTPUTS = ("function_call_output", "custom_tool_call_output")
_BACKGROUND = (
    'a response with "background": true is answered before it has a usage; leave that out, or stream it with '
    '"stream": true'
)


def read_request(asked: Asked) -> RequestFacts:
    """The facts of a request; no bounds where its body is no JSON object."""
    members = mapping(json_text.parse(asked.body))
    tools = members.get("tools")
    streams = members.get("stream") is True
    hosts_shell = any(map(_is_hosted_shell, elements(tools)))
    server_tools = hosts_shell or _has_server_tools(tools)
    inline = not server_tools and _is_inline(members)
    return RequestFacts(
        model=requested_model(asked, members.get("model"), stand_ins=members.get("models")),
        stream=streams,
        input_bound_tokens=len(asked.body) + PROVIDER_PROMPT_TOKENS if inline else None,
        output_bound_tokens=json_text.whole(members.get("max_output_tokens")),
        server_tools=server_tools,
        other_tools=hosts_shell,
        service_tier=json_text.name(members.get("service_tier")),
        unmeterable=_BACKGROUND if members.get("background") is True and not streams else "",
    )


def _has_server_tools(tools: object) -> bool:
    if not isinstance(tools, list):
        return tools is not None
    return any(mapping(tool).get("type") not in _CLIENT_TOOLS for tool in tools)


def _is_hosted_shell(tool: object) -> bool:
    """Whether a tool is a shell in a container of the provider's, rather than on the program's own machine."""
    members = mapping(tool)
    return members.get("type") == "shell" and mapping(members.get("environment")).get("type") != "local"


def _is_inline(members: Mapping[str, object]) -> bool:
    """Whether the whole prompt is text within the body."""
    for name, value in members.items():
        if name not in _INLINE and value is not None and not isinstance(value, (bool, int, float)):
            return False
    given = members.get("input")
    if isinstance(given, str):
        return True
    return isinstance(given, list) and all(_is_inline_item(mapping(item)) for item in given)


def _is_inline_item(item: Mapping[str, object]) -> bool:
    kind = item.get("type", "message")
    if kind == "message":
        return _is_text(item.get("content"))
    if kind in _INLINE_OUTPUTS:
        return _is_text(item.get("output"))
    if kind == "reasoning":
        # Sent along it is longer, encrypted, than its tokens; without that the provider has it stored.
        return bool(json_text.text(item.get("encrypted_content")))
    return kind in _INLINE_CALLS


def _is_text(content: object) -> bool:
    if isinstance(content, list):
        return all(mapping(part).get("type") in _TEXT_PARTS for part in content)
    return isinstance(content, str)
