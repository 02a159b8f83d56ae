"""Addresses as people write them, and sockets that nobody shares by accident."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from leash_shim.gateway.listeners import Address, ListenError, address_of, listen, passed_listener

LOOPBACK = Address("127.0.0.1", 0)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes what it is given."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("text", "address", "is_loopback"),
    [
        (":8088", Address("", 8088), False),
        ("127.0.0.1:0", Address("127.0.0.1", 0), True),
        (" localhost:80 ", Address("localhost", 80), True),
        ("[::1]:8088", Address("::1", 8088), True),
        ("[::]:8088", Address("::", 8088), False),
        ("gateway.internal:8088", Address("gateway.internal", 8088), False),
    ],
)
def test_an_address_is_read_and_written(text: str, address: Address, is_loopback: bool) -> None:
    read = Address.parse(text)
    assert read == address
    assert str(read) == text.strip()
    assert read.is_loopback == is_loopback


@pytest.mark.parametrize("text", ["", "8088", "127.0.0.1", "127.0.0.1:", "host:port", "host:65536", "::1:8088", "h:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address: write"):
        Address.parse(text)


@pytest.mark.parametrize("count", [1, 3])
def test_all_sockets_of_a_gateway_have_one_port(opened: ExitStack, count: int) -> None:
    listeners = [opened.enter_context(each) for each in listen(LOOPBACK, count)]
    assert len(listeners) == count
    assert len({address_of(each) for each in listeners}) == 1


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("others", [1, 2])
def test_what_another_gateway_listens_on_is_not_shared(opened: ExitStack, count: int, others: int) -> None:
    [other, *_] = [opened.enter_context(each) for each in listen(LOOPBACK, others)]
    taken = Address.parse(address_of(other))
    with pytest.raises(ListenError, match=f"^{taken} cannot be listened on: somebody else listens there$"):
        listen(taken, count)


def test_every_interface_is_that_of_both_families(opened: ExitStack) -> None:
    [listener] = listen(Address("", 0))
    opened.enter_context(listener)
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)):
        pass
    if listener.family == socket.AF_INET6:
        with socket.create_connection(("::1", port)):
            pass


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (Address("192.0.2.1", 0), "this host has no such address"),
        (Address("no-such-host.invalid", 0), "cannot be listened on"),
    ],
)
def test_an_address_that_is_not_ours_is_named(address: Address, why: str) -> None:
    with pytest.raises(ListenError, match=why):
        listen(address)


def test_a_port_that_does_not_stay_free_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "listen", lambda _self, _backlog: _in_use())
    with pytest.raises(ListenError, match="no port stays free"):
        listen(LOOPBACK, 2)


def _in_use() -> None:
    raise OSError(98, "Address already in use")


@pytest.mark.parametrize(
    "environ", [{}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "0"}, {"LISTEN_PID": str(os.getpid())}]
)
def test_nothing_is_taken_that_was_not_passed_to_this_process(environ: dict[str, str]) -> None:
    environ["LISTEN_FDNAMES"] = "web"
    assert passed_listener(environ) is None
    assert environ == {}


def test_more_than_one_passed_socket_is_refused() -> None:
    with pytest.raises(ListenError, match="systemd has passed 2 sockets"):
        passed_listener({"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())})


@pytest.mark.parametrize(
    ("kind", "why"), [(socket.SOCK_DGRAM, "none for streams"), (None, "what systemd has passed is no socket")]
)
def test_what_is_passed_has_to_be_a_socket_for_streams(
    opened: ExitStack, monkeypatch: pytest.MonkeyPatch, kind: socket.SocketKind | None, why: str
) -> None:
    if kind is None:
        descriptor, other = os.pipe()
        opened.callback(os.close, descriptor)
        opened.callback(os.close, other)
    else:
        descriptor = socket.socket(socket.AF_INET, kind).detach()
    monkeypatch.setattr("leash_shim.gateway.listeners._FIRST_PASSED", descriptor)
    with pytest.raises(ListenError, match=why):
        passed_listener({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})


def test_a_passed_socket_listens(opened: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    monkeypatch.setattr("leash_shim.gateway.listeners._FIRST_PASSED", bound.detach())
    listener = passed_listener({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
    assert listener is not None
    opened.enter_context(listener)
    assert not listener.get_inheritable()
    with socket.create_connection(listener.getsockname()):
        pass
