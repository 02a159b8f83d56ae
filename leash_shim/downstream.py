"""The agent's side of one exchange, over ASGI: the body of its request, and the answer that goes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from anyio import move_on_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from leash_shim.asgi import Receive, Send
    from leash_shim.headers import Headers
    from leash_shim.held_bodies import HeldBody
    from leash_shim.refusal import Answer

# An agent on this host reads an answer within milliseconds; across a network, two seconds see many megabytes to their
# end, and one that goes on writing for longer is not reading.
_LINGER_SECONDS = 2.0


class HungUp(Exception):  # noqa: N818 - nobody's error: agents may leave
    """The agent closed its connection before its request was whole."""


class BodyTimeout(Exception):  # noqa: N818 - an outcome that is told to the agent
    """The agent has sent nothing of its request's body for too long."""


class BodyTooLarge(Exception):  # noqa: N818 - an outcome that is told to the agent
    """The request's body is above the limit."""


class Downstream:
    """One request's body and answer. Once ``gone``, what is written goes nowhere and costs nothing.

    ``started`` says that an answer's head is out, ``finished`` that its end is. An answer that was started and not
    finished is cut by the server when the exchange ends, so that the agent sees that it is not whole. ``status`` is
    that of the answer, zero before. ``closes`` is asked when the answer begins, and then has it say that its connection
    ends with it, as HTTP/1.1 does.
    """

    __slots__ = (
        "_ahead",
        "_closes",
        "_receive",
        "_send",
        "body_read",
        "finished",
        "gone",
        "received_bytes",
        "sent_bytes",
        "started",
        "status",
    )

    def __init__(self, receive: Receive, send: Send, *, closes: Callable[[], bool] | None = None) -> None:
        self._receive = receive
        self._send = send
        self._closes = closes
        self._ahead = b""
        self.body_read = False
        self.gone = False
        self.started = False
        self.finished = False
        self.status = 0
        self.received_bytes = 0
        self.sent_bytes = 0

    async def read_body(
        self, max_bytes: int, *, held: HeldBody | None = None, announced: int = 0, part_timeout_s: float = 0.0
    ) -> bytes:
        """The whole body, which ``held`` counts.

        BodyTooLarge above ``max_bytes``, HungUp where it does not come to its end, BodyTimeout where nothing of it
        comes for ``part_timeout_s`` (zero waits as long as it takes), and BodiesFull as ``held`` has it.
        ``announced`` is its Content-Length, if it has one: a body that is too large by its own word is not read.
        """
        if announced > max_bytes:
            raise BodyTooLarge
        body = bytearray()
        async for chunk in self.stream_body(part_timeout_s):
            if len(body) + len(chunk) > max_bytes:
                raise BodyTooLarge
            if held is not None:
                held.take(len(chunk))
            body += chunk
        return bytes(body)

    async def stream_body(self, part_timeout_s: float = 0.0) -> AsyncIterator[bytes]:
        """The body as it comes. HungUp where it does not come to its end, BodyTimeout as for ``read_body``."""
        chunk, self._ahead = self._ahead, b""
        if chunk:
            yield chunk
        while not self.body_read:
            try:
                async with asyncio.timeout(part_timeout_s or None):
                    chunk = await self._read_part()
            except TimeoutError:
                raise BodyTimeout from None
            if chunk:
                yield chunk

    async def has_body(self) -> bool:
        """Whether a body comes. HTTP/2 tells it with what comes after the head. HungUp where nothing does."""
        if not self.body_read and not self._ahead:
            self._ahead = await self._read_part()
        return not self.body_read or self._ahead != b""

    async def _read_part(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            self.gone = True
            raise HungUp
        self.body_read = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        self.received_bytes += len(chunk)
        return chunk

    async def drop_body(self) -> None:
        """Reads what is left of the request's body, and keeps none of it."""
        try:
            async for _ in self.stream_body():
                pass
        except HungUp:
            return

    async def until_gone(self) -> None:
        """Returns when the agent has gone, or has its whole answer. Drops what is left of the request's body."""
        while not self.gone:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
            else:
                self.body_read = not message.get("more_body", False)

    async def start(self, status: int, headers: Headers) -> None:
        """Sends the head of an answer."""
        self.started = True
        self.status = status
        if self._closes is not None and self._closes():
            headers = [*headers, (b"connection", b"close")]
        if not self.gone:
            await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        """Sends a part of the answer's body, as fast as the agent takes it."""
        if not self.gone:
            self.sent_bytes += len(data)
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Sends the last part of the answer's body."""
        self.finished = True
        if not self.gone:
            self.sent_bytes += len(data)
            await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def answer(self, answer: Answer, request_id: bytes) -> None:
        """Sends a whole answer of leash's own."""
        await self.start(answer.status, [*answer.headers, (b"x-request-id", request_id)])
        if not self.body_read:
            await self.write(answer.body)
            await self.linger()
            await self.finish()
        else:
            await self.finish(answer.body)

    async def linger(self) -> None:
        """Gives an agent that has its answer already, and sends its request still, a while to end or to leave.

        To close while it writes would reset its connection, and it would never see the answer.
        """
        with move_on_after(_LINGER_SECONDS):
            await self.drop_body()
