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

from leash_shim.meter.endpoints import FREE_POST, METERED, SOCKET, UNKNOWN, UNMETERABLE

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
    """What becomes of a request, in which format, and whose it is: openai, anthropic, gemini or ollama.

    ``why`` says of one that cannot be metered why that is so and what to do, without a full stop.
    """

    kind: RouteKind
    format: WireFormat | None
    provider: str
    why: str = ""


# Only reads, and deletions, which no provider bills for.
_FREE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "DELETE"))

# Some servers carry out the method that such a header names instead.
_METHOD_OVERRIDES = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))

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
# An escape that is none, or that stands, however often it is escaped, for a slash, dot, backslash or control character;
# for a sign at which some servers cut a path off once they have decoded it (?, #, ;); or for a character that nobody
# needs to escape (RFC 3986 section 2.3), with which a word could hide from the formats.
_BAD_ESCAPE = re.compile(
    r"%(?![0-9A-Fa-f]{2})|%(?:25)*(?:2[3DEFdef]|3[0-9BbFf]|4[1-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9AaEeFf]|[01][0-9A-Fa-f])"
)
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
        for pattern, wire_format, provider in METERED:
            if pattern.search(path):
                return Route(RouteKind.METERED, wire_format, provider)
        free = FREE_POST.search(path) is not None
    else:
        free = method in _FREE_METHODS and (method != "GET" or SOCKET.search(path) is None)
    provider = _provider(path, header_names)
    if free and _METHOD_OVERRIDES.isdisjoint(header_names):
        return Route(RouteKind.FREE, None, provider)
    why = next((sentence for pattern, sentence in UNMETERABLE if pattern.search(path)), UNKNOWN)
    return Route(RouteKind.UNMETERABLE, None, provider, why)


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
