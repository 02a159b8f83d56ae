"""The way to the provider: one HTTP client for all calls, which adds nothing, and neither retries nor redirects.

The rule: a request is written to at most one connection, once, and ``UpstreamRequest.sent`` says whether a byte of it
may have been written. While it is False, the provider has nothing of the call; from then on it may have all of it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Self

import aiohttp
from aiohttp.payload import Payload
from anyio.lowlevel import checkpoint_if_cancelled
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from aiohttp import AddrInfoType
    from aiohttp.abc import AbstractStreamWriter

    from leash_shim.mounts import Target

# A provider that has not completed DNS, TCP and TLS by then is not there; SDKs give up on connecting after 5 to 30 s.
_CONNECT_TIMEOUT_S = 30.0

# Below the idle time-outs of common servers (60 s and more) and long enough for an agent's next step: a connection that
# the provider closes while a request is on its way costs an unresolved call.
_KEEP_ALIVE_S = 15.0

# Names are asked for again after this: providers move between addresses within a minute or so.
_DNS_CACHE_S = 30

# How much of an answer is buffered before the provider is made to wait: enough to keep a fast stream flowing, and
# bounded per call when the agent reads slowly.
_READ_BUFFER_BYTES = 1 << 16

# And of that how much is passed on at a time: it stands once more on its way to the agent.
_MOST_READ_BYTES = 1 << 16

# How much the kernel takes of an answer that is not read. Left to itself it takes many megabytes for each agent that
# reads slowly; with this a provider across an ocean still sends a megabyte a second.
_RECEIVE_BUFFER_BYTES = 1 << 18

# Providers' own limits on one header line are 8 to 32 KiB; the client's default of 8,190 bytes has been seen too small.
_MAX_FIELD_BYTES = 1 << 16

# A large request goes out in slices, so that one agent's upload does not hold the event loop.
_WRITE_SLICE_BYTES = 1 << 18

# RFC 9110 section 15: an answer below is only the announcement of one, and above there is none.
_FIRST_FINAL_STATUS = 200
_LAST_STATUS = 599

# The client adds none of these: the provider gets what the agent sent.
_NO_AUTOMATIC_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class UpstreamFailure(Exception):  # noqa: N818 - it is an outcome to be told, and not always an error of ours
    """No answer came. Whether the provider has the request is told by ``UpstreamRequest.sent``."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class UpstreamCut(Exception):  # noqa: N818 - as above
    """An answer began and did not come to its end."""


class _Body(Payload):
    """A request body that is written once, and knows when that begins.

    The client library writes the request's head together with the first bytes of its body, so nothing is on the wire
    before ``write`` is called.
    """

    _autoclose = True

    def __init__(
        self, chunks: bytes | AsyncIterator[bytes], size: int | None, on_written: Callable[[], None] | None
    ) -> None:
        super().__init__(chunks)
        self._size = size
        self._on_written = on_written
        self.started = False
        self.withheld = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not offered: a body is never shown as text."""
        del encoding, errors
        raise TypeError("a request body is not text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Writes the body, the first time; any other time it refuses, which fails the attempt before it is sent."""
        if self.started or self.withheld:
            raise RuntimeError("a request is sent once, and not at all where it was withheld")
        self._consumed = True
        transport = writer.transport
        # On a pooled connection that has closed meanwhile the write fails without a byte.
        self.started = transport is not None and not transport.is_closing()
        chunks = self._value
        if not isinstance(chunks, bytes):
            written = 0
            async for chunk in chunks:
                written += len(chunk)
                if self._size is not None and written > self._size:
                    break
                await writer.write(chunk)
            if self._size is not None and written != self._size and transport is not None:
                # The provider would take the next request on this connection for a part of this one, or the reverse.
                transport.abort()
                raise RuntimeError("a body is not as long as was announced")
        elif len(chunks) <= _WRITE_SLICE_BYTES:
            await writer.write(chunks)
        else:
            view = memoryview(chunks)
            for start in range(0, len(view), _WRITE_SLICE_BYTES):
                await writer.write(view[start : start + _WRITE_SLICE_BYTES])
        # An answer may take minutes, and nothing reads the request again.
        self._value = b""
        if self._on_written is not None:
            self._on_written()

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """As ``write``: the length announced is the body's own."""
        del content_length
        await self.write(writer)


