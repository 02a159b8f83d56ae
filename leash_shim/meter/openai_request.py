"""What a chat completions request says about the call: its model and its bounds.

The rule: a bound is only given where it holds. Whatever is not known to be inline text takes the input's bound away;
the call may then fill the model's whole context.
Source: https://platform.openai.com/docs/api-reference/chat/create, and the vendors' pages for their own parameters.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from leash_shim.meter import json_text
from leash_shim.meter.wire import RequestFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.meter.wire import Asked

# A token stands for at least one byte of text, JSON spells a text in no fewer bytes than it has, and the template's
# own tokens for a message (three to five) are fewer than the bytes of its braces and keys. What comes on top is what
# a provider adds unseen: dates and policies for reasoning models (some 100 tokens), the preamble that explains tools
# (Anthropic's page names up to 900, behind its compatible endpoint). This is above all that is published.
PROVIDER_PROMPT_TOKENS = 1_024

# Parameters that shape the answer or carry prompt text inline. A provider may add others at any time, of which a
# number or a word like true is taken for a setting, and anything else for a reference to something stored elsewhere.
_INLINE = frozenset(
    """audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages
    metadata modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
    prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier
    stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity
    chat_template_kwargs guided_choice guided_grammar guided_json guided_regex provider reasoning
    reasoning_format reasoning_split stop_token_ids structured_outputs thinking transforms""".split()  # noqa: SIM905 - a line for each says no more
)

# Parameters that let the provider search or run something: OpenRouter's, xAI's, Alibaba's, Cohere's.
_SERVER_TOOLS = ("plugins", "search_parameters", "enable_search", "connectors")
_UNSET = (b"null", b"false", b"[]")

# Members of a message that are inline text, or tell nothing to the model. ``audio`` names a stored answer.
_MESSAGE_INLINE = frozenset(
    """annotations cache_control content function_call name partial prefix prompt_cache_breakpoint reasoning
    reasoning_content reasoning_details refusal role tool_call_id tool_calls weight""".split()  # noqa: SIM905 - as above
)
_TEXT_PARTS = ("text", "refusal")
_CLIENT_TOOLS = ("function", "custom")
_SCALARS = (b"t", b"f", b"n", b"-", *(b"%d" % digit for digit in range(10)))

# More choices or prompts than any provider takes; keeps the product with a price within 64 bits.
MAX_CHOICES = 1 << 16

# Azure's older paths name the deployment, and what the body says of the model is not looked at.
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/", re.IGNORECASE)


def requested_model(asked: Asked, in_body: object, *, stand_ins: object = None) -> str:
    """The model that a request names: Azure's deployment in the path, or else the one in the body.

    With ``stand_ins`` (OpenRouter's ``models``) any of them may answer, so that none is named before one has.
    """
    deployment = _DEPLOYMENT.search(asked.path)
    if deployment:
        return json_text.name(unquote(deployment[1]))
    return "" if stand_ins else json_text.name(in_body)


def read_request(asked: Asked) -> RequestFacts:
    """The facts of a request; no bounds where its body is no JSON object."""
    members = json_text.read_members(asked.body)
    if members is None:
        return RequestFacts(model=requested_model(asked, ""))
    web_search = members.get("web_search_options", b"null") != b"null"
    other_tools = _has_other_tools(members)
    server_tools = web_search or other_tools
    inline = not server_tools and _is_inline(members)
    return RequestFacts(
        model=requested_model(asked, _value(members, "model"), stand_ins=_value(members, "models")),
        stream=members.get("stream") == b"true",
        input_bound_tokens=len(asked.body) + PROVIDER_PROMPT_TOKENS if inline else None,
        output_bound_tokens=_output_bound(members),
        choices=min(json_text.whole(_value(members, "n")) or 1, MAX_CHOICES),
        server_tools=server_tools,
        web_search=web_search,
        other_tools=other_tools,
        service_tier=json_text.name(_value(members, "service_tier")),
    )


def _output_bound(members: Mapping[str, bytes]) -> int | None:
    """The most tokens of one choice; None where the request sets no maximum.

    With both maxima the larger counts, since a vendor may know either. A prediction's rejected tokens are billed as
    output, on top; they are no more than its bytes.
    """
    maxima = [json_text.whole(_value(members, name)) for name in ("max_completion_tokens", "max_tokens")]
    known = [maximum for maximum in maxima if maximum is not None]
    if not known:
        return None
    prediction = members.get("prediction", b"null")
    return max(known) + (0 if prediction == b"null" else len(prediction))


def _has_other_tools(members: Mapping[str, bytes]) -> bool:
    """Whether there are server-side tools other than OpenAI's web search."""
    if any(members.get(name, b"null") not in _UNSET for name in _SERVER_TOOLS):
        return True
    tools = _value(members, "tools")
    if not isinstance(tools, list):
        return tools is not None
    return any(not isinstance(tool, dict) or tool.get("type") not in _CLIENT_TOOLS for tool in tools)


def _is_inline(members: Mapping[str, bytes]) -> bool:
    """Whether the whole prompt is text within the body."""
    for name, value in members.items():
        if name not in _INLINE and value not in _UNSET and not value.startswith(_SCALARS):
            return False
    messages = _value(members, "messages")
    return isinstance(messages, list) and all(_is_inline_message(message) for message in messages)


def _is_inline_message(message: object) -> bool:
    if not isinstance(message, dict):
        return False
    for name, value in message.items():
        if name not in _MESSAGE_INLINE and value is not None and not isinstance(value, (bool, int, float)):
            return False
    content = message.get("content")
    if isinstance(content, list):
        return all(isinstance(part, dict) and part.get("type") in _TEXT_PARTS for part in content)
    return content is None or isinstance(content, str)


def _value(members: Mapping[str, bytes], name: str) -> object:
    return json_text.parse(members[name]) if name in members else None
