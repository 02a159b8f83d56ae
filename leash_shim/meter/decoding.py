"""Content encodings: a copy of a compressed answer is decoded as it comes, so that it can be metered.

The rule: a broken or hostile body costs the metering and nothing else. No decoder raises, none keeps more than its
window, and none turns a few bytes into many.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

# A body may be this long, and beyond it this many times as long as what it was decoded from. Event streams, which
# repeat themselves most, come to 10 to 50 times; a bomb to 1,000 times (deflate) and far more (brotli, zstd). So the
# work stays in proportion to the bytes that the provider sends, and one piece of input gives a bounded output.
ALLOWANCE_BYTES = 8 << 20
MAX_RATIO = 200

# Servers apply one encoding; two may come from a proxy behind a server.
_MAX_ENCODINGS = 4

# What RFC 9659 lets a server use over HTTP.
_ZSTD_WINDOW_BYTES = 8 << 20

# The zstd decoder has no bound on its output, and four bytes can stand for 128 KiB: in steps of this size one step
# gives 8 MiB at most.
_ZSTD_STEP_BYTES = 256

_GZIP_MAGIC = b"\x1f\x8b"

# Each costs a decompressor and a copy of what follows it; a server that compresses each chunk by itself has hundreds.
_MAX_GZIP_MEMBERS = 1_000


class Decoder(Protocol):
    """Turns a body in its content encoding into the body."""

    @property
    def broken(self) -> bool:
        """Whether decoding was given up: from there on nothing of the body is given out."""
        ...

    def feed(self, data: bytes, /) -> bytes:
        """The decoded bytes that ``data`` gives; none once it is broken."""
        ...

    def finish(self) -> bytes:
        """What is left at the body's end."""
        ...


class _Overflow(Exception):  # noqa: N818 - it never leaves this module
    """More than a body that is no bomb would give."""


class _Codec(Protocol):
    """One encoding. It may raise what its library raises."""

    def feed(self, data: bytes, limit: int, /) -> bytes:
        """The output for ``data``. Where that is more than ``limit`` bytes: _Overflow, or somewhat more than these."""
        ...

    def finish(self) -> bytes:
        """What is left at the end."""
        ...


class _Deflate:
    """Deflate with its zlib wrapping (RFC 9110 section 8.4.1.2), or raw, which old servers send under the same name."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: zlib._Decompress | None = None

    def feed(self, data: bytes, limit: int, /) -> bytes:
        if self._stream is None:
            self._head += data
            if len(self._head) < 2:
                return b""
            data, self._head = self._head, b""
            wrapped = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        # A limit of zero would stand for none.
        output = self._stream.decompress(data, limit + 1)
        if self._stream.unconsumed_tail:
            raise _Overflow
        return output

    def finish(self) -> bytes:
        return b"" if self._stream is None else self._stream.flush()


class _Gzip:
    """Gzip, of any number of members (RFC 1952 section 2.2); what follows them is ignored."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._rest = b""
        self._members = 1

    def feed(self, data: bytes, limit: int, /) -> bytes:
        output = []
        while data:
            if self._stream.eof:
                data, self._rest = self._rest + data, b""
                if len(data) < len(_GZIP_MAGIC):
                    self._rest = data
                    break
                if not data.startswith(_GZIP_MAGIC):
                    break
                self._members += 1
                if self._members > _MAX_GZIP_MEMBERS:
                    raise _Overflow
                self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            piece = self._stream.decompress(data, limit + 1)
            limit -= len(piece)
            if limit < 0 or self._stream.unconsumed_tail:
                raise _Overflow
            output.append(piece)
            data = self._stream.unused_data
        return b"".join(output)

    def finish(self) -> bytes:
        return self._stream.flush()


class _Brotli:
    def __init__(self) -> None:
        import brotli  # type: ignore[import-untyped]  # noqa: PLC0415 - only where it is used

        self._stream = brotli.Decompressor()

    def feed(self, data: bytes, limit: int, /) -> bytes:
        if self._stream.is_finished():
            return b""
        output: bytes = self._stream.process(data, output_buffer_limit=limit + 1)
        if not self._stream.can_accept_more_data():
            raise _Overflow
        return output

    def finish(self) -> bytes:
        return b""


class _Zstd:
    def __init__(self) -> None:
        import zstandard  # noqa: PLC0415 - 15 ms, and only where a provider compresses with it

        self._stream = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj(
            read_across_frames=True
        )

    def feed(self, data: bytes, limit: int, /) -> bytes:
        output = []
        for start in range(0, len(data), _ZSTD_STEP_BYTES):
            piece = self._stream.decompress(data[start : start + _ZSTD_STEP_BYTES])
            limit -= len(piece)
            if limit < 0:
                raise _Overflow
            output.append(piece)
        return b"".join(output)

    def finish(self) -> bytes:
        return b""


class _Bounded:
    """A codec within its budget of output bytes, whose errors end it."""

    __slots__ = ("_budget_bytes", "_codec", "broken")

    def __init__(self, codec: _Codec) -> None:
        self._codec = codec
        self._budget_bytes = ALLOWANCE_BYTES
        self.broken = False

    def feed(self, data: bytes, received_bytes: int) -> bytes:
        """The output for ``data``, after ``received_bytes`` more from the provider."""
        self._budget_bytes += MAX_RATIO * received_bytes
        if self.broken or not data:
            return b""
        return self._spend(lambda: self._codec.feed(data, self._budget_bytes))

    def finish(self) -> bytes:
        return b"" if self.broken else self._spend(self._codec.finish)

    def _spend(self, produce: Callable[[], bytes]) -> bytes:
        try:
            output = produce()
        except Exception:  # noqa: BLE001 - three libraries, each with its own errors; all mean the same here
            self.broken = True
            return b""
        self._budget_bytes -= len(output)
        if self._budget_bytes < 0:
            self.broken = True
            return b""
        return output


class _Chain:
    """The decoders of a list of encodings, the last applied first. An empty one is identity."""

    __slots__ = ("_stages",)

    def __init__(self, stages: list[_Bounded]) -> None:
        self._stages = stages

    @property
    def broken(self) -> bool:
        return any(stage.broken for stage in self._stages)

    def feed(self, data: bytes, /) -> bytes:
        received_bytes = len(data)
        for stage in self._stages:
            data = stage.feed(data, received_bytes)
        return data

    def finish(self) -> bytes:
        rest = b""
        for stage in self._stages:
            rest = stage.feed(rest, 0) + stage.finish()
        return rest


_CODECS: dict[str, Callable[[], _Codec]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}


def decoder(content_encoding: str) -> Decoder | None:
    """A decoder for the value of a Content-Encoding header; None where it names an encoding that is not known.

    An empty value and ``identity`` pass the bytes on; a comma list is undone from its end.
    """
    names = [stripped for name in content_encoding.lower().split(",") if (stripped := name.strip())]
    names = [name for name in names if name != "identity"]
    if len(names) > _MAX_ENCODINGS or any(name not in _CODECS for name in names):
        return None
    return _Chain([_Bounded(_CODECS[name]()) for name in reversed(names)])
