"""Which headers cross the shim: everything but what belongs to one connection, and what is addressed to leash itself.

Names are compared in lower case, as ASGI delivers them; repeated fields and their order are kept. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# RFC 9110 section 7.6.1, and the older Proxy-Connection that some clients still send.
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)

# Host and Content-Length are written anew for the upstream. The server has answered an Expect already: sent on, it
# would make the shim wait for a second 100 that many providers never send. X-Loop-Id names the run to leash.
_REQUEST_DROPPED = _HOP_BY_HOP | {b"host", b"content-length", b"expect", b"x-loop-id", b"http2-settings"}

_LEASH_PREFIX = b"x-leash-"

# What describes an encoded body, and no longer holds where the shim takes a chunk out of it.
_BODY_FRAMING = frozenset((b"content-length", b"content-encoding"))

# Connection options that name no header.
_PLAIN_OPTIONS = frozenset((b"keep-alive", b"close", b"upgrade", b""))

Headers = list[tuple[bytes, bytes]]


def for_upstream(headers: Iterable[tuple[bytes, bytes]], *, identity: bool) -> list[tuple[str, str]]:
    """The agent's request headers as the provider gets them.

    ``identity`` asks for an answer without compression, whatever the agent accepts.
    """
    kept = []
    named = None
    for name, value in headers:
        if name in _REQUEST_DROPPED or name.startswith(_LEASH_PREFIX):
            if name == b"connection":
                named = (named or frozenset()) | _named_by(value)
        elif not (identity and name == b"accept-encoding"):
            kept.append((name.decode("ascii"), _text(value)))
    if named:
        kept = [(name, value) for name, value in kept if name.encode("ascii") not in named]
    if identity:
        kept.append(("accept-encoding", "identity"))
    return kept


def for_agent(headers: Sequence[tuple[bytes, bytes]], *, request_id: bytes, reframed: bool) -> Headers:
    """The provider's answer headers as the agent gets them, with ``request_id`` where the provider names none.

    ``reframed`` says that the shim changes the body, so that its length and encoding are no longer those announced.
    """
    kept = []
    named = None
    has_request_id = False
    for name, value in headers:
        lowered = name.lower()
        if lowered in _HOP_BY_HOP:
            if lowered == b"connection":
                named = (named or frozenset()) | _named_by(value)
            continue
        if reframed and lowered in _BODY_FRAMING:
            continue
        if lowered == b"x-request-id":
            has_request_id = True
        kept.append((name, value))
    if named:
        kept = [(name, value) for name, value in kept if name.lower() not in named]
        has_request_id = has_request_id and b"x-request-id" not in named
    if not has_request_id:
        kept.append((b"x-request-id", request_id))
    return kept


def first(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str:
    """The value of the first header of this lower-case name, stripped; empty where there is none."""
    for name, value in headers:
        if name == wanted or name.lower() == wanted:
            return value.decode("latin-1").strip()
    return ""


def repeated(headers: Iterable[tuple[bytes, bytes]], wanted: frozenset[bytes]) -> str:
    """The name of a header of ``wanted``, lower-case names, that stands there twice; empty where there is none."""
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in wanted:
            if name in seen:
                return name.decode("ascii")
            seen.add(name)
    return ""


def joined(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str:
    """All values of a list header such as Content-Encoding, as one comma list; empty where there is none."""
    return ", ".join(value.decode("latin-1").strip() for name, value in headers if name.lower() == wanted)


def _named_by(connection: bytes) -> frozenset[bytes]:
    """The headers that a Connection header declares to be this connection's own."""
    options = frozenset(option.strip() for option in connection.lower().split(b","))
    return options - _PLAIN_OPTIONS


def _text(value: bytes) -> str:
    """A header value for the client library, which writes text as UTF-8, so that the same bytes go out."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        # Neither ASCII nor UTF-8: no provider reads such bytes, and the library cannot write them.
        return value.decode("latin-1")
