"""The part of the service for people that looks after what is told outside: list, retry, drop, and the daemon's key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from typing import Any

import anyio.lowlevel
import anyio.to_thread
import grpc.aio
import structlog

from leash.v1 import control_pb2, control_pb2_grpc
from leashd import operations
from leashd.activity import Activity
from leashd.api.ask import ask
from leashd.api.callers import Callers
from leashd.api.reactions import fits, notice_message
from leashd.committer import Committer
from leashd.core.outbox import OutboxKey, Pending
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.operations import NoticesChanged
from leashd.reactions.key import KeyTroubleError, own_key

PAGE = 256  # notices in one message, or in one operation: some milliseconds

_Context = grpc.aio.ServicerContext[Any, Any]

_log = structlog.get_logger("leashd.api")


class Notices(control_pb2_grpc.ControlServicer):
    """Lists, retries and drops what is in the outbox, for people."""

    _committer: Committer
    _ledger: LmdbLedger
    _activity: Activity
    _callers: Callers

    async def ListNotices(  # type: ignore[override]  # noqa: N802
        self, request: control_pb2.ListNoticesRequest, context: _Context
    ) -> None:
        """What is on its way, and then what was given up."""
        with self._activity.busy():
            await self._callers.of(context)
            async for page in self._pages(request.filter):
                of = self._committer.engine.reactions
                messages = [notice_message(pending, key, of(key.number)) for key, pending in page]
                await context.write(control_pb2.ListNoticesResponse(notices=messages))

    async def RetryNotices(  # noqa: N802
        self, request: control_pb2.RetryNoticesRequest, context: _Context
    ) -> control_pb2.RetryNoticesResponse:
        """Has notices go out again at once."""
        with self._activity.busy():
            notices = await self._change(operations.RetryNotices, request.filter, context)
            return control_pb2.RetryNoticesResponse(notices=notices)

    async def DropNotices(  # noqa: N802
        self, request: control_pb2.DropNoticesRequest, context: _Context
    ) -> control_pb2.DropNoticesResponse:
        """Takes notices away untold."""
        with self._activity.busy():
            notices = await self._change(operations.DropNotices, request.filter, context)
            return control_pb2.DropNoticesResponse(notices=notices)

    async def WebhookSecret(  # noqa: N802
        self, request: control_pb2.WebhookSecretRequest, context: _Context
    ) -> control_pb2.WebhookSecretResponse:
        """The daemon's own key."""
        del request
        with self._activity.busy():
            await self._callers.of(context)
            try:
                secret = await anyio.to_thread.run_sync(own_key, Path(self._ledger.path))
            except KeyTroubleError as error:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            return control_pb2.WebhookSecretResponse(secret=secret)

    async def _change(
        self,
        kind: type[operations.RetryNotices | operations.DropNotices],
        wanted: control_pb2.NoticeFilter,
        context: _Context,
    ) -> int:
        caller = await self._callers.of(context)
        # All of them first: a retry moves what it has changed to where it would be met again.
        keys = [key async for page in self._pages(wanted) for key, _ in page]
        changed = 0
        for start in range(0, len(keys), PAGE):
            answer = await ask(self._committer, kind(tuple(keys[start : start + PAGE])), context)
            assert isinstance(answer, NoticesChanged)
            changed += answer.notices
        _log.info("notices_changed", how=kind.__name__, uid=caller.uid, notices=changed)
        return changed

    async def _pages(self, wanted: control_pb2.NoticeFilter) -> AsyncIterator[list[tuple[OutboxKey, Pending]]]:
        """The notices that are meant, by pages, between which others have their turn."""
        for dead in (True,) if wanted.dead else (False, True):
            after: OutboxKey | None = None
            while found := list(islice(self._ledger.outbox(dead=dead, after=after), PAGE)):
                after = found[-1][0]
                yield [(key, pending) for key, pending in found if fits(pending, wanted)]
                await anyio.lowlevel.checkpoint()
