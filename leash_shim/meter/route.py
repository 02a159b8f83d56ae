"""Which endpoints are metered, which are free, and which bill without telling.

The rule: fail closed. A call is only free where nothing that generates can be reached with it, and a path that two
servers could read in two ways is refused.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from leash_shim.meter.openai_chat import OPENAI_CHAT

if TYPE_CHECKING:
    from collections.abc import Collection

    from leash_shim.meter.wire import WireFormat


class RouteKind(enum.Enum):
    """What becomes of a request."""

    METERED = "metered"  # it bills, and its usage is on the wire
    FREE = "free"  # it bills nothing: passed through, not counted
    UNMETERABLE = "unmeterable"  # it bills, or may, and no usage can be read
    BAD_PATH = "bad_path"  # its path could mean two things: 400


@dataclass(frozen=True, slots=True)
class Route:
    """What becomes of a request, in which format, and whose it is: openai, anthropic, gemini or ollama."""

    kind: RouteKind
    format: WireFormat | None
    provider: str


# A metered endpoint is a POST to a path with this end, whatever comes before it: /v1, /openai/v1, a proxy's own
# prefix, an Azure deployment. A format that follows adds its line.
_METERED: tuple[tuple[re.Pattern[str], WireFormat, str], ...] = (
    (re.compile(r"/chat/completions\Z"), OPENAI_CHAT, "openai"),
)

# Free POSTs stand at the root, or right after a version or a provider's name. So an end such as /files below another
# resource (a vector store, which bills for what is put into it) does not count.
_ROOT = r"(?:\A|/(?:v\d+[a-z0-9]*|openai|anthropic|gemini|google|ollama))"
_FREE_POST = re.compile(
    _ROOT
    + r"""(?:
      /messages/count_tokens                    # Anthropic
    | /models/[^/]+:countTokens                 # Gemini
    | /responses/input_tokens                   # OpenAI
    | /moderations
    | /files                                    # OpenAI, Anthropic, Gemini: uploads
    | /uploads(?:/[^/]+(?:/(?:parts|complete|cancel))?)?  # OpenAI: a file in parts
    | /api/show                                 # Ollama: one model of the list
    )\Z""",
    re.VERBOSE,
)

# Only reads, and deletions, which no provider bills for.
_FREE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "DELETE"))

# Some servers carry out the method that such a header names instead.
_METHOD_OVERRIDES = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))

# What a GET opens as a WebSocket and then generates through: OpenAI's realtime, live and responses, Gemini's live.
_SOCKET = re.compile(r"/(?:realtime|live|responses)\Z|/ws/|BidiGenerateContent")

_PROVIDERS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Named in the path, as proxies do, and Gemini and Anthropic for their OpenAI-like endpoints.
    (re.compile(r"/(?:openai|chat/completions|responses|threads)(?:/|\Z)"), "openai"),
    (re.compile(r"/anthropic/|/messages(?:/|\Z)|/v1/complete\Z"), "anthropic"),
    (re.compile(r"/models/[^/]+:[A-Za-z]+\Z|/v1(?:alpha|beta)\w*/|BidiGenerateContent"), "gemini"),
    (
        re.compile(
            r"/api/(?:blobs|chat|copy|create|delete|embed|embeddings|generate|ps|pull|push|show|tags|version)\b"
        ),
        "ollama",
    ),
)
_PROVIDER_HEADERS = ((b"anthropic-version", "anthropic"), (b"x-goog-api-key", "gemini"))
_DEFAULT_PROVIDER = "openai"

# Anything but visible ASCII; a query or fragment, which some clients cut off; a backslash, which some servers turn.
_BAD_CHARACTER = re.compile(r"[^\x21-\x7e]|[?#\\]")
# An escape that is none, or that stands, however often it is escaped, for a slash, dot, backslash or control character.
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%(?:25)*(?:2[EFef]|5[Cc]|[01][0-9A-Fa-f]|7[Ff])")
# Empty and dot segments, with or without parameters, which some servers cut off first.
_BAD_SEGMENT = re.compile(r"/(?:\.{0,2};[^/]*|\.{1,2})(?:/|\Z)|//")


def route(method: str, path: str, header_names: Collection[bytes] = ()) -> Route:
    """What becomes of a request, by its method and its raw path without the query.

    ``header_names`` (lower case) tell the provider where the path is the same for several, such as ``/v1/models``;
    with one that overrides the method nothing is free.
    """
    if _is_bad(path):
        return Route(RouteKind.BAD_PATH, None, _DEFAULT_PROVIDER)
    # One slash at the end changes nothing for the servers that take it, and is an error for the others.
    path = path.removesuffix("/")
    if method == "POST":
        for pattern, wire_format, provider in _METERED:
            if pattern.search(path):
                return Route(RouteKind.METERED, wire_format, provider)
        free = _FREE_POST.search(path) is not None
    else:
        free = method in _FREE_METHODS and (method != "GET" or _SOCKET.search(path) is None)
    free = free and _METHOD_OVERRIDES.isdisjoint(header_names)
    return Route(RouteKind.FREE if free else RouteKind.UNMETERABLE, None, _provider(path, header_names))


def _is_bad(path: str) -> bool:
    if not path.startswith("/") or _BAD_CHARACTER.search(path) or _BAD_SEGMENT.search(path):
        return True
    if "%" not in path:
        return False
    if _BAD_ESCAPE.search(path):
        return True
    try:
        # Overlong UTF-8, in which a dot or a slash can hide, does not decode.
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return True
    return False


def _provider(path: str, header_names: Collection[bytes]) -> str:
    for pattern, provider in _PROVIDERS:
        if pattern.search(path):
            return provider
    for header, provider in _PROVIDER_HEADERS:
        if header in header_names:
            return provider
    return _DEFAULT_PROVIDER
