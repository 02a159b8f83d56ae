"""What a governed request asks for: its body is read whole, and its format says what is in it.

The rule: a body goes on as it came, but for what is put in for the usage to be reported; what cannot be read of it is
not known, and never a reason to change it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash_shim import headers
from leash_shim.families import reports_unasked
from leash_shim.flow import Order
from leash_shim.meter import Asked, decoder
from leash_shim.meter.json_text import is_ambiguous
from leash_shim.refusal import Reader
from leash_shim.upstream import UpstreamRequest

if TYPE_CHECKING:
    from leash_shim.asgi import Message
    from leash_shim.downstream import Downstream
    from leash_shim.headers import Headers
    from leash_shim.held_bodies import HeldBody
    from leash_shim.meter import RequestFacts, Route
    from leash_shim.mounts import Target
    from leash_shim.settings import ShimSettings

# A few bytes may stand for two hundred times as many, so that a compressed request is looked at in slices of this size.
_DECODE_SLICE_BYTES = 1 << 16


async def read_order(  # noqa: PLR0913 (a request, and what it is read for)
    scope: Message,
    downstream: Downstream,
    *,
    settings: ShimSettings,
    located: tuple[Target, Route],
    run: str,
    held: HeldBody,
) -> Order:
    """What a request asks for. Raises what reading its body raises."""
    target, way = located
    request_headers: Headers = scope["headers"]
    length = headers.first(request_headers, b"content-length")
    body = await downstream.read_body(
        settings.max_body_bytes,
        held=held,
        announced=int(length) if length.isdecimal() else 0,
        part_timeout_s=settings.body_timeout_s,
    )
    wire_format, why, hides = way.format, way.why, False
    facts: RequestFacts | None = None
    if wire_format is not None:
        content_type = headers.first(request_headers, b"content-type")
        encoding = headers.joined(request_headers, b"content-encoding")
        plain = _decoded(body, encoding, max_bytes=settings.max_body_bytes)
        if is_ambiguous(plain):
            # The provider may read another model and other bounds there: the answer tells which model it was.
            plain = b""
        facts = wire_format.read_request(Asked(plain, target.path, content_type))
        why = facts.unmeterable
        if why:
            wire_format = facts = None
        elif encoding in ("", "identity"):
            inject = settings.inject and not reports_unasked(target.origin)
            prepared = wire_format.prepare(body, inject=inject)
            body, hides = prepared.body, prepared.hides_usage_chunk
    request = UpstreamRequest(
        method=scope["method"],
        target=target,
        query=scope["query_string"].decode("latin-1"),
        headers=headers.for_upstream(request_headers, identity=hides),
        body=body,
        on_written=held.release,
    )
    return Order(
        run=run,
        request=request,
        wire_format=wire_format,
        facts=facts,
        why=why,
        hides_usage_chunk=hides,
        reader=Reader(
            user_agent=headers.first(request_headers, b"user-agent"),
            provider=way.provider,
            chosen_status=settings.refusal_status,
        ),
    )


def _decoded(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """A request's body to be read; empty, so that nothing is known, where it cannot be decoded within ``max_bytes``."""
    if not encoding:
        return body
    decode = decoder(encoding)
    if decode is None:
        return b""
    pieces, size = [], 0
    for start in range(0, len(body), _DECODE_SLICE_BYTES):
        pieces.append(decode.feed(body[start : start + _DECODE_SLICE_BYTES]))
        size += len(pieces[-1])
        if size > max_bytes:
            return b""
    pieces.append(decode.finish())
    return b"" if decode.broken else b"".join(pieces)
