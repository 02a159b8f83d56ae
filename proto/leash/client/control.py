"""A person's requests to a daemon: list, kill, raise, resolve, watch.

What reads goes over the control socket where that may be opened, and else over the one for shims, which shows the
person's own runs; what acts goes over the control socket.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

from leash.client.channel import grpc, open_channel
from leash.client.errors import AccessDenied, ControlError, DaemonUnreachable, NotFound, Refused
from leash.client.launch import reach
from leash.client.paths import denied
from leash.client.probe import Reach, probe
from leash.client.ticket import Ticket, TicketLost, fetch_ticket
from leash.v1 import control_pb2, runs_pb2
from leash.v1.control_pb2_grpc import ControlStub
from leash.v1.runs_pb2_grpc import RunsStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
    from types import TracebackType

    from leash.client.paths import Endpoint
    from leash.v1 import types_pb2

_T = TypeVar("_T")
# In the class below ``list`` is a method.
_Accounts: TypeAlias = "list[types_pb2.Account]"
_Entries: TypeAlias = "list[types_pb2.Entry]"

# Every request is answered from memory or one short transaction; a person does not wait longer for a prompt.
_TIMEOUT_S = 10.0
# A journal of a million calls is a hundred megabytes.
_JOURNAL_TIMEOUT_S = 120.0
# A daemon that is just leaving may be met once, and the one that follows it has just been started.
_ATTEMPTS = 3
_PAUSE_S = 0.05

_CODES: dict[grpc.StatusCode, type[ControlError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.INVALID_ARGUMENT: Refused,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
}


class ControlClient:
    """An async context manager around one connection; it starts a daemon that is started on demand.

    Every method raises :class:`ControlError`: ``NotFound``, ``Refused``, ``AccessDenied`` or ``DaemonUnreachable``
    where that is what happened.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._socket = endpoint.control_socket
        self._channel: grpc.aio.Channel | None = None

    @property
    def own_only(self) -> bool:
        """Whether only this user's own runs are shown, since the control socket may not be opened."""
        return self._socket != self._endpoint.control_socket

    async def __aenter__(self) -> Self:
        if probe(self._socket) is Reach.DENIED:
            self._socket = self._endpoint.socket
        await reach(self._endpoint, self._socket)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._hang_up()

    async def list(self, all: bool = False, name: str = "") -> _Accounts:  # noqa: A002 (the flag's name)
        """List the accounts by name; ``all`` includes finished runs, ``name`` leaves those so named, of any tenant."""
        request = runs_pb2.ListRequest(all=all, name=name)

        async def ask(channel: grpc.aio.Channel, ticket: Ticket) -> _Accounts:
            responses = RunsStub(channel).List(request, timeout=_TIMEOUT_S, metadata=ticket)
            return [account async for response in responses for account in response.accounts]

        return await self._read(ask)

    async def get(self, run: str) -> types_pb2.Account:
        """Get one account, with its unresolved calls."""
        request = runs_pb2.GetRequest(run=run)

        async def ask(channel: grpc.aio.Channel, ticket: Ticket) -> types_pb2.Account:
            return (await RunsStub(channel).Get(request, timeout=_TIMEOUT_S, metadata=ticket)).account

        return await self._read(ask)

    async def journal(self, run: str, after_seq: int = 0, limit: int = 0) -> _Entries:
        """Read a run's entries with a larger sequence, oldest first, at most ``limit`` of them (0: all)."""
        request = runs_pb2.JournalRequest(run=run, after_seq=after_seq, limit=limit)

        async def ask(channel: grpc.aio.Channel, ticket: Ticket) -> _Entries:
            responses = RunsStub(channel).Journal(request, timeout=_JOURNAL_TIMEOUT_S, metadata=ticket)
            return [entry async for response in responses for entry in response.entries]

        return await self._read(ask)

    async def kill(
        self,
        runs: Sequence[str] = (),
        *,
        all: bool = False,  # noqa: A002 (the flag's name)
        now: bool = False,
    ) -> control_pb2.KillResponse:
        """Stop runs for good; ``now`` aborts their calls in flight as well. Unknown runs are in the response."""
        request = control_pb2.KillRequest(runs=runs, all=all, now=now)

        async def ask(channel: grpc.aio.Channel, ticket: Ticket) -> control_pb2.KillResponse:
            return await ControlStub(channel).Kill(request, timeout=_TIMEOUT_S, metadata=ticket)

        return await self._act(ask)

    async def raise_limits(self, run: str, limits: types_pb2.Limits, resume: bool = False) -> types_pb2.Account:
        """Set the limits that are given and lift the stop; ``resume`` lifts a kill, a stall or a blind stop."""
        request = control_pb2.RaiseRequest(run=run, limits=limits, resume=resume)

        async def ask(channel: grpc.aio.Channel, ticket: Ticket) -> types_pb2.Account:
            return (await ControlStub(channel).Raise(request, timeout=_TIMEOUT_S, metadata=ticket)).account

        return await self._act(ask)

    async def resolve(
        self, run: str, call_prefix: bytes, cost_nanodollars: int | None = None
    ) -> control_pb2.ResolveResponse:
        """Close the unresolved call whose id begins so, at a cost or, without one, as released."""
        request = control_pb2.ResolveRequest(run=run, call_id=call_prefix, cost_nanodollars=cost_nanodollars)

        async def ask(channel: grpc.aio.Channel, ticket: Ticket) -> control_pb2.ResolveResponse:
            return await ControlStub(channel).Resolve(request, timeout=_TIMEOUT_S, metadata=ticket)

        return await self._act(ask)

    async def info(self) -> runs_pb2.InfoResponse:
        """Ask the daemon about itself."""

        async def ask(channel: grpc.aio.Channel, ticket: Ticket) -> runs_pb2.InfoResponse:
            return await RunsStub(channel).Info(runs_pb2.InfoRequest(), timeout=_TIMEOUT_S, metadata=ticket)

        return await self._read(ask)

    async def watch(
        self, run: str = "", *, subscribed: Callable[[], None] | None = None
    ) -> AsyncIterator[runs_pb2.WatchResponse]:
        """Yield entries of a run, or of every run, as they are committed, until the daemon ends it.

        ``subscribed`` is called once every entry that is committed from then on will come.
        """
        request = runs_pb2.WatchRequest(run=run)

        async def follow(channel: grpc.aio.Channel, ticket: Ticket) -> AsyncIterator[runs_pb2.WatchResponse]:
            call = RunsStub(channel).Watch(request, metadata=ticket)
            await call.initial_metadata()
            if subscribed is not None:
                subscribed()
            async for response in call:
                yield response

        async for response in self._followed(follow):
            yield response

    async def _act(self, ask: Callable[[grpc.aio.Channel, Ticket], Awaitable[_T]]) -> _T:
        """Do as ``_read``, for what the control socket alone is for."""
        self._check_may_act()
        return await self._read(ask)

    async def _read(self, ask: Callable[[grpc.aio.Channel, Ticket], Awaitable[_T]]) -> _T:
        """Send one request, and again where the daemon was leaving when it came, or has a new key for its tickets.

        A daemon that leaves takes no request, so nothing is carried out twice. One that is killed at that moment may
        have: a kill or a raise comes to the same then, a resolve is answered with ``NotFound``.
        """
        attempt = 1
        while True:
            try:
                ticket = await fetch_ticket(self._endpoint)
                return await ask(self._opened(), ticket)
            except (grpc.aio.AioRpcError, TicketLost) as error:
                await self._hang_up()
                if attempt == _ATTEMPTS or not self._is_passing(error):
                    raise self._mapped(error) from error
            await asyncio.sleep(_PAUSE_S * attempt)
            attempt += 1
            await reach(self._endpoint, self._socket)

    async def _followed(self, follow: Callable[[grpc.aio.Channel, Ticket], AsyncIterable[_T]]) -> AsyncIterator[_T]:
        """Yield what one request is answered with, message by message; a ticket that is not taken is renewed once."""
        renewed = False
        while True:
            try:
                ticket = await fetch_ticket(self._endpoint)
                async for response in follow(self._opened(), ticket):
                    yield response
            except (grpc.aio.AioRpcError, TicketLost) as error:
                await self._hang_up()
                if renewed or not _is_unauthenticated(error):
                    raise self._mapped(error) from error
                renewed = True
            else:
                return

    def _check_may_act(self) -> None:
        if self.own_only:
            raise denied(self._endpoint, self._endpoint.control_socket)

    def _is_passing(self, error: grpc.aio.AioRpcError | TicketLost) -> bool:
        """Whether another attempt may fare better."""
        if _is_unauthenticated(error):
            return True
        # A daemon that leaves cancels what it has not answered by then.
        is_away = isinstance(error, TicketLost) or error.code() in {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.CANCELLED,
        }
        return is_away and self._endpoint.on_demand

    def _opened(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = open_channel(self._socket)
        return self._channel

    async def _hang_up(self) -> None:
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close(grace=None)

    def _mapped(self, error: grpc.aio.AioRpcError | TicketLost) -> ControlError:
        if isinstance(error, TicketLost):
            return error
        details = error.details() or error.code().name
        if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            return DaemonUnreachable(f"leashd at {self._socket} does not answer: {details}")
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return ControlError(
                f"leashd at {self._socket} is older and does not know this command: restart it (`leashctl version` "
                "says its version and pid)"
            )
        return _CODES.get(error.code(), ControlError)(details)


def _is_unauthenticated(error: grpc.aio.AioRpcError | TicketLost) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNAUTHENTICATED
