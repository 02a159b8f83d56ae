"""How an answer is cut into the values that its format reads: one JSON body, server-sent events, lines, or an array.

The rule: a body is looked at once, from its start to its end, and no more of it is kept than one value. What a value
means is the business of a format's ``Reply``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from leash_shim.meter import json_text
from leash_shim.meter.json_objects import ObjectSplitter
from leash_shim.meter.json_outline import Outline
from leash_shim.meter.sse import MAX_EVENT_BYTES, EventReader, LineSplitter

if TYPE_CHECKING:
    from collections.abc import Callable

    from leash.usage import Usage
    from leash_shim.meter.wire import Meter, Metered

# An answer of 100,000 tokens is half a megabyte; with the log probabilities of twenty alternatives for each, thirty.
# An image of the largest size is about as much.
MAX_JSON_BYTES = 32 << 20

# For streams whose events may carry an image or a whole answer.
MAX_LARGE_EVENT_BYTES = MAX_JSON_BYTES

_EVENT_STREAM = "text/event-stream"

# OpenAI's streams end with a word that is no JSON; a reply is given it as a text.
DONE = "[DONE]"


class Reply(Protocol):
    """What has been read of one reply, from one value or from many."""

    @property
    def usage(self) -> Usage | None:
        """What was reported so far."""
        ...

    def skips(self, data: bytes, event: bytes, /) -> bool:
        """Whether a streamed value has nothing to tell, so that it need not be decoded."""
        ...

    def add(self, value: object, event: bytes, /) -> None:
        """Reads a value: any JSON, with the type of its event where it has one."""
        ...

    def metered(self, *, streamed: bool) -> Metered:
        """What it came to. ``streamed``: it came in many values, of which the last may be missing."""
        ...


def is_event_stream(content_type: str) -> bool:
    """Whether a body of this Content-Type is server-sent events."""
    return content_type.partition(";")[0].strip().lower() == _EVENT_STREAM


def meter_for(content_type: str, make_reply: Callable[[], Reply], *, max_event_bytes: int = MAX_EVENT_BYTES) -> Meter:
    """The meter of a format whose answers are events or else one JSON body."""
    if is_event_stream(content_type):
        return EventMeter(make_reply(), max_event_bytes=max_event_bytes)
    return JsonMeter(make_reply)


class JsonMeter:
    """Reads one JSON body, at its end."""

    __slots__ = ("_body", "_make_reply", "_overflowed")

    def __init__(self, make_reply: Callable[[], Reply]) -> None:
        self._make_reply = make_reply
        self._body = bytearray()
        self._overflowed = False

    def feed(self, data: bytes, /) -> None:
        """Keeps the body, as long as it is of a size that an answer may have."""
        if self._overflowed or len(self._body) + len(data) > MAX_JSON_BYTES:
            self._overflowed = True
            self._body.clear()
        else:
            self._body += data

    def peek(self) -> Usage | None:
        """The usage, once the body is whole."""
        return self.finish().usage

    def finish(self) -> Metered:
        """What the answer came to."""
        reply = self._make_reply()
        reply.add(json_text.parse(self._body), b"")
        return reply.metered(streamed=False)


class OutlineMeter:
    """Reads one JSON body whose large members tell nothing, such as vectors and pictures."""

    __slots__ = ("_make_reply", "_outline")

    def __init__(self, make_reply: Callable[[], Reply]) -> None:
        self._make_reply = make_reply
        self._outline = Outline()

    def feed(self, data: bytes, /) -> None:
        """Keeps what is small."""
        self._outline.feed(data)

    def peek(self) -> Usage | None:
        """The usage, once the body is whole."""
        return self.finish().usage

    def finish(self) -> Metered:
        """What the answer came to."""
        reply = self._make_reply()
        reply.add(json_text.parse(self._outline.text()), b"")
        return reply.metered(streamed=False)


class EventMeter:
    """Reads server-sent events."""

    __slots__ = ("_reader", "_reply")

    def __init__(self, reply: Reply, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._reply = reply
        self._reader = EventReader(self._read, max_bytes=max_event_bytes)

    def feed(self, data: bytes, /) -> None:
        """Reads the events that ``data`` completes."""
        self._reader.feed(data)

    def peek(self) -> Usage | None:
        """What the events so far have reported."""
        return self._reply.usage

    def finish(self) -> Metered:
        """What the answer came to."""
        self._reader.finish()
        return self._reply.metered(streamed=True)

    def _read(self, data: bytes, event: bytes) -> bool:
        done = data.strip() == DONE.encode()
        if not done and self._reply.skips(data, event):
            return json_text.is_object(data)
        value = DONE if done else json_text.parse(data)
        self._reply.add(value, event)
        return value is not None


class LineMeter:
    """Reads one JSON value from each line (NDJSON)."""

    __slots__ = ("_max_bytes", "_overlong", "_reply", "_splitter")

    def __init__(self, reply: Reply, *, max_line_bytes: int = MAX_EVENT_BYTES) -> None:
        self._reply = reply
        self._max_bytes = max_line_bytes
        self._splitter = LineSplitter(max_line_bytes)
        self._overlong = False

    def feed(self, data: bytes, /) -> None:
        """Reads the lines that ``data`` completes."""
        for line in self._splitter.feed(data):
            self._take(line, whole=line.endswith((b"\n", b"\r")))

    def peek(self) -> Usage | None:
        """What the lines so far have reported."""
        return self._reply.usage

    def finish(self) -> Metered:
        """What the answer came to."""
        self._take(self._splitter.finish(), whole=True)
        return self._reply.metered(streamed=True)

    def _take(self, line: bytes, *, whole: bool) -> None:
        # A line beyond the bound mostly comes in pieces, and costs itself only.
        spoilt, self._overlong = self._overlong or not whole or len(line) > self._max_bytes, not whole
        if not spoilt and line.lstrip().startswith(b"{") and not self._reply.skips(line, b""):
            self._reply.add(json_text.parse(line), b"")


class ObjectsMeter:
    """Reads the objects of one JSON array as they come, or a body that is one object."""

    __slots__ = ("_reply", "_splitter")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._splitter = ObjectSplitter(MAX_JSON_BYTES)

    def feed(self, data: bytes, /) -> None:
        """Reads the objects that ``data`` completes."""
        for value in self._splitter.feed(data):
            self._reply.add(json_text.parse(value), b"")

    def peek(self) -> Usage | None:
        """What the objects so far have reported."""
        return self._reply.usage

    def finish(self) -> Metered:
        """What the answer came to."""
        if not self._splitter.whole:
            # What was cut is a value that cannot be read.
            self._reply.add(None, b"")
        return self._reply.metered(streamed=True)
