"""Who did it: every call has a ticket that the kernel vouches for, and entries name the user (DESIGN 4.5)."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import grpc
import pytest
from google.protobuf import symbol_database

from leash.client.control import ControlClient
from leash.client.errors import DaemonUnreachable
from leash.client.link import Link, LinkLost
from leash.client.paths import Endpoint
from leash.sockets import TICKET_METADATA
from leash.v1 import control_pb2, control_pb2_grpc, runs_pb2, runs_pb2_grpc, shim_pb2, types_pb2
from tests.e2e.raw_daemon import WAIT_S, Place, Shim

METHODS = [
    pytest.param(file.package, service.name, method, id=f"{service.name}.{method.name}")
    for file in (shim_pb2.DESCRIPTOR, runs_pb2.DESCRIPTOR, control_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
]


@pytest.fixture
def place() -> Iterator[Place]:
    created = Place(Path(tempfile.mkdtemp(prefix="li-", dir="/tmp")).resolve())
    yield created
    created.close()


def call(channel: grpc.Channel, package: str, service: str, method: Any, ticket: bytes | None) -> grpc.StatusCode:
    """How a call of a method ends that has this ticket, or none."""
    messages = symbol_database.Default()
    request, response = (
        messages.pool.FindMessageTypeByName(kind.full_name)._concrete_class
        for kind in (method.input_type, method.output_type)
    )
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    ask = getattr(channel, shape)(
        f"/{package}.{service}/{method.name}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    metadata = () if ticket is None else ((TICKET_METADATA, ticket),)
    given: Any = iter([request()]) if method.client_streaming else request()
    try:
        answer = ask(given, timeout=WAIT_S, metadata=metadata)
        if method.server_streaming:
            next(answer)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


class Served(NamedTuple):
    place: Place
    old_ticket: bytes


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A daemon that has been restarted once, and the ticket of its first life."""
    place = Place(Path(tempfile.mkdtemp(prefix="li-", dir="/tmp")).resolve())
    try:
        first = place.serve()
        old = place.ticket()
        first.kill()
        place.serve()
        yield Served(place, old)
    finally:
        place.close()


@pytest.mark.parametrize(("package", "service", "method"), METHODS)
def test_no_method_does_anything_without_a_good_ticket(served: Served, package: str, service: str, method: Any) -> None:
    place = served.place
    paths = {"Shim": [place.socket], "Control": [place.control], "Runs": [place.socket, place.control]}[service]
    good = place.ticket()
    forged = bytes([*good[:-1], good[-1] ^ 1])
    for path in paths:
        with grpc.insecure_channel(f"unix:{path}") as channel:
            for ticket in (None, b"", b"root", forged, served.old_ticket):
                assert call(channel, package, service, method, ticket) is grpc.StatusCode.UNAUTHENTICATED, ticket


def test_a_good_ticket_is_good_on_both_sockets_and_the_shims_socket_is_not_for_acting(served: Served) -> None:
    for path, acts in ((served.place.socket, False), (served.place.control, True)):
        with served.place.channel(path) as channel:
            runs_pb2_grpc.RunsStub(channel).Info(runs_pb2.InfoRequest(), timeout=WAIT_S)
            kill = control_pb2_grpc.ControlStub(channel).Kill
            if acts:
                kill(control_pb2.KillRequest(), timeout=WAIT_S)
            else:
                with pytest.raises(grpc.RpcError) as refused:
                    kill(control_pb2.KillRequest(), timeout=WAIT_S)
                assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_refusal_says_what_to_do(served: Served) -> None:
    with grpc.insecure_channel(f"unix:{served.place.control}") as channel, pytest.raises(grpc.RpcError) as refused:
        runs_pb2_grpc.RunsStub(channel).Info(runs_pb2.InfoRequest(), timeout=WAIT_S)
    assert "ticket.sock" in refused.value.details()
    assert "same version" in refused.value.details()


