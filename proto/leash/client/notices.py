"""What is to be told outside and was not yet: listed, tried again, dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash.client.control import ControlClient
from leash.v1 import control_pb2
from leash.v1.control_pb2_grpc import ControlStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence

    from leash.client.channel import grpc
    from leash.client.ticket import Ticket

# Thousands of notices are changed some hundreds in a transaction, each of a few milliseconds.
_TIMEOUT_S = 60.0


class NoticesClient(ControlClient):
    """A :class:`ControlClient` for the outbox; ``run``, ``ids`` and ``dead`` choose notices."""

    async def notices(self, *, run: str = "", dead: bool = False) -> AsyncIterator[control_pb2.Notice]:
        """Yield the notices that are on their way, and then those that were given up."""
        request = control_pb2.ListNoticesRequest(filter=control_pb2.NoticeFilter(run=run, dead=dead))

        def follow(channel: grpc.aio.Channel, ticket: Ticket) -> AsyncIterable[control_pb2.ListNoticesResponse]:
            return ControlStub(channel).ListNotices(request, metadata=ticket)

        self._check_may_act()
        async for response in self._followed(follow):
            for notice in response.notices:
                yield notice

    async def retry(self, *, run: str = "", ids: Sequence[str] = (), dead: bool = False) -> int:
        """Have notices go out again at once; how many those are."""
        request = control_pb2.RetryNoticesRequest(filter=control_pb2.NoticeFilter(run=run, ids=ids, dead=dead))

        async def ask(channel: grpc.aio.Channel, ticket: Ticket) -> int:
            response = await ControlStub(channel).RetryNotices(request, timeout=_TIMEOUT_S, metadata=ticket)
            return response.notices

        return await self._act(ask)

    async def drop(self, *, run: str = "", ids: Sequence[str] = (), dead: bool = False) -> int:
        """Take notices away untold; how many those are."""
        request = control_pb2.DropNoticesRequest(filter=control_pb2.NoticeFilter(run=run, ids=ids, dead=dead))

        async def ask(channel: grpc.aio.Channel, ticket: Ticket) -> int:
            response = await ControlStub(channel).DropNotices(request, timeout=_TIMEOUT_S, metadata=ticket)
            return response.notices

        return await self._act(ask)

    async def webhook_secret(self) -> str:
        """The daemon's own key for webhooks."""
        request = control_pb2.WebhookSecretRequest()

        async def ask(channel: grpc.aio.Channel, ticket: Ticket) -> str:
            return (await ControlStub(channel).WebhookSecret(request, timeout=_TIMEOUT_S, metadata=ticket)).secret

        return await self._act(ask)
