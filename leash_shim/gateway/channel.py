"""What a gateway's supervisor and a worker tell each other: lines of JSON over a socket pair.

The rule: a worker does what it is told here, and nothing else makes it leave but the end of this channel, by which it
sees that its supervisor has gone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

if TYPE_CHECKING:
    import socket

# A configuration has the price table in it, of at most 16 MiB; JSON may double that, where it is all quotes.
MAX_LINE_BYTES = 40 << 20

# A side that lives takes a line in milliseconds; one that is stopped must not hold up the end of the others.
_SEND_TIMEOUT_S = 5.0

_T = TypeVar("_T", bound=msgspec.Struct)


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker is told: a configuration (encoded), at first and on a reload; to drain; to cut what is left."""

    config: msgspec.Raw = msgspec.Raw(b"null")
    drain: bool = False
    cut: bool = False


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker tells: it serves; it has taken a new configuration; or why it could do neither."""

    ready: bool = False
    reloaded: bool = False
    failed: str = ""


class ChannelBroken(Exception):  # noqa: N818 - nobody's error: the other side has gone
    """The other side has gone, or says what cannot be read."""


class Channel:
    """One end of a channel. ``open`` takes the socket over."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: socket.socket) -> Self:
        """The channel over one socket of a pair."""
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE_BYTES))

    async def send(self, message: msgspec.Struct) -> None:
        """Tells something; where nobody listens any more, that is seen at the next ``receive``.

        It does not wait for long for a side that reads nothing: what was told stays told, and is read when it goes on.
        """
        try:
            self._writer.write(msgspec.json.encode(message) + b"\n")
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await self._writer.drain()
        except (ConnectionError, RuntimeError, TimeoutError):
            return

    async def receive(self, kind: type[_T]) -> _T:
        """The next line. ChannelBroken."""
        try:
            line = await self._reader.readuntil()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
            raise ChannelBroken(type(error).__name__) from None
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.MsgspecError as error:
            raise ChannelBroken(str(error)) from None

    def close(self) -> None:
        """Ends the channel."""
        self._writer.close()