def test_entries_name_the_user_who_acted(place: Place) -> None:
    place.serve()
    shim = Shim(place)
    shim.open(max_calls=5)
    opened_call = os.urandom(16)
    assert shim.reserve(opened_call).HasField("admitted")
    abandon = shim_pb2.Abandon(call_id=opened_call, run="r")
    assert shim.ask(abandon=abandon).closed.outcome == "unresolved"
    with place.channel(place.control) as channel:
        control, runs = control_pb2_grpc.ControlStub(channel), runs_pb2_grpc.RunsStub(channel)
        control.Kill(control_pb2.KillRequest(runs=["r"]), timeout=WAIT_S)
        limits = types_pb2.Limits(max_calls=9)
        control.Raise(control_pb2.RaiseRequest(run="r", limits=limits, resume=True), timeout=WAIT_S)
        control.Resolve(control_pb2.ResolveRequest(run="r", call_id=opened_call), timeout=WAIT_S)
        pages = runs.Journal(runs_pb2.JournalRequest(run="r"), timeout=WAIT_S)
        entries = {entry.kind: entry for page in pages for entry in page.entries}
    shim.close()

    for kind in ("opened", "stopped", "raised", "resolved"):
        assert entries[kind].HasField("actor_uid"), kind
        assert entries[kind].actor_uid == os.getuid(), kind
    for kind in ("reserved", "abandoned"):
        assert not entries[kind].HasField("actor_uid"), kind


def test_peers_that_want_no_ticket_keep_nobody_from_one(place: Place) -> None:
    daemon = place.serve()
    idle = []
    for _ in range(300):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(place.tickets))
        idle.append(connection)
    assert place.ticket()
    descriptors = Path(f"/proc/{daemon.pid}/fd")
    if descriptors.is_dir():
        assert len(list(descriptors.iterdir())) < 100  # none of them is kept
    for connection in idle:
        connection.close()


def test_a_client_whose_daemon_has_restarted_takes_a_new_ticket(place: Place) -> None:
    endpoint = Endpoint(place.socket, place.control, None, "socket")
    place.serve()

    async def ask() -> None:
        async with ControlClient(endpoint) as client:
            first = await client.info()
            place.daemons[-1].kill()
            place.serve()
            with suppress(DaemonUnreachable):  # the old connection, whose end it has not seen yet
                await client.info()
            assert (await client.info()).pid != first.pid

    anyio.run(ask)


@pytest.mark.parametrize("pending", [pytest.param(0, marks=pytest.mark.long), 2_000])
def test_a_daemon_that_hangs_holds_no_client_up(place: Place, pending: int) -> None:
    endpoint = Endpoint(place.socket, place.control, None, "socket")
    daemon = place.serve()
    os.kill(daemon.pid, signal.SIGSTOP)
    waiting = []
    for _ in range(pending):  # more than the kernel lets wait
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        with suppress(BlockingIOError):
            connection.connect(str(place.tickets))
        waiting.append(connection)

    async def ask() -> None:
        with anyio.fail_after(WAIT_S), pytest.raises(DaemonUnreachable, match=r"ticket\.sock for 5 s"):
            async with ControlClient(endpoint) as client:
                await client.info()
        with anyio.fail_after(WAIT_S), pytest.raises(LinkLost, match=r"ticket\.sock for 5 s"):
            await Link.open(endpoint, shim_pb2.Operation(op_id=1))

    try:
        anyio.run(ask)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
        for connection in waiting:
            connection.close()
    assert place.ticket()


def test_a_daemon_without_tickets_is_told_to_be_of_another_version(place: Place) -> None:
    """An older leashd has no such socket."""
    place.serve()
    place.tickets.unlink()
    endpoint = Endpoint(place.socket, place.control, None, "socket")

    async def ask() -> None:
        async with ControlClient(endpoint) as client:
            await client.info()

    with pytest.raises(DaemonUnreachable, match="another version"):
        anyio.run(ask)


def test_a_daemon_whose_ticket_socket_is_gone_leaves(place: Place) -> None:
    daemon = place.serve()
    place.tickets.unlink()
    assert daemon.wait() == 0
    assert "a socket's file is gone" in daemon.said
    began_s = time.monotonic()
    place.serve().terminate()
    assert not place.tickets.exists()
    assert time.monotonic() - began_s < WAIT_S
