"""One connection of an agent: its bytes, how long it may take for what, and how it ends.

The rule: whatever an agent does or leaves undone, its connection ends within the time-outs, and holds little memory.
"""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Any, cast

from leash_shim.conversation import Conversation
from leash_shim.trouble import where

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from leash_shim.hall import Hall

log = logging.getLogger(__name__)

# What waits to be sent before whoever writes has to wait, and what was received before the agent has to: two frames of
# a fast stream, so that it flows, and few enough that thousands of slow agents fit into the memory.
_MOST_BUFFERED_BYTES = 1 << 16

# An application with a time-out of its own for bodies can say that it was that, so it comes first.
_STALLED_TIMES = 1.5

# What is taken in at a time: a usual request whole, and no more than some hundreds of the smallest chunks or frames. It
# grows for as long as that is little work, as it is for a body in one piece.
_FIRST_SLICE_BYTES = 1 << 12
_QUICK_S = 0.002

# A few round trips of a slow network, in which an agent sees that it need not send the rest.
_LINGER_S = 1.0


class Connection(asyncio.Protocol):
    """One connection, as asyncio drives it. A ``leash_shim.conversation.Link``.

    While no request is under way it has no task, and before its first byte no conversation.
    """

    __slots__ = (
        "_can_write",
        "_closing",
        "_conversation",
        "_deadline_s",
        "_eof",
        "_gone",
        "_hall",
        "_head_begun",
        "_held",
        "_inbox",
        "_pump",
        "_taken",
        "_taken_at_s",
        "_told_gone",
        "_told_to_end",
        "_transport",
        "_unsent",
        "_written",
        "idle_since_s",
    )

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._transport: asyncio.Transport | None = None
        self._conversation: Conversation | None = None
        self._inbox: list[bytes] = []
        self._unsent: list[bytes] = []
        self._held = 0
        self._pump: asyncio.Task[None] | None = None
        self._can_write: asyncio.Event | None = None
        self._head_begun = self._eof = self._gone = self._closing = self._told_to_end = self._told_gone = False
        self._written = self._taken = 0
        self._taken_at_s = 0.0
        self._deadline_s = inf
        self.idle_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass of it
        self._transport.set_write_buffer_limits(high=_MOST_BUFFERED_BYTES)
        self._hall.connections.add(self)
        self.await_request()
        self._deadline_s = min(self._deadline_s, self.idle_since_s + self._hall.patience.header_s)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            self._conversation = self._converse()
            self.spawn(self._conversation.speak_h2)

    def data_received(self, data: bytes) -> None:
        """Asyncio's."""
        if self._closing or self._gone:
            return
        self._inbox.append(data)
        self._held += len(data)
        if not self._head_begun and self in self._hall.idle and not self._is_h2:
            self._head_begun = True
            self._deadline_s = self._hall.clock() + self._hall.patience.header_s
        if self._pump is None:
            self._pump = self.spawn(self._receive)
        elif self._held > _MOST_BUFFERED_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Asyncio's. An agent that has ended its half has gone, as every ASGI server takes it."""
        self._eof = True
        if self._closing and self._transport is not None:
            self._transport.close()
        elif self._pump is None:
            self._pump = self.spawn(self._receive)
        # Over TLS there are no halves: asyncio would warn of the wish to keep one.
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's."""
        del exc
        self._transport = None
        self._closing = True
        self._inbox.clear()
        if self._pump is not None:
            self._pump.cancel()
        if self._can_write is not None:
            self._can_write.set()
        if self._conversation is not None and not self._gone:
            self._gone = True
            self.spawn(self._tell_gone, self._conversation)
        self._hall.left(self)
        self._part()

    def pause_writing(self) -> None:
        """Asyncio's."""
        self._can_write = self._can_write or asyncio.Event()
        self._can_write.clear()
        self._mark_taken()

    def resume_writing(self) -> None:
        """Asyncio's."""
        if self._can_write is not None:
            self._can_write.set()

    async def write(self, data: bytes) -> None:
        """Sends bytes, as fast as the agent takes them; returns at once where it has gone.

        What is written within one turn of the event loop is sent at once: each system call for itself costs more than
        all of HTTP does.
        """
        if self._transport is None or self._closing or not data:
            return
        self._written += len(data)
        self._unsent.append(data)
        if len(data) >= _MOST_BUFFERED_BYTES:
            self._flush()
        elif len(self._unsent) == 1:
            asyncio.get_running_loop().call_soon(self._flush)
        if self._can_write is not None:
            await self._can_write.wait()

    def turned(self, *, idle: bool) -> None:
        """Whether any request is under way."""
        if idle:
            self.await_request()
        else:
            self._hall.idle.pop(self, None)
            self._deadline_s = inf

    def await_request(self) -> None:
        """Begins the time that an idle connection has."""
        if self._closing:
            return
        hall = self._hall
        self._head_begun = False
        hall.idle.pop(self, None)
        hall.idle[self] = None
        self.idle_since_s = hall.clock()
        self._deadline_s = self.idle_since_s + hall.idle_s
        if hall.idle_s <= 0:
            self.end()

    def close(self) -> None:
        """Closes the connection, once what was written is sent.

        An agent that is still sending gets a while to read why: to close while it sends would reset its connection.
        """
        transport, conversation = self._transport, self._conversation
        if transport is None or self._closing:
            return
        self._flush()
        self._closing = True
        self._hall.idle.pop(self, None)
        self._mark_taken()
        if conversation is not None and conversation.expects_more and not self._eof and transport.can_write_eof():
            transport.write_eof()
            self._deadline_s = self._hall.clock() + _LINGER_S
        else:
            transport.close()

    def abort(self) -> None:
        """Cuts the connection."""
        if self._transport is not None:
            self._transport.abort()

    def spawn(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> asyncio.Task[None] | None:
        """Runs a task of this connection, which is cut where that fails."""
        return self._hall.spawn(self._guarded, work, *arguments)

    def ended(self) -> None:
        """An exchange is over."""
        if self._gone and self._conversation is not None and not self._conversation.exchanges:
            self.close()
        self._part()

    def end(self) -> None:
        """Ends an idle connection."""
        self._deadline_s = inf
        self._hall.idle.pop(self, None)
        if self._conversation is not None and self._is_h2:
            self.spawn(self._say_goodbye, self._conversation)
        else:
            self.close()

    def check(self, now_s: float) -> None:
        """Ends the connection, or one of its exchanges, where the agent has taken too long."""
        conversation, hall = self._conversation, self._hall
        if now_s >= self._deadline_s:
            self._late()
        elif self._closing or (self._can_write is not None and not self._can_write.is_set()):
            self._check_taken(now_s)
        if conversation is None or self._gone or not conversation.exchanges:
            return
        for exchange in conversation.stalled(now_s - _STALLED_TIMES * hall.patience.idle_s):
            self.spawn(conversation.give_up, exchange)
        if now_s >= hall.announce_at_s and not self._told_to_end and conversation.is_h2:
            self._told_to_end = True
            self.spawn(conversation.announce_end)

    @property
    def _is_h2(self) -> bool:
        return self._conversation is not None and self._conversation.is_h2

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent and self._transport is not None and not self._closing:
            self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def _late(self) -> None:
        if self._closing:
            self.abort()
        else:
            self.end()

    def _check_taken(self, now_s: float) -> None:
        assert self._transport is not None
        taken = self._written - self._transport.get_write_buffer_size()
        if taken > self._taken:
            self._taken, self._taken_at_s = taken, now_s
        elif now_s - self._taken_at_s >= self._hall.patience.idle_s:
            self.abort()

    def _mark_taken(self) -> None:
        assert self._transport is not None
        self._taken = self._written - self._transport.get_write_buffer_size()
        self._taken_at_s = self._hall.clock()

    async def _receive(self) -> None:
        """Hands on what has come, until there is no more."""
        conversation = self._conversation = self._conversation or self._converse()
        try:
            while self._inbox and not self._closing:
                data = self._inbox[0] if len(self._inbox) == 1 else b"".join(self._inbox)
                self._inbox.clear()
                if self._held > _MOST_BUFFERED_BYTES and self._transport is not None:
                    self._transport.resume_reading()
                self._held = 0
                await self._hand_on(conversation, data)
        finally:
            self._pump = None
        if self._eof and not self._gone:
            self._gone = True
            await self._tell_gone(conversation)

    async def _hand_on(self, conversation: Conversation, data: bytes) -> None:
        """Hands on what has come in slices, between which others get their turn: a few bytes may be a lot of work."""
        size, start = _FIRST_SLICE_BYTES, 0
        while start < len(data) and not self._closing:
            began_s = self._hall.clock()
            await conversation.receive(data[start : start + size])
            start += size
            if start < len(data):
                size = 4 * size if self._hall.clock() - began_s < _QUICK_S else _FIRST_SLICE_BYTES
                await asyncio.sleep(0)

    def _converse(self) -> Conversation:
        transport = self._transport
        assert transport is not None
        return Conversation(
            self._hall.manners,
            self,
            secure=transport.get_extra_info("ssl_object") is not None,
            client=_address(transport.get_extra_info("peername")),
            server=_address(transport.get_extra_info("sockname")),
        )

    async def _tell_gone(self, conversation: Conversation) -> None:
        await conversation.gone()
        self._told_gone = True
        self.ended()

    def _part(self) -> None:
        """Lets go of a conversation of which nothing is left, so that no collector has to find it."""
        conversation = self._conversation
        if conversation is not None and self._transport is None and self._told_gone and not conversation.exchanges:
            self._conversation = None
            conversation.forget()

    async def _say_goodbye(self, conversation: Conversation) -> None:
        if not self._gone:
            await conversation.say_goodbye()
            self.close()

    async def _guarded(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        try:
            await work(*arguments)
        except Exception as error:  # noqa: BLE001 - h2 and h11 raise at what an agent may send; it costs its connection
            log.debug("a connection failed: %s", where(error))
            self.abort()


def _address(name: object) -> tuple[str, int] | None:
    """Host and port; an IPv4 host of a socket that takes both is written as IPv4. None for a Unix socket."""
    match name:
        case (str(host), int(port), *_):
            return host.removeprefix("::ffff:"), port
        case _:
            return None
