"""One exchange with a provider as it is on the wire, and what leash has to read off it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from leash.usage import Usage
from leash_shim.meter import Asked, Meter, Metered, Prepared, RequestFacts, Route, RouteKind, route

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
LINES = "application/x-ndjson"

_LARGE_BYTES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request, its answer, and what the answer comes to.

    ``usage`` is None for an answer that is blind. ``says`` is equal for exchanges whose replies say and do the same,
    whatever their format's way to send them, and empty for a reply with neither text nor a tool call. Where leash asks
    for the usage with an option of its own, ``answer`` is what the client has to see, and ``with_option`` what the
    provider sends.
    """

    name: str
    path: str
    request: bytes
    answer: bytes
    answer_type: str = JSON
    request_type: str = JSON
    usage: Usage | None = None
    model: str = ""
    says: str = ""
    broken_off: bool = False
    with_option: bytes = b""

    @property
    def way(self) -> Route:
        """Where the request goes; always a metered endpoint."""
        found = route("POST", self.path)
        assert found.kind is RouteKind.METERED, self.path
        return found

    @property
    def facts(self) -> RequestFacts:
        """The facts of the request."""
        wire_format = self.way.format
        assert wire_format is not None
        return wire_format.read_request(Asked(self.request, self.path, self.request_type))

    @property
    def prepared(self) -> Prepared:
        """The request as the shim forwards it."""
        wire_format = self.way.format
        assert wire_format is not None
        return wire_format.prepare(self.request, inject=True)

    @property
    def sent(self) -> bytes:
        """The body that the provider sends to a request as the shim forwards it."""
        return self.with_option or self.answer

    @property
    def step(self) -> int:
        """How many bytes apart its answer is cut: one, or more where its size is the point of it."""
        return len(self.sent) // 200 if self.is_large else 1

    @property
    def is_large(self) -> bool:
        """Whether its size is the point of it, so that not everything is tried with it."""
        return len(self.sent) > _LARGE_BYTES

    def meter(self, *, want_fingerprint: bool = True) -> Meter:
        """A new meter for the answer."""
        wire_format = self.way.format
        assert wire_format is not None
        return wire_format.meter(content_type=self.answer_type, facts=self.facts, want_fingerprint=want_fingerprint)

    def read(self, pieces: list[bytes], *, want_fingerprint: bool = True) -> Metered:
        """What a meter reads off the answer that comes in these pieces."""
        meter = self.meter(want_fingerprint=want_fingerprint)
        for piece in pieces:
            meter.feed(piece)
        metered = meter.finish()
        assert meter.finish() == metered
        assert meter.peek() == metered.usage
        return metered


def dump(value: Any) -> bytes:
    """JSON without white space."""
    return json.dumps(value, separators=(",", ":")).encode()


def pretty(value: Any) -> bytes:
    """JSON as some providers send it, indented."""
    return json.dumps(value, indent=2).encode()


def events(*values: Any, done: bool = False, named: bool = False, newline: bytes = b"\n") -> bytes:
    """Server-sent events with the values as data; ``named`` by their ``type``, ``done`` with OpenAI's last one."""
    parts = []
    for value in values:
        name = b"event: " + value["type"].encode() + newline if named else b""
        parts.append(name + b"data: " + dump(value) + newline + newline)
    return b"".join(parts) + (b"data: [DONE]" + newline + newline if done else b"")


def lines(*values: Any) -> bytes:
    """One JSON value on each line."""
    return b"".join(dump(value) + b"\n" for value in values)
