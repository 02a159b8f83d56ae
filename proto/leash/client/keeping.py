"""What keeps a ledger whole and small: verify, backup, prune, and reading it out, each as a stream from the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash.client.control import ControlClient
from leash.v1 import control_pb2, runs_pb2
from leash.v1.control_pb2_grpc import ControlStub
from leash.v1.runs_pb2_grpc import RunsStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from leash.client.channel import grpc
    from leash.client.ticket import Ticket
    from leash.v1 import types_pb2


class KeepingClient(ControlClient):
    """A :class:`ControlClient` for requests whose answers are long: none of them is held in memory as a whole.

    A stream has no time limit, and none is begun anew where it breaks: what was yielded of it stands.
    """

    async def each_account(self) -> AsyncIterator[types_pb2.Account]:
        """Yield every account by name, finished ones too, as the reader takes them."""
        request = runs_pb2.ListRequest(all=True)

        def follow(channel: grpc.aio.Channel, ticket: Ticket) -> AsyncIterable[runs_pb2.ListResponse]:
            return RunsStub(channel).List(request, metadata=ticket)

        async for response in self._followed(follow):
            for account in response.accounts:
                yield account

    async def verify(self, run: str = "") -> AsyncIterator[control_pb2.VerifyResponse]:
        """Have the daemon refold a run, or the whole ledger; the last response says what came of it."""
        request = control_pb2.VerifyRequest(run=run)

        def follow(channel: grpc.aio.Channel, ticket: Ticket) -> AsyncIterable[control_pb2.VerifyResponse]:
            return ControlStub(channel).Verify(request, metadata=ticket)

        self._check_may_act()
        async for response in self._followed(follow):
            yield response

    async def backup(self) -> AsyncIterator[control_pb2.BackupResponse]:
        """Yield a consistent copy of the ledger's file piece by piece; it is whole where the stream ends by itself."""

        def follow(channel: grpc.aio.Channel, ticket: Ticket) -> AsyncIterable[control_pb2.BackupResponse]:
            return ControlStub(channel).Backup(control_pb2.BackupRequest(), metadata=ticket)

        self._check_may_act()
        async for response in self._followed(follow):
            yield response

    async def prune(self, older_than_ns: int, *, dry_run: bool = False) -> AsyncIterator[control_pb2.PruneResponse]:
        """Replace the entries of runs that nobody has used for so long; the last response has the figures."""
        request = control_pb2.PruneRequest(older_than_ns=older_than_ns, dry_run=dry_run)

        def follow(channel: grpc.aio.Channel, ticket: Ticket) -> AsyncIterable[control_pb2.PruneResponse]:
            return ControlStub(channel).Prune(request, metadata=ticket)

        self._check_may_act()
        async for response in self._followed(follow):
            yield response
