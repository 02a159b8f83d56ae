"""The real leashd and a shim session driven by hand, with nothing but the stubs between the test and the wire."""

from __future__ import annotations

import queue
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from leash.sockets import TICKET_METADATA
from leash.v1 import shim_pb2, shim_pb2_grpc, types_pb2

WAIT_S = 20.0  # nothing that works takes a tenth of it


class Place:
    """A ledger, three sockets, and the daemons that were started for them."""

    def __init__(self, root: Path, sockets: Path | None = None) -> None:
        self.root = root
        self.ledger = root / "leash.db"
        sockets = sockets or root
        self.socket = sockets / "leashd.sock"
        self.control = sockets / "control.sock"
        self.tickets = sockets / "ticket.sock"
        self.daemons: list[Daemon] = []

    def start(self, *flags: str, ledger: Path | None = None, sock: Path | None = None) -> Daemon:
        """Starts a daemon and does not wait for it."""
        daemon = Daemon(self, *flags, ledger=ledger or self.ledger, sock=sock or self.socket)
        self.daemons.append(daemon)
        return daemon

    def serve(self, *flags: str) -> Daemon:
        """Starts a daemon and waits until it is ready."""
        daemon = self.start(*flags)
        daemon.wait_ready()
        return daemon

    def ticket(self) -> bytes:
        """A ticket for this process."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WAIT_S)
            connection.connect(str(self.tickets))
            return connection.recv(1024)

    def channel(self, path: Path, ticket: Callable[[], bytes] | None = None) -> grpc.Channel:
        """A channel to one of the sockets, with a new ticket in each call: this process's, or another's."""
        return grpc.intercept_channel(grpc.insecure_channel(f"unix:{path}"), _Ticketed(ticket or self.ticket))

    def close(self) -> None:
        for daemon in self.daemons:
            daemon.end()
        shutil.rmtree(self.root)


class _Ticketed(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor
):
    """Puts a ticket into each call."""

    def __init__(self, ticket: Callable[[], bytes]) -> None:
        self._ticket = ticket

    def _go_on(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), (TICKET_METADATA, self._ticket())]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_stream = _go_on


class Daemon:
    """One leashd process."""

    def __init__(self, place: Place, *flags: str, ledger: Path, sock: Path) -> None:
        self.log = place.root / f"log{len(place.daemons)}"
        command = [sys.executable, "-m", "leashd", "--ledger", str(ledger), "--socket", str(sock), *flags]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_ready(self) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while "ready" not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline_s, self.said
            time.sleep(0.02)

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(WAIT_S)

    def terminate(self) -> int:
        self.process.terminate()
        return self.wait()

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.wait()


class Shim:
    """A shim session, driven by hand: one operation, one answer."""

    def __init__(
        self,
        place: Place,
        secret: bytes | None = None,
        *,
        protocol: int = 2,
        oldest_protocol: int = 0,
        held: tuple[bytes, ...] = (),
        ticket: Callable[[], bytes] | None = None,
    ) -> None:
        self.secret = secret or secrets.token_bytes(16)
        self.pushes: list[shim_pb2.Push] = []
        self._channel = place.channel(place.socket, ticket)
        self._requests: queue.SimpleQueue[shim_pb2.SessionRequest | None] = queue.SimpleQueue()
        self._responses = shim_pb2_grpc.ShimStub(self._channel).Session(iter(self._requests.get, None), timeout=60.0)
        self._op_id = 0
        self.greeting = self.ask(
            hello=shim_pb2.Hello(
                session_id=self.secret,
                client_version="test",
                protocol=protocol,
                oldest_protocol=oldest_protocol,
                held_calls=held,
            )
        )

    def ask(self, **operation: Any) -> shim_pb2.Answer:
        self._op_id += 1
        asked = shim_pb2.Operation(op_id=self._op_id, **operation)
        self._requests.put(shim_pb2.SessionRequest(operations=[asked]))
        for response in self._responses:
            self.pushes.extend(response.pushes)
            for answer in response.answers:
                assert answer.op_id == self._op_id
                return answer
        raise AssertionError("the stream ended without an answer")

    def open(self, run: str = "r", **limits: Any) -> shim_pb2.Answer:
        return self.ask(open_run=shim_pb2.OpenRun(run=run, limits=types_pb2.Limits(**limits)))

    def reserve(self, call: bytes, run: str = "r") -> shim_pb2.Answer:
        return self.ask(reserve=shim_pb2.Reserve(call_id=call, run=run, model="m", choices=1))

    def settle(self, call: bytes, run: str = "r") -> shim_pb2.Answer:
        usage = types_pb2.Usage(input_tokens=10)
        return self.ask(settle=shim_pb2.Settle(call_id=call, run=run, http_status=200, usage=usage, model="m"))

    def close(self) -> None:
        """Breaks the stream."""
        self._responses.cancel()
        self._requests.put(None)
        self._channel.close()
