"""One request's messages on their way to the application, and its answer's on their way back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from leash_shim.asgi import Message

# What of a body waits for the application. It takes a body as it comes, so this is filled only by one that it does not
# want, or that it sends on more slowly; with the largest read on top it bounds what one request holds here.
_MOST_QUEUED_BYTES = 1 << 18


class HttpExchange:
    """Between one stream of a connection and the application, which is called with ``receive`` and ``send``.

    ``stream_id`` is HTTP/2's, 1 in HTTP/1.1. ``owed_since_s`` says since when the agent has sent nothing of a body
    that is not at its end, ``sending_since_s`` since when it has not taken what is sent; None where that is not so.
    """

    __slots__ = (
        "_clock",
        "_messages",
        "_over",
        "_queued",
        "_room",
        "_send",
        "_started",
        "_taken",
        "owed_since_s",
        "sending_since_s",
        "stream_id",
    )

    def __init__(
        self,
        stream_id: int,
        send: Callable[[Message | None], Awaitable[None]],
        *,
        clock: Callable[[], float],
        taken: Callable[[int, int], Awaitable[None]] | None,
    ) -> None:
        """``taken`` is told the stream and how many bytes of its body were taken; with it, ``put`` never waits."""
        self.stream_id = stream_id
        self._send = send
        self._clock = clock
        self._taken = taken
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._queued = 0
        self._room: asyncio.Event | None = None
        self._started = False
        self._over = False
        self.owed_since_s: float | None = clock()
        self.sending_since_s: float | None = None

    async def put(self, message: Message) -> None:
        """Hands on what came. Waits while much of a body waits, but not for an application that has answered."""
        self.owed_since_s = None
        if message["type"] != "http.request":
            self._messages.put_nowait(message)
            return
        size = len(message["body"])
        if self._over:
            await self._take(size)
            return
        self._messages.put_nowait(message)
        self._queued += size
        while self._taken is None and self._queued > _MOST_QUEUED_BYTES and not self._over:
            self._room = self._room or asyncio.Event()
            self._room.clear()
            await self._room.wait()
        if message["more_body"]:
            self.owed_since_s = self._clock()

    def give_up(self) -> None:
        """Tells the application that its agent has gone."""
        self.owed_since_s = None
        self._messages.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        """ASGI's."""
        message = await self._messages.get()
        size = len(message.get("body", b""))
        if size:
            self._queued -= size
            if self._room is not None:
                self._room.set()
            await self._take(size)
        return message

    async def send(self, message: Message) -> None:
        """ASGI's."""
        self._started = True
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered()
        self.sending_since_s = self._clock()
        try:
            await self._send(message)
        finally:
            self.sending_since_s = None

    @property
    def is_cut(self) -> bool:
        """Whether an answer has begun and not come to its end."""
        return self._started and not self._over

    async def end(self) -> None:
        """The application has returned, and takes and sends no more."""
        self._answered()
        await self._take(self._queued)
        send, self._send = self._send, _nowhere  # hypercorn's stream, which holds this exchange in turn
        await send(None)

    async def _take(self, size: int) -> None:
        if size and self._taken is not None:
            await self._taken(self.stream_id, size)

    def _answered(self) -> None:
        self._over = True
        if self._room is not None:
            self._room.set()


async def _nowhere(message: Message | None) -> None:
    """Where an exchange sends that has ended."""
