"""HTTP on one connection, as hypercorn speaks it: bytes in, exchanges with the application, bytes out.

The rule: what hypercorn and h2 do not document as their interface is used here, and nowhere else. Here is also what
they leave to whoever drives them: a body that nobody reads holds up its own stream and no other, what is written for a
connection that has gone returns, and an h2 connection can be left without cutting a stream.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import h11
from h2.errors import ErrorCodes
from h2.events import DataReceived
from h2.exceptions import ProtocolError
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body
from hypercorn.protocol.h2 import BUFFER_HIGH_WATER, BUFFER_LOW_WATER, BufferCompleteError, H2Protocol, StreamBuffer
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol
from hypercorn.typing import ConnectionState
from hyperframe.frame import GoAwayFrame

from leash_shim.exchanges import HttpExchange
from leash_shim.request_head import MAX_HEAD_BYTES, framing_fault, malformed
from leash_shim.trouble import where

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from h2.events import Event as H2Event
    from h2.events import RequestReceived

    from leash_shim.asgi import Message, Receive, Send

    Application = Callable[[Message, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

# Hypercorn announces the end of a connection after so many requests with a header that the provider never sent.
_MOST_REQUESTS = 1 << 31

# RFC 9113 section 6.5.2 wants no fewer; an agent that needs more at once opens another connection.
_MOST_STREAMS = 100

# An agent may reset its streams as it opens them, while what it asked for is read to its end: it gets no more of those.
_MOST_EXCHANGES = 2 * _MOST_STREAMS

# What an h2 connection may have sent of all its bodies before they are taken; of a single one it is RFC 9113's 64 KiB.
_MOST_UNREAD_BYTES = 1 << 20

# RFC 9113 section 6.8: with this as its last stream a GOAWAY announces the end, and refuses nothing yet.
_LAST_STREAM = (1 << 31) - 1


class Link(Protocol):
    """What a conversation needs of its connection."""

    async def write(self, data: bytes, /) -> None:
        """Sends bytes, as fast as the agent takes them; returns at once where it has gone."""
        ...

    def turned(self, *, idle: bool) -> None:
        """Whether any request is under way."""
        ...

    def close(self) -> None:
        """Closes the connection, once what was written is sent."""
        ...

    def spawn(self, work: Callable[..., Coroutine[Any, Any, None]], /, *arguments: Any) -> object:
        """Runs a task of this connection, which is cut where that fails."""
        ...

    def ended(self) -> None:
        """An exchange is over."""
        ...


class _Flag:
    """An event as hypercorn wants it, where setting and clearing are awaited."""

    __slots__ = ("_set", "_waiting")

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[asyncio.Future[None]] = []

    async def set(self) -> None:
        self._set = True
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def clear(self) -> None:
        self._set = False

    async def wait(self) -> None:
        if not self._set:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def is_set(self) -> bool:
        return self._set


class _Context:
    """What hypercorn's protocols ask of their surroundings. ``terminated`` would refuse requests; it is never set."""

    event_class = _Flag

    def __init__(self) -> None:
        self.terminated = _Flag()

    async def mark_request(self) -> None:
        """Counted elsewhere."""


class Manners:
    """What all conversations of one server share: the application, and how HTTP is spoken."""

    def __init__(self, app: Application, clock: Callable[[], float]) -> None:
        self.app = app
        self.clock = clock
        self.context = _Context()
        self.state = ConnectionState({})
        config = Config()
        config.accesslog = None
        config.errorlog = None
        config.include_date_header = False
        config.include_server_header = False
        config.keep_alive_max_requests = _MOST_REQUESTS
        config.h11_max_incomplete_size = MAX_HEAD_BYTES
        config.h2_max_concurrent_streams = _MOST_STREAMS
        self.config = config


