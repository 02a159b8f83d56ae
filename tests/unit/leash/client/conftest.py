"""A daemon of the contract's rules in this process, with faults to order: what the client must live with."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from leash.client.paths import Endpoint, control_socket_for
from leash.sockets import ticket_socket_for
from leash.v1 import shim_pb2, types_pb2
from leash.v1.shim_pb2_grpc import ShimServicer, add_ShimServicer_to_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def directory() -> Iterator[Path]:
    # pytest's own are too long for a socket's name.
    path = Path(tempfile.mkdtemp(prefix="lc-", dir="/tmp")).resolve()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def endpoint(directory: Path) -> Endpoint:
    socket = directory / "leashd.sock"
    return Endpoint(socket, control_socket_for(socket), None, "socket")


@dataclass
class Call:
    session_id: bytes
    run: str
    state: str = "open"
    reserves: int = 1


@dataclass
class Truth:
    """What the ledger would hold: it outlives the daemon."""

    calls: dict[bytes, Call] = field(default_factory=dict)
    acknowledged: list[bytes] = field(default_factory=list)
    opened: list[shim_pb2.OpenRun] = field(default_factory=list)
    closed_runs: list[str] = field(default_factory=list)
    left_unfinished: list[str] = field(default_factory=list)
    hellos: list[shim_pb2.Hello] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    clean_ends: int = 0

    def states(self) -> Counter[str]:
        return Counter(call.state for call in self.calls.values())


class Daemon(ShimServicer):
    """Serves the contract on one socket; its attributes order faults."""

    def __init__(self, socket: Path) -> None:
        self.truth = Truth()
        self.socket = socket
        # Operation kinds that are carried out, and whose answer is lost with the stream.
        self.lose_answer: Counter[str] = Counter()
        self.fail: dict[str, list[int]] = {}
        self.wait_for_room: asyncio.Event | None = None
        self.refuse = False
        self.silent = False
        self.read_pause_s = 0.0
        self.pushes: asyncio.Queue[shim_pb2.Push] = asyncio.Queue()
        self._waiters: dict[bytes, asyncio.Task[None]] = {}
        self._server: grpc.aio.Server | None = None
        self._tickets: asyncio.Server | None = None

    async def start(self) -> None:
        ticket_socket = ticket_socket_for(self.socket)
        ticket_socket.unlink(missing_ok=True)
        self._tickets = await asyncio.start_unix_server(_give_ticket, ticket_socket)
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", 17 * 1024 * 1024)])
        add_ShimServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{self.socket}")
        await self._server.start()

    async def stop(self) -> None:
        """Break every stream, as a death would."""
        if self._tickets is not None:
            self._tickets.close()
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace=None)
        for waiter in self._waiters.values():
            waiter.cancel()
        self._waiters.clear()

    async def restart(self, pause_s: float = 0.0) -> None:
        await self.stop()
        await asyncio.sleep(pause_s)
        await self.start()

    async def PutPrices(  # noqa: N802
        self, request: shim_pb2.PutPricesRequest, context: Any
    ) -> shim_pb2.PutPricesResponse:
        if not request.text.startswith(b"{"):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no price table: line 1")
        return shim_pb2.PutPricesResponse(sha256=b"\x01" * 32, models=1)

    async def Session(  # noqa: N802
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[shim_pb2.SessionResponse]:
        outgoing: asyncio.Queue[shim_pb2.SessionResponse | None] = asyncio.Queue()
        tasks = [
            asyncio.ensure_future(self._read(request_iterator, outgoing)),
            asyncio.ensure_future(self._push(outgoing)),
        ]
        try:
            while True:
                response = await outgoing.get()
                if response is None:
                    if tasks[0].done() and tasks[0].result():
                        self.truth.clean_ends += 1
                        return
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
                if not self.silent:
                    yield response
        finally:
            for task in tasks:
                task.cancel()

    async def _push(self, outgoing: asyncio.Queue[shim_pb2.SessionResponse | None]) -> None:
        while True:
            outgoing.put_nowait(shim_pb2.SessionResponse(pushes=[await self.pushes.get()]))

    async def _read(self, requests: Any, outgoing: asyncio.Queue[shim_pb2.SessionResponse | None]) -> bool:
        session_id = b""
        seen: set[int] = set()
        async for request in requests:
            self.truth.batches.append([str(operation.WhichOneof("kind")) for operation in request.operations])
            answers = []
            for operation in request.operations:
                assert operation.op_id not in seen, "an op_id is unique in its stream"
                seen.add(operation.op_id)
                kind = str(operation.WhichOneof("kind"))
                if kind == "hello":
                    session_id = operation.hello.session_id
                assert session_id, "the hello comes first"
                answer = self._carry_out(kind, operation, session_id, outgoing)
                if self.lose_answer[kind]:
                    self.lose_answer[kind] -= 1
                    outgoing.put_nowait(None)
                    return False
                if answer is not None:
                    answer.op_id = operation.op_id
                    answers.append(answer)
            if answers:
                outgoing.put_nowait(shim_pb2.SessionResponse(answers=answers))
            await asyncio.sleep(self.read_pause_s)
        outgoing.put_nowait(None)
        return True

    def _carry_out(
        self, kind: str, operation: shim_pb2.Operation, session_id: bytes, outgoing: asyncio.Queue[Any]
    ) -> shim_pb2.Answer | None:
        if self.fail.get(kind):
            failure = shim_pb2.Failure(code=self.fail[kind].pop(0), message=f"{kind} declined")  # type: ignore[arg-type]
            return shim_pb2.Answer(failure=failure)
        match kind:
            case "hello":
                return self._hello(operation.hello)
            case "open_run":
                self.truth.opened.append(operation.open_run)
                return shim_pb2.Answer(
                    account=types_pb2.Account(run=operation.open_run.run, calls=len(self.truth.calls))
                )
            case "close_run":
                self.truth.closed_runs.append(operation.close_run.run)
                self.truth.left_unfinished += [operation.close_run.run] if operation.close_run.unfinished else []
                return shim_pb2.Answer(account=types_pb2.Account(run=operation.close_run.run))
            case "reserve":
                return self._reserve(operation, session_id, outgoing)
            case "probe":
                return shim_pb2.Answer(probed=shim_pb2.Probed(open_runs=len(self.truth.opened)))
            case "acknowledge":
                self.truth.acknowledged += operation.acknowledge.call_ids
                return shim_pb2.Answer(done=shim_pb2.Done())
            case _:
                return self._close(kind, getattr(operation, kind).call_id, session_id)

    def _hello(self, hello: shim_pb2.Hello) -> shim_pb2.Answer:
        self.truth.hellos.append(hello)
        for call_id, call in self.truth.calls.items():
            if call.session_id == hello.session_id and call.state == "open" and call_id not in hello.held_calls:
                call.state = "voided"
        return shim_pb2.Answer(welcome=shim_pb2.Welcome(daemon_version="0", protocol=2, grace_ns=2_000_000_000))

    def _reserve(
        self, operation: shim_pb2.Operation, session_id: bytes, outgoing: asyncio.Queue[Any]
    ) -> shim_pb2.Answer | None:
        reserve = operation.reserve
        known = self.truth.calls.get(reserve.call_id)
        if known is not None:
            assert known.session_id == session_id
            known.reserves += 1
            return shim_pb2.Answer(admitted=shim_pb2.Admitted(held_nanodollars=7))
        if self.refuse:
            return shim_pb2.Answer(refused=shim_pb2.Refused(reason=types_pb2.REASON_COST_BUDGET, limit=5))
        if self.wait_for_room is not None and not self.wait_for_room.is_set():
            waiter = asyncio.ensure_future(self._admit_later(operation, session_id, outgoing))
            self._waiters[reserve.call_id] = waiter
            return None
        self.truth.calls[reserve.call_id] = Call(session_id, reserve.run)
        return shim_pb2.Answer(admitted=shim_pb2.Admitted(held_nanodollars=7))

    async def _admit_later(
        self, operation: shim_pb2.Operation, session_id: bytes, outgoing: asyncio.Queue[Any]
    ) -> None:
        assert self.wait_for_room is not None
        await self.wait_for_room.wait()
        self.truth.calls[operation.reserve.call_id] = Call(session_id, operation.reserve.run)
        answer = shim_pb2.Answer(op_id=operation.op_id, admitted=shim_pb2.Admitted(held_nanodollars=7))
        outgoing.put_nowait(shim_pb2.SessionResponse(answers=[answer]))

    def _close(self, kind: str, call_id: bytes, session_id: bytes) -> shim_pb2.Answer:
        outcome = {"settle": "settled", "void": "voided", "abandon": "unresolved", "cancel": "voided"}[kind]
        if kind == "cancel" and (waiter := self._waiters.pop(call_id, None)) is not None:
            waiter.cancel()
        call = self.truth.calls.get(call_id)
        if call is None:
            failure = shim_pb2.Failure(code=shim_pb2.FAILURE_CODE_UNKNOWN, message="no such call")
            return shim_pb2.Answer(failure=failure)
        assert call.session_id == session_id
        repeated = call.state != "open"
        if not repeated:
            call.state = outcome
        return shim_pb2.Answer(closed=shim_pb2.Closed(outcome=call.state, repeated=repeated))


async def _give_ticket(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"a ticket")
    writer.close()


@pytest.fixture
async def daemon(endpoint: Endpoint) -> AsyncIterator[Daemon]:
    # gRPC reports every stream that a test breaks on purpose.
    logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL)
    served = Daemon(endpoint.socket)
    await served.start()
    yield served
    await served.stop()
