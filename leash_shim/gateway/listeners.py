"""Where a gateway listens: addresses as people write them, and the sockets for them.

The rule: an address that somebody else listens on is an error, and never shared by accident. A gateway's own workers
have a socket each on the same address, and the kernel deals connections out to them.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_MOST_PORT = (1 << 16) - 1

# Connections that come while a worker is busy wait here; Linux takes no more.
_BACKLOG = 2048

# A free port may be taken by somebody else before all sockets of a gateway have it; that hardly happens twice.
_FREE_PORT_ATTEMPTS = 5

# What a host without IPv6 says of it.
_NO_IPV6 = frozenset((errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENOPROTOOPT))

# Where systemd's socket activation begins: sd_listen_fds(3).
_FIRST_PASSED = 3


class ListenError(ValueError):
    """An address that cannot be listened on; the message is a sentence for whoever typed it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. An empty host is every interface; port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads ``:8088``, ``HOST:PORT`` or ``[::1]:PORT``. ValueError."""
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r} is no address: write an IPv6 one as [::1]:8088")
        if not colon or not port.isdecimal() or int(port) > _MOST_PORT:
            raise ValueError(f"{text!r} is no address: write it as 127.0.0.1:8088, or :8088 for every interface")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this host can reach it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def __str__(self) -> str:
        """As ``parse`` reads it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listen(address: Address, count: int = 1) -> list[socket.socket]:
    """Listens on an address with as many sockets of one port. ListenError."""
    for _ in range(_FREE_PORT_ATTEMPTS):
        try:
            first = _bound(address, shared=False)
        except OSError as error:
            raise ListenError(f"{address} cannot be listened on: {_why(error)}") from error
        if count == 1:
            first.listen(_BACKLOG)
            return [first]
        found = Address(address.host, first.getsockname()[1])
        # The port is free, as far as a socket can tell that does not share it. Now it is shared.
        first.close()
        sockets: list[socket.socket] = []
        try:
            for _ in range(count):
                sockets.append(_bound(found, shared=True))
                sockets[-1].listen(_BACKLOG)
        except OSError as error:
            for each in sockets:
                each.close()
            if error.errno == errno.EADDRINUSE and not address.port:
                continue
            raise ListenError(f"{address} cannot be listened on: {_why(error)}") from error
        return sockets
    raise ListenError(f"{address} cannot be listened on: no port stays free")


def passed_listener(environ: MutableMapping[str, str]) -> socket.socket | None:
    """The socket that systemd has passed; None where there is none. ListenError where it is not one to listen on.

    What says so is taken out of ``environ``, so that no child takes it for its own.
    """
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if not count.isdecimal() or pid != str(os.getpid()) or int(count) == 0:
        return None
    if int(count) > 1:
        raise ListenError(f"systemd has passed {count} sockets, and a gateway takes one")
    os.set_inheritable(_FIRST_PASSED, False)
    try:
        passed = socket.socket(fileno=_FIRST_PASSED)
    except OSError as error:
        raise ListenError(f"what systemd has passed is no socket: {error.strerror}") from error
    if passed.type != socket.SOCK_STREAM:
        passed.close()
        raise ListenError("the socket that systemd has passed is none for streams (ListenStream=)")
    passed.listen(_BACKLOG)
    return passed


def address_of(listener: socket.socket) -> str:
    """Where a socket listens, as the authority of a URL, or the path of a Unix socket."""
    name = listener.getsockname()
    if isinstance(name, str):
        return name
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bound(address: Address, *, shared: bool) -> socket.socket:
    """A socket bound to an address; on every interface for IPv4 and IPv6, where the host has that. OSError."""
    if not address.host:
        try:
            return _bind(socket.AF_INET6, ("::", address.port), shared=shared)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
        return _bind(socket.AF_INET, ("0.0.0.0", address.port), shared=shared)  # noqa: S104 (what was asked for)
    family, *_, name = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    return _bind(family, name, shared=shared)


def _bind(family: int, name: tuple[object, ...], *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # After a restart the port still has connections of the one before, which are no reason to refuse it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(name)
    except OSError:
        sock.close()
        raise
    return sock


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "somebody else listens there"
        case errno.EACCES:
            return "ports below 1024 are for root (or for systemd to pass on)"
        case errno.EADDRNOTAVAIL:
            return "this host has no such address"
        case _:
            return error.strerror or type(error).__name__