class Conversation:
    """One connection's HTTP. ``receive`` is called by one task at a time.

    An exception of ``receive`` or ``gone`` is hypercorn's or h2's failure, and the end of the connection.
    """

    __slots__ = ("_client", "_link", "_manners", "_protocol", "_secure", "_server", "exchanges")

    def __init__(
        self,
        manners: Manners,
        link: Link,
        *,
        secure: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
    ) -> None:
        self._manners = manners
        self._link = link
        self._secure = secure
        self._client = client
        self._server = server
        self.exchanges: set[HttpExchange] = set()
        self._protocol: _H11 | _H2 = _H11(*self._surroundings())

    @property
    def is_h2(self) -> bool:
        """Whether this is HTTP/2."""
        return isinstance(self._protocol, _H2)

    @property
    def expects_more(self) -> bool:
        """Whether an HTTP/1.1 agent may be sending what nobody is going to read."""
        return isinstance(self._protocol, _H11) and self._protocol.connection.their_state in (h11.SEND_BODY, h11.ERROR)

    async def speak_h2(self) -> None:
        """Begins HTTP/2, as TLS has negotiated it or the agent knew beforehand."""
        self._protocol = _H2(*self._surroundings())
        await self._protocol.initiate()

    async def receive(self, data: bytes) -> None:
        """Takes what the agent sent."""
        try:
            await self._protocol.handle(RawData(data))
        except H2ProtocolAssumedError as assumed:
            await self.speak_h2()
            await self._protocol.handle(RawData(assumed.data))

    async def gone(self) -> None:
        """The agent has gone, or is taken for it: every exchange is told, and what it writes goes nowhere."""
        await self._protocol.handle(Closed())
        if isinstance(self._protocol, _H2):
            for buffer in self._protocol.stream_buffers.values():
                await buffer.close()

    def forget(self) -> None:
        """Lets go of hypercorn's protocol, which holds this conversation in turn, once all of it is over."""
        del self._protocol

    async def announce_end(self) -> None:
        """Asks an h2 agent to open no more streams here; those that it opens all the same are served."""
        await self._link.write(GoAwayFrame(0, last_stream_id=_LAST_STREAM, error_code=0).serialize())

    async def say_goodbye(self) -> None:
        """Tells an h2 agent which of its streams were served, before its connection is closed."""
        if isinstance(self._protocol, _H2):
            await self._protocol.say_goodbye()

    def stalled(self, before_s: float) -> list[HttpExchange]:
        """The exchanges whose agent owes a part of a body, or takes nothing of its h2 stream, since before then."""
        return [
            exchange
            for exchange in self.exchanges
            if (exchange.owed_since_s or before_s) < before_s
            or (self.is_h2 and (exchange.sending_since_s or before_s) < before_s)
        ]

    async def give_up(self, exchange: HttpExchange) -> None:
        """Takes an exchange's agent for gone, unless the exchange has ended meanwhile."""
        if exchange not in self.exchanges:
            return
        exchange.give_up()
        if isinstance(self._protocol, _H2):
            await self._protocol.reset(exchange.stream_id)

    async def spawn_app(
        self, app: Application, config: Config, scope: Message, send: Callable[[Message | None], Awaitable[None]]
    ) -> Callable[[Message], Awaitable[None]]:
        """Hypercorn's: begins an exchange; returns where its messages are put."""
        del config
        if len(self.exchanges) >= _MOST_EXCHANGES:
            raise RuntimeError("more requests than answers")
        stream_id: int = send.__self__.stream_id  # type: ignore[attr-defined]  # a method of hypercorn's stream
        taken = self._protocol.taken if isinstance(self._protocol, _H2) else None
        exchange = HttpExchange(stream_id, send, clock=self._manners.clock, taken=taken)
        self.exchanges.add(exchange)
        self._link.spawn(self._run, app, exchange, scope)
        return exchange.put

    def spawn(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        """Hypercorn's: a task of the connection's own."""
        self._link.spawn(work, *arguments)

    async def _run(self, app: Application, exchange: HttpExchange, scope: Message) -> None:
        try:
            await app(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - hypercorn answers 500 for it, or cuts what had begun
            log.error("an application failed: %s", where(error))  # noqa: TRY400 - its text may quote the request
        finally:
            try:
                if exchange.is_cut and isinstance(self._protocol, _H2):
                    await self._protocol.reset(exchange.stream_id)
                await exchange.end()
            finally:
                self.exchanges.discard(exchange)
                self._link.ended()

    async def _send(self, event: RawData | Closed | Updated) -> None:
        if isinstance(event, RawData):
            await self._link.write(event.data)
        elif isinstance(event, Updated):
            self._link.turned(idle=event.idle)
        else:
            self._link.close()

    def _surroundings(self) -> tuple[Any, ...]:
        """The arguments of hypercorn's protocols."""
        manners = self._manners
        return (
            manners.app,
            manners.config,
            manners.context,
            self,
            manners.state,
            self._secure,
            self._client,
            self._server,
            self._send,
        )


class _H11(H11Protocol):
    """HTTP/1.1, which becomes HTTP/2 only for an agent that begins with its preface.

    An ``Upgrade: h2c`` is passed over, as RFC 9110 section 7.8 allows and RFC 9113 section 3.1 suggests: proxies that
    forward it can be made to lose sight of what follows. A body with two lengths is refused, as RFC 9112 section 6.3
    allows: a proxy before leash may have gone by the other one, and taken the rest for somebody else's request.
    """

    async def _create_stream(self, request: h11.Request) -> None:
        if status := framing_fault(request.headers, request.http_version):
            await self._send_error_response(status)
            await self.send(Closed())
            return
        await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        """Hypercorn's, with a word of what is wrong."""
        from leash_shim import refusal  # noqa: PLC0415 (most conversations never need it)

        answer = refusal.failed(status_code, "malformed_request", malformed(status_code))
        headers = [*answer.headers, (b"connection", b"close")]
        await self._send_h11_event(h11.Response(headers=headers, status_code=status_code))
        with suppress(h11.LocalProtocolError):  # to a HEAD there is no body
            await self._send_h11_event(h11.Data(data=answer.body))
            await self._send_h11_event(h11.EndOfMessage())

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.method == b"PRI" and event.target == b"*" and event.http_version == b"2.0":
            raise H2ProtocolAssumedError(b"PRI * HTTP/2.0\r\n\r\n" + self.connection.trailing_data[0])


class _Buffer(StreamBuffer):
    """What a stream has to send. Hypercorn's own grows without end where the agent takes nothing."""

    async def push(self, data: bytes) -> None:
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) <= BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class _H2(H2Protocol):
    """HTTP/2, with flow control that follows what the application takes, and what the agent does."""

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        await super().initiate(headers, settings)
        self.connection.increment_flow_control_window(_MOST_UNREAD_BYTES)
        await self._flush()

    async def taken(self, stream_id: int, size: int) -> None:
        """Lets the agent send as many bytes again."""
        try:
            self.connection.acknowledge_received_data(size, stream_id)
        except ProtocolError:
            return  # the connection is closed
        await self._flush()

    async def reset(self, stream_id: int) -> None:
        """Ends one stream for good."""
        with suppress(ProtocolError):
            self.connection.reset_stream(stream_id, error_code=ErrorCodes.CANCEL)
        await self._flush()
        await self._close_stream(stream_id)
        if stream_id in self.stream_buffers:
            await self.stream_buffers[stream_id].close()

    async def say_goodbye(self) -> None:
        """Ends the connection for good."""
        try:
            self.connection.close_connection()
        except ProtocolError:
            return
        await self._flush()

    async def _create_stream(self, request: RequestReceived) -> None:
        if not all(value.isascii() for name, value in request.headers if name.startswith(b":")):
            # Hypercorn would fail with the whole connection; RFC 9113 section 8.1.1 has it cost its stream.
            self.connection.reset_stream(request.stream_id, error_code=ErrorCodes.PROTOCOL_ERROR)
            return
        await super()._create_stream(request)
        self.stream_buffers[request.stream_id] = _Buffer(self.context.event_class)

    async def _handle_events(self, events: list[H2Event]) -> None:
        """As hypercorn does, but for bodies: it fails where their stream has ended, and waits where it is not read."""
        for event in events:
            if not isinstance(event, DataReceived):
                await super()._handle_events([event])
                continue
            size, whole = len(event.data), event.flow_controlled_length
            stream = self.streams.get(event.stream_id)
            if stream is None or stream.closed:
                size = 0
            elif size:
                await stream.handle(Body(stream_id=event.stream_id, data=event.data))
            # Padding is taken at once, and all of what comes for a stream that has ended.
            if whole > size:
                await self.taken(event.stream_id, whole - size)
        await self._flush()
