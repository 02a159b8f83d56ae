"""What the client sees of a stream for which leash asked for the usage.

The rule: the client gets what the provider would have sent without leash's option, byte for byte, and each event as
soon as its last byte is here. What is held back is the line that is not complete, and an event whose data is not
complete JSON yet: a client can make nothing of either, so no delta is late.
"""

from __future__ import annotations

from leash_shim.meter import json_text
from leash_shim.meter.splice import visible_chunk
from leash_shim.meter.sse import MAX_LINE_BYTES, LineSplitter, line_field

# The lines of one event that wait for a decision. A usage chunk has a kilobyte or two; an event beyond this is none.
_MAX_HELD_BYTES = 1 << 16

_BLANK = (b"\n", b"\r\n", b"\r")
_FIELDS = (b"data", b"event", b"id", b"retry")


class UsageChunkFilter:
    """Takes the extra usage chunk, with its blank line, out of an OpenAI stream, and ``"usage":null`` out of others.

    A comment is no part of an event: it passes, also from between the lines of the one that is taken out. As the
    meter does, the filter takes a data line that is whole by itself for an event, whatever follows it.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_dropped",
        "_dropping",
        "_held",
        "_held_bytes",
        "_overlong",
        "_passing",
        "_splitter",
    )

    def __init__(self) -> None:
        self._splitter = LineSplitter()
        self._held: list[bytes] = []  # the lines of an event on which nothing is decided yet
        self._held_bytes = 0
        self._data: list[bytes] = []  # the data among them
        self._dropping = False  # the event was taken out, and its blank line is still to come
        self._passing = False  # the event is too long to be looked at
        self._overlong = False  # the last piece was not the end of its line
        self._after_cr = False  # the last line ended with a CR, whose LF may be still to come
        self._dropped = False  # the last line was taken out

    def feed(self, data: bytes, /) -> bytes:
        """The bytes that the client may see now."""
        if b'"usage"' not in data and data.endswith((b"\n\n", b"\r\n\r\n")) and self._stands_between_events():
            return data
        return b"".join([self._take(line) for line in self._splitter.feed(data)])

    def finish(self) -> bytes:
        """What was still held back when the body ended."""
        last = self._splitter.finish()
        return (self._take(last) if last else b"") + self._release()

    def _stands_between_events(self) -> bool:
        busy = self._held or self._dropping or self._passing or self._after_cr
        return not busy and self._splitter.empty

    def _take(self, line: bytes) -> bytes:
        """What the client sees upon the next line."""
        if self._after_cr and line == b"\n":
            self._after_cr = False
            if self._held:
                self._held[-1] += line
                return b""
            return b"" if self._dropped else line
        self._after_cr = line.endswith(b"\r")
        self._dropped = False
        if self._overlong or len(line) > MAX_LINE_BYTES:
            self._overlong = not line.endswith((b"\n", b"\r"))
            self._passing = True
            self._dropping = False
            return self._release() + line
        if line in _BLANK:
            return self._end_event(line)
        name, value = line_field(line)
        if self._passing or (name not in _FIELDS and not self._held):
            return line
        if name == b"data":
            self._dropping = False
            return self._take_data(line, value)
        if self._dropping:
            self._dropped = True
            return b""
        return self._hold(line)

    def _take_data(self, line: bytes, value: bytes) -> bytes:
        self._data.append(value)
        if len(self._data) > 1:
            return self._hold(line)
        if not value.lstrip(b" \t").startswith(b"{"):
            return self._release() + line
        if not json_text.is_object(value):
            return self._hold(line)
        visible = visible_chunk(value)
        if visible is None:
            self._dropping = True
            return self._drop()
        if visible is not value:
            start = line.index(value)
            line = line[:start] + visible + line[start + len(value) :]
        return self._release() + line

    def _end_event(self, blank: bytes) -> bytes:
        if self._dropping:
            self._dropping = False
            self._dropped = True
            return b""
        self._passing = False
        if len(self._data) > 1:
            chunk = b"\n".join(self._data)
            if json_text.is_object(chunk) and visible_chunk(chunk) is None:
                return self._drop()
        return self._release() + blank

    def _hold(self, line: bytes) -> bytes:
        self._held.append(line)
        self._held_bytes += len(line)
        if self._held_bytes <= _MAX_HELD_BYTES:
            return b""
        self._passing = True
        return self._release()

    def _release(self) -> bytes:
        held = b"".join(self._held)
        self._forget()
        return held

    def _drop(self) -> bytes:
        comments = b"".join([line for line in self._held if line_field(line)[0] not in _FIELDS])
        self._forget()
        self._dropped = True
        return comments

    def _forget(self) -> None:
        self._held.clear()
        self._data.clear()
        self._held_bytes = 0
