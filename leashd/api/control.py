"""The service for people: kill, raise, resolve."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import grpc.aio

from leash.v1 import control_pb2
from leashd.api import convert
from leashd.api.ask import ask
from leashd.api.convert import InvalidMessageError
from leashd.api.keeping import Keeping
from leashd.api.notices import Notices
from leashd.core.account import Account
from leashd.core.bounds import MAX_CALL_NANODOLLARS
from leashd.operations import AccountShown, Kill, Kills, Raise, Resolve

NAMES_PAGE = 4_096  # names read between two other tasks: some milliseconds
KILLED_TOGETHER = 256  # runs in one operation, so that a kill of thousands holds nobody up

_Context = grpc.aio.ServicerContext[Any, Any]


class ControlService(Keeping, Notices):
    """Kills, raises, resolves and keeps, for people. Whoever may open the control socket may do so to every run."""

    async def Kill(self, request: control_pb2.KillRequest, context: _Context) -> control_pb2.KillResponse:  # noqa: N802
        """Stops runs for good."""
        with self._activity.busy():
            caller = await self._callers.of(context)
            runs = [run async for run in self._unfinished()] if request.all else list(dict.fromkeys(request.runs))
            response = control_pb2.KillResponse()
            for start in range(0, len(runs), KILLED_TOGETHER):
                together = tuple(runs[start : start + KILLED_TOGETHER])
                answer = await ask(self._committer, Kill(together, request.now, caller.uid), context)
                assert isinstance(answer, Kills)
                response.killed.extend(answer.killed)
                response.unknown.extend(answer.unknown)
                response.already_stopped.extend(answer.already_stopped)
            return response

    async def _unfinished(self) -> AsyncIterator[str]:
        """Every run that some session has open, or that has a call open, in the order in which they were made."""
        numbers = {number for _, number in self._ledger.openers()}
        numbers |= {key.number for key in self._ledger.open_call_keys()}
        for count, number in enumerate(sorted(numbers), start=1):
            name = self._ledger.run_name(number)
            assert name is not None
            yield name
            if count % NAMES_PAGE == 0:
                await anyio.lowlevel.checkpoint()

    async def Raise(self, request: control_pb2.RaiseRequest, context: _Context) -> control_pb2.RaiseResponse:  # noqa: N802
        """Sets limits of a run and lifts its stop."""
        with self._activity.busy():
            caller = await self._callers.of(context)
            try:
                given = convert.given_limits(request.limits)
            except InvalidMessageError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            operation = Raise(run=request.run, given=given, resume=request.resume, actor_uid=caller.uid)
            answer = await ask(self._committer, operation, context)
            assert isinstance(answer, AccountShown)
            return control_pb2.RaiseResponse(account=self._message(answer.account))

    async def Resolve(  # noqa: N802
        self, request: control_pb2.ResolveRequest, context: _Context
    ) -> control_pb2.ResolveResponse:
        """Closes an unresolved call by a person's word."""
        with self._activity.busy():
            caller = await self._callers.of(context)
            cost = request.cost_nanodollars if request.HasField("cost_nanodollars") else None
            if not request.call_id or (cost is not None and not 0 <= cost <= MAX_CALL_NANODOLLARS):
                message = "name a call, and a cost between zero and what one call may cost"
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
            operation = Resolve(request.run, request.call_id, cost, caller.uid)
            answer = await ask(self._committer, operation, context)
            assert isinstance(answer, AccountShown)
            return control_pb2.ResolveResponse(account=self._message(answer.account), call_id=answer.call)

    def _message(self, account: Account) -> Any:
        return convert.account_message(account, self._committer.now_ns(), pid=self._committer.engine.pid(account))
