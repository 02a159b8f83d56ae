"""The service for shims: one stream for each session, read in order, answered as things become durable."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import grpc.aio
import structlog

from leash.prices import PriceError
from leash.protocol import common_protocol, mismatch
from leash.v1 import shim_pb2, shim_pb2_grpc
from leashd import __version__
from leashd.activity import Activity
from leashd.api import convert
from leashd.api.ask import ask
from leashd.api.callers import Callers
from leashd.api.convert import InvalidMessageError
from leashd.api.reactions import given_reactions
from leashd.committer import Committer
from leashd.core.bounds import MAX_CHOICES
from leashd.engine import GRACE_NS
from leashd.operations import (
    AbandonCall,
    AccountShown,
    Acknowledge,
    Answer,
    CancelCall,
    CloseRun,
    Disconnected,
    Failed,
    FailureCode,
    Hello,
    OpenRun,
    Operation,
    PricesStored,
    Probe,
    Probed,
    Push,
    ReserveCall,
    SettleCall,
    VoidCall,
    Welcome,
)
from leashd.peers import user_name
from leashd.pricing import read_prices
from leashd.standing import PricesNotStoredError, Standing
from leashd.tenancy import OtherTenantError, RunNames, tenant_of
from leashd.tickets import Caller

SESSION_ID_BYTES = 16
DIGEST_BYTES = 8  # of a session's secret: what the ledger keeps of it
MAX_UNSENT = 65_536  # answers and pushes that a shim has not taken; a shim that stopped reading is cut off
MAX_ANSWERS = 1_024  # in one message: some 50 kB, far below gRPC's limit
MAX_PRICES_BYTES = 16 * 1024 * 1024  # about ten times the largest table that is published

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it

_log = structlog.get_logger("leashd.api")


class ShimService(shim_pb2_grpc.ShimServicer):
    """Opens runs, and reserves and closes their calls, for shims. ``by_user`` says that each user is a tenant."""

    def __init__(
        self, committer: Committer, activity: Activity, callers: Callers, standing: Standing, *, by_user: bool
    ) -> None:
        self._committer = committer
        self._activity = activity
        self._callers = callers
        self._standing = standing
        self._by_user = by_user
        self._streams: set[_Stream] = set()

    def end(self, why: str) -> None:
        """Ends every session's stream: the ledger is damaged, and nothing that was asked will be answered."""
        for stream in tuple(self._streams):
            stream.end(why)

    async def Session(  # type: ignore[override]  # noqa: N802 - it writes by the context and returns nothing
        self, request_iterator: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """One shim session."""
        del request_iterator  # read and written through the context, each by its own task
        with self._activity.busy():
            caller = await self._callers.of(context)
            names = await self._names(caller)
            stream = _Stream(self._committer, context, caller, names, self._standing, refuses_reactions=self._by_user)
            self._streams.add(stream)
            try:
                await stream.run()
            finally:
                self._streams.discard(stream)

    async def _names(self, caller: Caller) -> RunNames:
        if not self._by_user:
            return RunNames()
        # In a thread: a directory service may let the daemon wait.
        name = await anyio.to_thread.run_sync(user_name, caller.uid)
        return RunNames(tenant_of(caller.uid, name), every_tenant=caller.trusted)

    async def PutPrices(  # noqa: N802
        self, request: shim_pb2.PutPricesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> shim_pb2.PutPricesResponse:
        """Stores a price table."""
        with self._activity.busy():
            await self._callers.of(context)
            if len(request.text) > MAX_PRICES_BYTES:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a price table has at most 16 MiB")
            try:
                prices = read_prices(request.text)
            except PriceError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            answer = await ask(self._committer, prices, context)
            assert isinstance(answer, PricesStored)
            return shim_pb2.PutPricesResponse(sha256=prices.sha256, models=answer.models)


class _Stream:
    """The live stream of one session, whose shim knows runs by ``names``."""

    def __init__(  # noqa: PLR0913 - what it serves with, and for whom
        self,
        committer: Committer,
        context: grpc.aio.ServicerContext[Any, Any],
        caller: Caller,
        names: RunNames,
        standing: Standing,
        *,
        refuses_reactions: bool = False,
    ) -> None:
        self._committer = committer
        self._standing = standing
        self._context = context
        self._caller = caller
        self._names = names
        self._refuses_reactions = refuses_reactions
        self._session = b""
        self._protocol = 0
        self._answers: deque[shim_pb2.Answer] = deque()
        self._pushes: deque[shim_pb2.Push] = deque()
        self._unsent = anyio.Event()
        self._scope = anyio.CancelScope()
        self._ended_by = ""

    async def run(self) -> None:
        """Serves until the shim ends the stream, it breaks, or another stream takes the session over."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    await self._read()
                    tasks.cancel_scope.cancel()
        finally:
            if self._session:
                self._committer.submit(Disconnected(self._session, self), _nobody)
        if self._ended_by:
            await self._context.abort(grpc.StatusCode.DATA_LOSS, self._ended_by)

    def push(self, push: Push) -> None:
        """Tells the shim something unasked."""
        self._pushes.append(convert.push_message(replace(push, run=self._names.shown(push.run))))
        self._send()

    def end(self, why: str) -> None:
        """The ledger is damaged: this stream ends, and says so."""
        self._ended_by = why
        self._scope.cancel()

    def replaced(self) -> None:
        """Another stream has taken the session over: this one ends."""
        self._scope.cancel()

    async def _read(self) -> None:
        while (batch := await self._context.read()) is not _EOF:
            for operation in batch.operations:
                self._accept(operation)

    def _accept(self, message: shim_pb2.Operation) -> None:
        try:
            operation = self._operation(message)
        except (InvalidMessageError, OtherTenantError) as error:
            self._answer(message.op_id, Failed(FailureCode.INVALID, str(error)))
            return
        except PricesNotStoredError as error:
            self._answer(message.op_id, Failed(FailureCode.UNAVAILABLE, str(error)))
            return
        self._committer.submit(operation, partial(self._name_and_answer, message))

    def _name_and_answer(self, message: shim_pb2.Operation, answer: Answer) -> None:
        """Answers, and remembers by which name the shim has opened a run: what it is pushed comes after this."""
        if isinstance(answer, AccountShown):
            if not self._names.every_tenant and answer.account.owner_uid != self._caller.uid:
                # Of her tenant, but not hers, so that she cannot have had it open: it is not shown for being closed.
                answer = Failed(FailureCode.NOT_OPEN, f"run {message.close_run.run} is not open")
            elif message.HasField("open_run"):
                self._names.opened(message.open_run.run)
            else:
                self._names.closed(message.close_run.run)
        self._answer(message.op_id, answer)

    def _answer(self, op_id: int, answer: Answer) -> None:
        if isinstance(answer, Welcome):
            self._answers.append(self._welcome(op_id))
        elif isinstance(answer, Probed):
            figures = self._committer.figures
            self._answers.append(convert.probed_message(op_id, open_runs=answer.open_runs, figures=figures))
        else:
            self._answers.append(convert.answer_message(op_id, answer))
        self._send()

    def _welcome(self, op_id: int) -> shim_pb2.Answer:
        return convert.welcome_message(op_id, version=__version__, protocol=self._protocol, grace_ns=GRACE_NS)

    def _send(self) -> None:
        if len(self._answers) + len(self._pushes) > MAX_UNSENT:
            _log.warning("shim_not_reading", unsent=MAX_UNSENT)
            self._scope.cancel()
        self._unsent.set()

    async def _write(self) -> None:
        while True:
            await self._unsent.wait()
            self._unsent = anyio.Event()
            while self._answers or self._pushes:
                count = min(MAX_ANSWERS, len(self._answers))
                answers = [self._answers.popleft() for _ in range(count)]
                pushes = [self._pushes.popleft() for _ in range(min(MAX_ANSWERS, len(self._pushes)))]
                await self._context.write(shim_pb2.SessionResponse(answers=answers, pushes=pushes))

    def _operation(self, message: shim_pb2.Operation) -> Operation:
        kind = message.WhichOneof("kind")
        if kind == "hello":
            return self._hello(message.hello)
        if not self._session:
            raise InvalidMessageError("the first operation of a stream is a hello")
        convert_kind = _CONVERSIONS.get(kind or "")
        if convert_kind is None:
            raise InvalidMessageError("an operation without a kind that this leashd knows: update it")
        return convert_kind(self, getattr(message, kind or ""))

    def _hello(self, hello: shim_pb2.Hello) -> Operation:
        if self._session:
            raise InvalidMessageError("a stream has one hello")
        if len(hello.session_id) != SESSION_ID_BYTES:
            raise InvalidMessageError(f"a session id has {SESSION_ID_BYTES} bytes")
        oldest = hello.oldest_protocol or hello.protocol
        protocol = common_protocol(oldest, hello.protocol)
        if protocol is None:
            raise InvalidMessageError(
                mismatch(
                    client=hello.client_version,
                    oldest=oldest,
                    newest=hello.protocol,
                    daemon=__version__,
                    pid=os.getpid(),
                )
            )
        self._protocol = protocol
        self._session = hashlib.blake2b(hello.session_id, digest_size=DIGEST_BYTES).digest()
        return Hello(self._session, frozenset(hello.held_calls), self)

    def _open_run(self, message: shim_pb2.OpenRun) -> Operation:
        own = message.prices_sha256
        standing = self._standing.prices_sha256(own)
        return OpenRun(
            session=self._session,
            link=self,
            run=self._names.full(convert.run_name(message.run)),
            owner_uid=self._caller.uid,
            owned_only=not self._names.every_tenant,
            given=convert.given_limits(message.limits),
            defaults=self._standing.limits(convert.given_limits(message.defaults), priced=bool(standing)),
            prices_sha256=own,
            standing_prices_sha256=b"" if own else standing,
            pid=max(0, message.pid),
            lowered=convert.given_limits(message.lowered),
            on_behalf=message.kind == "gateway",
            max_open_runs=convert.most_runs(message.max_open_runs),
            max_runs=convert.most_runs(message.max_runs),
            reactions=given_reactions(message.reactions, refused=self._refuses_reactions),
        )

    def _close_run(self, message: shim_pb2.CloseRun) -> Operation:
        return CloseRun(self._session, self, self._names.full(message.run), message.unfinished)

    def _reserve(self, message: shim_pb2.Reserve) -> Operation:
        return ReserveCall(
            session=self._session,
            link=self,
            run=self._names.full(message.run),
            call=convert.call_id(message.call_id),
            model=convert.model_name(message.model),
            input_bound_tokens=(
                convert.bound_tokens(message.input_bound_tokens) if message.HasField("input_bound_tokens") else None
            ),
            output_bound_tokens=(
                convert.bound_tokens(message.output_bound_tokens) if message.HasField("output_bound_tokens") else None
            ),
            choices=min(max(1, message.choices), MAX_CHOICES),
            server_tools=message.server_tools,
            service_tier=convert.model_name(message.service_tier),
            unmeterable=message.unmeterable,
            prompts=min(max(1, message.prompts), MAX_CHOICES),
        )

    def _settle(self, message: shim_pb2.Settle) -> Operation:
        return SettleCall(
            session=self._session,
            link=self,
            run=self._names.full(message.run),
            call=convert.call_id(message.call_id),
            http_status=convert.http_status(message.http_status),
            usage=convert.usage(message.usage) if message.HasField("usage") else None,
            model=convert.model_name(message.model),
            fingerprint=message.fingerprint[:8],
        )

    def _void(self, message: shim_pb2.Void) -> Operation:
        return VoidCall(self._session, self, self._names.full(message.run), convert.call_id(message.call_id))

    def _abandon(self, message: shim_pb2.Abandon) -> Operation:
        known = convert.usage(message.known) if message.HasField("known") else None
        return AbandonCall(self._session, self, self._names.full(message.run), convert.call_id(message.call_id), known)

    def _cancel(self, message: shim_pb2.Cancel) -> Operation:
        return CancelCall(self._session, self, self._names.full(message.run), convert.call_id(message.call_id))

    def _acknowledge(self, message: shim_pb2.Acknowledge) -> Operation:
        return Acknowledge(self._session, self, tuple(convert.call_id(call) for call in message.call_ids))

    def _probe(self, _message: shim_pb2.Probe) -> Operation:
        return Probe(self._session, self)


def _nobody(_answer: Answer) -> None:
    """The reply of an operation that nobody waits for."""


_CONVERSIONS: dict[str, Callable[[_Stream, Any], Operation]] = {
    "open_run": _Stream._open_run,  # noqa: SLF001
    "close_run": _Stream._close_run,  # noqa: SLF001
    "reserve": _Stream._reserve,  # noqa: SLF001
    "settle": _Stream._settle,  # noqa: SLF001
    "void": _Stream._void,  # noqa: SLF001
    "abandon": _Stream._abandon,  # noqa: SLF001
    "cancel": _Stream._cancel,  # noqa: SLF001
    "acknowledge": _Stream._acknowledge,  # noqa: SLF001
    "probe": _Stream._probe,  # noqa: SLF001
}
