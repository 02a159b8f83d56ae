"""A person's requests to a daemon: list, kill, raise, resolve, watch, over its control socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

from leash.client.channel import grpc, open_channel
from leash.client.errors import AccessDenied, ControlError, DaemonUnreachable, NotFound, Refused
from leash.client.launch import reach
from leash.v1 import control_pb2
from leash.v1.control_pb2_grpc import ControlStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from types import TracebackType

    from leash.client.paths import Endpoint
    from leash.v1 import types_pb2
    from leash.v1.control_pb2_grpc import ControlAsyncStub

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
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        await reach(self._endpoint, self._endpoint.control_socket)
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

        async def ask(stub: ControlAsyncStub) -> _Accounts:
            responses = stub.List(control_pb2.ListRequest(all=all, name=name), timeout=_TIMEOUT_S)
            return [account async for response in responses for account in response.accounts]

        return await self._ask(ask)

    async def get(self, run: str) -> types_pb2.Account:
        """Get one account, with its unresolved calls."""

        async def ask(stub: ControlAsyncStub) -> types_pb2.Account:
            return (await stub.Get(control_pb2.GetRequest(run=run), timeout=_TIMEOUT_S)).account

        return await self._ask(ask)

    async def journal(self, run: str, after_seq: int = 0, limit: int = 0) -> _Entries:
        """Read a run's entries with a larger sequence, oldest first, at most ``limit`` of them (0: all)."""
        request = control_pb2.JournalRequest(run=run, after_seq=after_seq, limit=limit)

        async def ask(stub: ControlAsyncStub) -> _Entries:
            responses = stub.Journal(request, timeout=_JOURNAL_TIMEOUT_S)
            return [entry async for response in responses for entry in response.entries]

        return await self._ask(ask)

    async def kill(
        self,
        runs: Sequence[str] = (),
        *,
        all: bool = False,  # noqa: A002 (the flag's name)
        now: bool = False,
    ) -> control_pb2.KillResponse:
        """Stop runs for good; ``now`` aborts their calls in flight as well. Unknown runs are in the response."""
        request = control_pb2.KillRequest(runs=runs, all=all, now=now)

        async def ask(stub: ControlAsyncStub) -> control_pb2.KillResponse:
            return await stub.Kill(request, timeout=_TIMEOUT_S)

        return await self._ask(ask)

    async def raise_limits(self, run: str, limits: types_pb2.Limits, resume: bool = False) -> types_pb2.Account:
        """Set the limits that are given and lift the stop; ``resume`` lifts a kill, a stall or a blind stop."""
        request = control_pb2.RaiseRequest(run=run, limits=limits, resume=resume)

        async def ask(stub: ControlAsyncStub) -> types_pb2.Account:
            return (await stub.Raise(request, timeout=_TIMEOUT_S)).account

        return await self._ask(ask)

    async def resolve(
        self, run: str, call_prefix: bytes, cost_nanodollars: int | None = None
    ) -> control_pb2.ResolveResponse:
        """Close the unresolved call whose id begins so, at a cost or, without one, as released."""
        request = control_pb2.ResolveRequest(run=run, call_id=call_prefix, cost_nanodollars=cost_nanodollars)

        async def ask(stub: ControlAsyncStub) -> control_pb2.ResolveResponse:
            return await stub.Resolve(request, timeout=_TIMEOUT_S)

        return await self._ask(ask)

    async def info(self) -> control_pb2.InfoResponse:
        """Ask the daemon about itself."""

        async def ask(stub: ControlAsyncStub) -> control_pb2.InfoResponse:
            return await stub.Info(control_pb2.InfoRequest(), timeout=_TIMEOUT_S)

        return await self._ask(ask)

    async def watch(self, run: str = "") -> AsyncIterator[control_pb2.WatchResponse]:
        """Yield entries of a run, or of every run, as they are committed, until the daemon ends it."""
        try:
            async for response in self._stub().Watch(control_pb2.WatchRequest(run=run)):
                yield response
        except grpc.aio.AioRpcError as error:
            raise self._mapped(error) from error

    async def _ask(self, ask: Callable[[ControlAsyncStub], Awaitable[_T]]) -> _T:
        """Send one request, and again where the daemon was leaving when it came.

        A daemon that leaves takes no request, so nothing is carried out twice. One that is killed at that moment may
        have: a kill or a raise comes to the same then, a resolve is answered with ``NotFound``.
        """
        attempt = 1
        while True:
            try:
                return await ask(self._stub())
            except grpc.aio.AioRpcError as error:
                await self._hang_up()
                unavailable = error.code() is grpc.StatusCode.UNAVAILABLE
                if not unavailable or not self._endpoint.on_demand or attempt == _ATTEMPTS:
                    raise self._mapped(error) from error
            await asyncio.sleep(_PAUSE_S * attempt)
            attempt += 1
            await reach(self._endpoint, self._endpoint.control_socket)

    def _stub(self) -> ControlAsyncStub:
        if self._channel is None:
            self._channel = open_channel(self._endpoint.control_socket)
        return ControlStub(self._channel)

    async def _hang_up(self) -> None:
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close(grace=None)

    def _mapped(self, error: grpc.aio.AioRpcError) -> ControlError:
        details = error.details() or error.code().name
        if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            return DaemonUnreachable(f"leashd at {self._endpoint.control_socket} does not answer: {details}")
        return _CODES.get(error.code(), ControlError)(details)
