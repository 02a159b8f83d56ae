"""One gRPC stream to a daemon, from its hello to its end; gRPC's errors become :class:`LinkLost` here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from leash.client.channel import MAX_PRICES_BYTES, grpc, open_channel
from leash.client.errors import DaemonUnreachable, SessionFailure
from leash.client.launch import ensure_daemon
from leash.client.ticket import Ticket, fetch_ticket
from leash.protocol import NEWEST_PROTOCOL, OLDEST_PROTOCOL, shown
from leash.v1 import shim_pb2
from leash.v1.shim_pb2_grpc import ShimStub

if TYPE_CHECKING:
    from leash.client.paths import Endpoint
    from leash.v1.shim_pb2_grpc import ShimAsyncStub

# A daemon that has just started answers within half a second; one that is stopped or swaps is as good as none.
_HELLO_TIMEOUT_S = 5.0
# 16 MiB of JSON take a second to parse on a slow machine.
_PUT_PRICES_TIMEOUT_S = 20.0


class LinkLost(Exception):  # noqa: N818 (an event in a stream's life, not a fault)
    """The stream is gone; its text says why."""


class LedgerDamaged(LinkLost):
    """The daemon has ended on a damaged ledger: whoever waits for it waits for a person."""


class Link:
    """A stream whose hello was answered. One task may write and one may read."""

    def __init__(
        self,
        endpoint: Endpoint,
        channel: grpc.aio.Channel,
        stub: ShimAsyncStub,
        stream: grpc.aio.StreamStreamCall[shim_pb2.SessionRequest, shim_pb2.SessionResponse],
    ) -> None:
        self._endpoint = endpoint
        self._channel = channel
        self._stub = stub
        self._stream = stream
        self._first: shim_pb2.SessionResponse | None = None
        self.welcome = shim_pb2.Welcome()

    @classmethod
    async def open(cls, endpoint: Endpoint, hello: shim_pb2.Operation) -> Link:
        """Connect and say hello, after starting the daemon where that is the client's to do.

        Raises :class:`LinkLost` for what may work a moment later, ``AccessDenied`` and ``DaemonUnreachable`` as
        :func:`ensure_daemon` does, and :class:`SessionFailure` where the daemon does not take the hello.
        """
        await ensure_daemon(endpoint)
        ticket = await _ticket(endpoint)
        channel = open_channel(endpoint.socket)
        stub = ShimStub(channel)
        # The stub demands an iterator of requests; without one the stream is written to.
        link = cls(endpoint, channel, stub, stub.Session(metadata=ticket))  # type: ignore[call-arg]
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                await link._greet(hello)
        except TimeoutError:
            await link.close()
            raise LinkLost(f"leashd has not answered on {endpoint.socket} for {_HELLO_TIMEOUT_S:.0f} s") from None
        except BaseException:
            await link.close()
            raise
        return link

    async def _greet(self, hello: shim_pb2.Operation) -> None:
        await self.write(shim_pb2.SessionRequest(operations=[hello]))
        response = await self.read()
        if response is None:
            raise LinkLost("leashd ended the stream")
        answer = next((answer for answer in response.answers if answer.op_id == hello.op_id), shim_pb2.Answer())
        if not answer.HasField("welcome"):
            raise SessionFailure(answer.failure.code, answer.failure.message or "leashd did not answer the hello")
        if not OLDEST_PROTOCOL <= answer.welcome.protocol <= NEWEST_PROTOCOL:
            raise SessionFailure(
                shim_pb2.FAILURE_CODE_INVALID,
                f"leashd {answer.welcome.daemon_version} speaks protocol {answer.welcome.protocol}, and this leash "
                f"{shown(OLDEST_PROTOCOL, NEWEST_PROTOCOL)}: upgrade the older of the two, and restart leashd",
            )
        self.welcome = answer.welcome
        # Pushes may have come along with the welcome.
        self._first = response

    async def write(self, request: shim_pb2.SessionRequest) -> None:
        """Send one batch."""
        try:
            await self._stream.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise _lost(error) from error

    async def read(self) -> shim_pb2.SessionResponse | None:
        """Receive one batch, or None at the stream's clean end."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            response = await self._stream.read()
            if isinstance(response, shim_pb2.SessionResponse):
                return response
            code = await self._stream.code()
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from error
        if code is not grpc.StatusCode.OK:
            raise LinkLost(f"leashd ended the stream: {await self._stream.details() or code.name}")
        return None

    async def half_close(self) -> None:
        """Say that nothing more will be written."""
        try:
            await self._stream.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise _lost(error) from error

    async def put_prices(self, text: bytes) -> bytes:
        """Store a price table; returns its SHA-256. Raises :class:`SessionFailure` for a text that is none."""
        request = shim_pb2.PutPricesRequest(text=text)
        ticket = await _ticket(self._endpoint)
        try:
            response = await self._stub.PutPrices(request, timeout=_PUT_PRICES_TIMEOUT_S, metadata=ticket)
        except grpc.aio.UsageError as error:
            raise LinkLost("the link was closed") from error  # while the ticket was fetched
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise SessionFailure(shim_pb2.FAILURE_CODE_INVALID, error.details() or "no price table") from error
            if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED}:
                raise LinkLost(_why(error)) from error
            raise SessionFailure(shim_pb2.FAILURE_CODE_UNAVAILABLE, _why(error)) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # A channel that another task closes cancels its calls, and gRPC raises that where they are awaited.
            raise LinkLost("the link was closed") from None
        return response.sha256

    async def close(self) -> None:
        """End the stream, cleanly where it was half-closed and read to its end."""
        await self._channel.close(grace=None)


async def _ticket(endpoint: Endpoint) -> Ticket:
    """Get a ticket. A daemon that gives none may a moment later, as one that does not answer may."""
    try:
        return await fetch_ticket(endpoint)
    except DaemonUnreachable as error:
        raise LinkLost(str(error)) from error


def check_prices(text: bytes) -> None:
    """Refuse a price table that is larger than the contract allows."""
    if len(text) > MAX_PRICES_BYTES:
        raise SessionFailure(
            shim_pb2.FAILURE_CODE_INVALID, f"the price table has {len(text)} bytes, more than {MAX_PRICES_BYTES}"
        )


def _lost(error: BaseException) -> LinkLost:
    damaged = isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.DATA_LOSS
    return LedgerDamaged(_why(error)) if damaged else LinkLost(_why(error))


def _why(error: BaseException) -> str:
    details = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
    return details or "the connection to leashd broke"
