"""What is wrong with a request's head, whichever HTTP it came by: HTTP/2 carries what no HTTP/1.1 can say. Pure.

The rule: leash writes a request anew for the provider, so whatever would not be read there as it was read here is
refused before anything is reserved: a space in a query, a method that opens a tunnel, a control character in a value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leash_shim.asgi import Message

# Agents send cookies and tokens; providers accept heads of this size, and one that is larger is refused with 431.
MAX_HEAD_BYTES = 1 << 16

_BAD_REQUEST = 400
_WRONG_VERSION = 505

# What a request of HTTP/1.1 is refused for before it is one: RFC 9112 has these as errors of whoever sends.
_MALFORMED = {
    _BAD_REQUEST: "this is not well-formed HTTP/1.1, or its body's length may be read in two ways",
    431: f"the request's head is above {MAX_HEAD_BYTES} bytes",
    501: "leash takes a body in chunks, and in no other transfer encoding",
    _WRONG_VERSION: "leash speaks HTTP/1.1, and HTTP/2 to whoever begins with its preface",
}

# RFC 9110 section 5.6.2.
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# RFC 9110 section 9.3: the one asks for a tunnel, whose bytes nobody would meter, the other for the request itself,
# with its key. No provider has either.
_REFUSED_METHODS = frozenset(("CONNECT", "TRACE"))

# Anything but visible ASCII, and the sign at which the client for the providers would cut the query off.
_BAD_IN_QUERY = re.compile(rb"[^\x21\x22\x24-\x7e]")

# RFC 9110 section 5.5: of the control characters only the tab may stand in a value.
_BAD_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def framing_fault(headers: Iterable[tuple[bytes, bytes]], version: bytes) -> int:
    """The status with which a request of HTTP/1.1 is refused whose end may be seen elsewhere; 0 for one in order.

    Names are in lower case. Sections 6.1 and 6.3 of RFC 9112 let a server take a length beside chunks, which counts for
    nothing then; but a proxy before leash may have gone by it.
    """
    if not version.startswith(b"1."):
        return _WRONG_VERSION
    names = {name for name, _ in headers}
    in_chunks = b"transfer-encoding" in names
    return _BAD_REQUEST if in_chunks and (b"content-length" in names or version == b"1.0") else 0


def malformed(status: int) -> str:
    """The sentence for bytes that are no request."""
    return _MALFORMED.get(status, _MALFORMED[_BAD_REQUEST])


def fault(scope: Message) -> tuple[str, str]:
    """The stable code and the sentence for what is wrong with an ASGI request's head; both empty for one in order."""
    method: str = scope["method"]
    if method in _REFUSED_METHODS or _METHOD.fullmatch(method) is None:
        return "bad_method", "leash sends no such method on"
    if _BAD_IN_QUERY.search(scope["query_string"]):
        return "bad_path", "the query has a character that has to be percent-encoded"
    if any(_BAD_IN_VALUE.search(value) for _, value in scope["headers"]):
        return "bad_header", "a header has a control character"
    return "", ""
