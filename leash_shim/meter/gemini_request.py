"""What a Gemini request says about the call: its model, which stands in the path, its bounds, and the tools.

The rule: a bound is only given where it holds. Google's servers take each name in camel case and in snake case, and
one object in the place of a list of one; so does this.
Source: https://ai.google.dev/api/generate-content and …/embeddings
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from leash_shim.meter import json_text
from leash_shim.meter.json_text import elements, mapping
from leash_shim.meter.openai_request import MAX_CHOICES, PROVIDER_PROMPT_TOKENS
from leash_shim.meter.wire import RequestFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from leash_shim.meter.wire import Asked

_MODEL = re.compile(r"/(?:models|tunedModels|endpoints)/([^/:]+):([A-Za-z]+)/?\Z")

# Tools that the program itself runs.
_CLIENT_TOOLS = frozenset(("functionDeclarations", "computerUse"))
# Tools whose every search is told in the answer.
_SEARCH_TOOLS = frozenset(("googleSearch", "googleSearchRetrieval", "enterpriseWebSearch"))
# Tools that bill nothing but tokens.
_TOKEN_TOOLS = frozenset(("codeExecution", "urlContext", "fileSearch", "mcpServers"))
_KNOWN_TOOLS = _CLIENT_TOOLS | _SEARCH_TOOLS | _TOKEN_TOOLS

# Members of a part that are inline text, or tell nothing to the model.
_TEXT_PARTS = frozenset(("text", "functionCall", "functionResponse", "thought", "thoughtSignature", "partMetadata"))
_INLINE = frozenset(
    (
        "contents",
        "content",
        "systemInstruction",
        "tools",
        "toolConfig",
        "safetySettings",
        "generationConfig",
        "labels",
        "model",
        "requests",
        "taskType",
        "title",
        "outputDimensionality",
        "serviceTier",
        "autoTruncate",
        "embedContentConfig",
    )
)


def read_request(asked: Asked) -> RequestFacts:
    """The facts of a request to generate; no bounds where its body is no JSON object."""
    members = camel(json_text.parse(asked.body))
    config = camel(members.get("generationConfig"))
    tools = {name for tool in _listed(members.get("tools")) for name in camel(tool)}
    server_tools = not tools <= _CLIENT_TOOLS
    inline = not server_tools and _is_inline(members)
    model, method = _named(asked.path)
    return RequestFacts(
        model=model,
        stream=method.startswith("stream"),
        input_bound_tokens=len(asked.body) + PROVIDER_PROMPT_TOKENS if inline else None,
        output_bound_tokens=json_text.whole(config.get("maxOutputTokens")),
        choices=min(json_text.whole(config.get("candidateCount")) or 1, MAX_CHOICES),
        server_tools=server_tools,
        web_search=bool(tools & _SEARCH_TOOLS),
        other_tools=not tools <= _KNOWN_TOOLS,
        service_tier=json_text.name(members.get("serviceTier")),
    )


def read_embedding(asked: Asked) -> RequestFacts:
    """The facts of a request to embed, one content or a batch of them."""
    members = camel(json_text.parse(asked.body))
    requests = [camel(request) for request in _listed(members.get("requests"))] or [members]
    return RequestFacts(
        model=_named(asked.path)[0],
        input_bound_tokens=(
            len(asked.body) + len(requests) * PROVIDER_PROMPT_TOKENS if all(map(_is_inline, requests)) else None
        ),
        output_bound_tokens=0,
        prompts=min(len(requests), MAX_CHOICES),
    )


def camel(value: object) -> Mapping[str, object]:
    """An object's members under their names in camel case."""
    members = mapping(value)
    if not any("_" in name for name in members):
        return members
    return {_camel_name(name): each for name, each in members.items()}


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def _named(path: str) -> tuple[str, str]:
    """The model and the method in a path; empty where there is none."""
    found = _MODEL.search(path)
    return (json_text.name(unquote(found[1])), found[2]) if found else ("", "")


def _is_inline(members: Mapping[str, object]) -> bool:
    """Whether the whole prompt is text within the body; contents that are cached are not."""
    for name, value in members.items():
        if name not in _INLINE and value is not None and not isinstance(value, (bool, int, float)):
            return False
    contents = _listed(members.get("contents", members.get("content")))
    system = members.get("systemInstruction")
    return bool(contents) and _are_text([*contents, *([system] if system is not None else [])])


def _are_text(contents: Iterable[object]) -> bool:
    return all(
        isinstance(content, dict) and all(map(_is_text_part, _listed(content.get("parts")))) for content in contents
    )


def _is_text_part(part: object) -> bool:
    """Whether a part is text; what a function returned may have files beside it."""
    members = camel(part)
    return _TEXT_PARTS.issuperset(members) and not camel(members.get("functionResponse")).get("parts")


def _listed(value: object) -> list[object]:
    """The elements of a list, or the one object in its place."""
    return [value] if isinstance(value, dict) else elements(value)