class UpstreamRequest:
    """One request to a provider. A body of None is none at all; a stream's ``size`` is in bytes, None if not known.

    ``on_written`` is called once the body is written and held no longer.
    """

    __slots__ = ("_body", "headers", "method", "target", "url")

    def __init__(  # noqa: PLR0913 - the parts of an HTTP request
        self,
        *,
        method: str,
        target: Target,
        query: str,
        headers: list[tuple[str, str]],
        body: bytes | AsyncIterator[bytes] | None,
        size: int | None = None,
        on_written: Callable[[], None] | None = None,
    ) -> None:
        self.method = method
        self.target = target
        location = target.origin + target.path
        self.url = URL(f"{location}?{query}" if query else location, encoded=True)
        self.headers = headers
        size = len(body) if isinstance(body, bytes) else size
        self._body = None if body is None else _Body(body, size, on_written)

    @property
    def payload(self) -> Payload | None:
        """The body as the client library takes it."""
        return self._body

    def withhold(self) -> None:
        """Has nothing of the request written from here on; what ``sent`` says is then final."""
        if self._body is not None:
            self._body.withheld = True

    @property
    def sent(self) -> bool:
        """Whether a byte of the request may have reached the provider. A request without a body always says so."""
        return self._body is None or self._body.started


class UpstreamAnswer:
    """A provider's answer: its head, and its body as it comes, in its content encoding."""

    __slots__ = ("_content", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content
        self.status = response.status
        self.headers = response.raw_headers

    async def read(self) -> bytes:
        """What has come, as soon as there is something; empty at the end. UpstreamCut where it ends too early."""
        # A provider that sends faster than it is read lets the reader never wait, or only for a moment: anyio's
        # cancellation, which is for those who wait, might not come through for as long as that goes on.
        await checkpoint_if_cancelled()
        try:
            return await self._content.read(_MOST_READ_BYTES)
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamCut(type(error).__name__) from error

    @property
    def ended(self) -> bool:
        """Whether all of the body has come and was read."""
        return self._content.at_eof()

    def close(self) -> None:
        """Cuts an answer that did not end. One that did has given its connection back already."""
        self._response.close()


class Upstream:
    """The client for every provider. An async context manager: leaving it closes its connections."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Opens the client in the running loop; connections are made on demand."""
        connector = aiohttp.TCPConnector(
            limit=0,  # the daemon bounds the calls of a run; a second bound here would only make admitted calls wait
            keepalive_timeout=_KEEP_ALIVE_S,
            ttl_dns_cache=_DNS_CACHE_S,
            socket_factory=_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_NO_AUTOMATIC_HEADERS,
            read_bufsize=_READ_BUFFER_BYTES,
            max_line_size=_MAX_FIELD_BYTES,
            max_field_size=_MAX_FIELD_BYTES,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connections, idle or not."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """The head of the answer to a request, sent once. UpstreamFailure where none comes; no bound on its time."""
        if self._session is None:
            raise RuntimeError("the upstream client is not open")
        try:
            response = await self._session.request(
                request.method, request.url, headers=request.headers, data=request.payload, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error) from error
        if response.status < _FIRST_FINAL_STATUS:
            response.close()
            raise UpstreamFailure("it switched protocols, which nobody had asked for")
        if response.status > _LAST_STATUS:
            response.close()
            raise UpstreamFailure("its answer is not HTTP")
        return UpstreamAnswer(response)


def _socket(address: AddrInfoType) -> socket.socket:
    """A socket for a connection to a provider; its buffer has to be set before it is connected."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    return made


def _failure(error: Exception) -> UpstreamFailure:
    """An exception of the client library, told in words of our own: its text may quote what was on the wire."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return UpstreamFailure(f"no connection within {_CONNECT_TIMEOUT_S:.0f} s", timed_out=True)
        case aiohttp.ClientConnectorDNSError():
            return UpstreamFailure("its name does not resolve")
        case aiohttp.ClientConnectorCertificateError():
            return UpstreamFailure("its certificate is not trusted")
        case aiohttp.ClientSSLError():
            return UpstreamFailure("TLS failed")
        case aiohttp.ClientConnectorError():
            return UpstreamFailure(error.os_error.strerror or "no connection")
        case aiohttp.ClientResponseError():
            return UpstreamFailure("its answer is not HTTP")
        case asyncio.TimeoutError():
            return UpstreamFailure("it timed out", timed_out=True)
        case aiohttp.ClientError() | OSError():
            return UpstreamFailure("the connection was lost")
        case _:
            return UpstreamFailure("the request cannot be written")
