"""What is read off an answer on its way to the agent. Sans-I/O: bytes in, the bytes that the agent may see out.

The rule: the agent's bytes never depend on the metering. They pass unchanged, except where leash itself asked the
provider for a usage chunk that the agent did not ask for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from leash_shim import headers
from leash_shim.meter import decoder, is_event_stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leash.usage import Usage
    from leash_shim.meter import Decoder, Meter, Metered, RequestFacts, VisibleFilter, WireFormat

# From here on an answer is an error, which bills nothing and has nothing to read.
_FIRST_ERROR_STATUS = 400


class Tap:
    """The meter on one answer, behind its decoder, and before the filter that hides what only leash asked for."""

    __slots__ = ("_decoder", "_meter", "_visible")

    def __init__(
        self, *, meter: Meter | None = None, decode: Decoder | None = None, visible: VisibleFilter | None = None
    ) -> None:
        self._meter = meter
        self._decoder = decode
        self._visible = visible

    @property
    def reframes(self) -> bool:
        """Whether the agent gets other bytes than the provider sent, so that announced lengths do not hold."""
        return self._visible is not None

    def feed(self, data: bytes) -> bytes:
        """Reads bytes of the body, split anywhere, and returns those that the agent may see now."""
        if self._meter is None:
            return data
        plain = data if self._decoder is None else self._decoder.feed(data)
        self._meter.feed(plain)
        return data if self._visible is None else self._visible.feed(plain)

    def finish(self) -> tuple[bytes, Metered | None]:
        """At the end of the body: what the agent has still to see, and what the call came to (None: not metered)."""
        if self._meter is None:
            return b"", None
        tail = b""
        if self._decoder is not None:
            plain = self._decoder.finish()
            self._meter.feed(plain)
            if self._visible is not None:
                tail = self._visible.feed(plain)
        if self._visible is not None:
            tail += self._visible.finish()
        metered = self._meter.finish()
        if self._decoder is not None and self._decoder.broken and metered.usage is not None:
            # What was read before the rest could not be decoded is the least that it came to.
            metered = replace(metered, broken_off=True)
        return tail, metered

    def peek(self) -> Usage | None:
        """What the provider has reported so far; None for nothing yet."""
        return None if self._meter is None else self._meter.peek()


def takes_events(answer_headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether an event of leash's own can stand in an answer: a stream of events in plain text, of no set length."""
    return (
        is_event_stream(headers.first(answer_headers, b"content-type"))
        and headers.joined(answer_headers, b"content-encoding") in ("", "identity")
        and not headers.first(answer_headers, b"content-length")
    )


def tap_for(
    wire_format: WireFormat | None,
    facts: RequestFacts | None,
    *,
    status: int,
    answer_headers: Sequence[tuple[bytes, bytes]],
    hides_usage_chunk: bool,
) -> Tap:
    """The tap for an answer, by its status and headers. An error, or an encoding nobody knows, is only passed on."""
    if wire_format is None or facts is None or status >= _FIRST_ERROR_STATUS:
        return Tap()
    encoding = headers.joined(answer_headers, b"content-encoding")
    decode = decoder(encoding) if encoding else None
    if encoding and decode is None:
        return Tap()
    content_type = headers.first(answer_headers, b"content-type")
    streams = is_event_stream(content_type)
    return Tap(
        meter=wire_format.meter(content_type=content_type, facts=facts),
        decode=decode,
        visible=wire_format.visible_filter() if hides_usage_chunk and streams else None,
    )
