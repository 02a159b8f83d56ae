"""Server-sent events, split out of bytes that come in any pieces.

The rule: lines are split as the HTML standard says (LF, CR or CRLF, section 9.2.6), memory is bounded whatever comes,
and each byte is looked at a bounded number of times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A megabyte holds some 250,000 tokens of text or a minute of audio; providers send a few hundred bytes at a time.
MAX_LINE_BYTES = 1 << 20
MAX_EVENT_BYTES = 1 << 20

# How much is cut into lines at once. A piece of a compressed answer may be decoded into megabytes, and ten million tiny
# lines are half a gigabyte of objects.
_STEP_BYTES = 1 << 16

# What a line costs beside its bytes while it waits for the others of its event.
_LINE_OVERHEAD_BYTES = 64


class LineSplitter:
    """Cuts bytes into lines, each with its ending.

    A line beyond the bound comes out in pieces, of which only the last has an ending. The LF of a CRLF that was cut
    in two comes as a line of its own, right after one that ends with CR.
    """

    __slots__ = ("_max_bytes", "_overlong", "_partial")

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._partial = bytearray()
        self._overlong = False

    @property
    def empty(self) -> bool:
        """Whether it stands between two lines."""
        return not self._partial and not self._overlong

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that ``data`` completes."""
        for start in range(0, len(data), _STEP_BYTES):
            yield from self._split(data[start : start + _STEP_BYTES])

    def _split(self, data: bytes) -> list[bytes]:
        lines = data.splitlines(keepends=True)
        if self._partial:
            self._partial += lines[0]
            if lines[0][-1] not in b"\r\n" and len(self._partial) <= self._max_bytes:
                return []
            lines[0] = bytes(self._partial)
            self._partial.clear()
        elif self._overlong:
            self._overlong = lines[0][-1] not in b"\r\n"
            if self._overlong:
                return lines
        last = lines[-1]
        if last[-1] not in b"\r\n":
            if len(last) > self._max_bytes:
                self._overlong = True
            else:
                self._partial += lines.pop()
        return lines

    def finish(self) -> bytes:
        """The last line, where it has no ending."""
        rest = bytes(self._partial)
        self._partial.clear()
        return rest


def line_field(line: bytes) -> tuple[bytes, bytes]:
    """The field name and value of a line; a comment has an empty name."""
    # A line may have megabytes, which are copied once.
    end = len(line)
    while end and line[end - 1] in b"\r\n":
        end -= 1
    colon = line.find(b":", 0, end)
    if colon < 0:
        return line[:end], b""
    start = colon + 2 if line.startswith(b" ", colon + 1) else colon + 1
    return line[:colon], line[start:end]


class EventReader:
    """Hands on the data of each event.

    ``read(data, event)`` is told the data and the event type, and answers whether it could make something of it. Some
    servers end an event with one line ending instead of two: where a first data line stands by itself it is an event,
    and where it does not it belongs together with the lines that follow, as the standard says. An event of more than
    ``max_bytes`` is passed over.
    """

    __slots__ = ("_data", "_event", "_max_bytes", "_overlong", "_read", "_size", "_splitter", "_was_cr")

    def __init__(self, read: Callable[[bytes, bytes], bool], *, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._read = read
        self._max_bytes = max_bytes
        self._splitter = LineSplitter(max_bytes)
        self._data: list[bytes] = []
        self._size = 0
        self._event = b""
        self._overlong = False
        self._was_cr = False

    def feed(self, data: bytes) -> None:
        """Takes bytes split anywhere."""
        for line in self._splitter.feed(data):
            self._take(line)

    def finish(self) -> None:
        """Hands on an event that the end of the stream cut off from its blank line."""
        self._take(self._splitter.finish() + b"\n")
        self._dispatch()

    def _take(self, line: bytes) -> None:
        was_cr, self._was_cr = self._was_cr, line.endswith(b"\r")
        if was_cr and line == b"\n":
            return
        if self._overlong or len(line) > self._max_bytes:
            self._overlong = not line.endswith((b"\n", b"\r"))
            self._spoil()
        elif line.startswith(b"data"):
            name, value = line_field(line)
            if name == b"data":
                self._take_data(value)
        elif line in (b"\n", b"\r\n", b"\r"):
            self._dispatch()
        elif line.startswith(b"event:"):
            # No event type that means something is longer.
            self._event = line_field(line)[1][:64]

    def _take_data(self, value: bytes) -> None:
        if len(self._data) == 1 and self._read(self._data[0], self._event):
            self._data.clear()
            self._size = 0
        self._size += len(value) + _LINE_OVERHEAD_BYTES
        if self._size > self._max_bytes:
            self._spoil()
        else:
            self._data.append(value)

    def _spoil(self) -> None:
        """Gives up the event until its end: what is too long costs its event."""
        self._data.clear()
        self._size = self._max_bytes

    def _dispatch(self) -> None:
        if self._data:
            self._read(b"\n".join(self._data), self._event)
            self._data.clear()
        self._size = 0
        self._event = b""
