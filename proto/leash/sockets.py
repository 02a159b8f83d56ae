"""The rules for sockets and tickets, which the daemon and its clients have to agree on."""

from __future__ import annotations

from pathlib import Path

# Where the daemon of the whole host keeps its ledger, and listens for shims.
SYSTEM_LEDGER = Path("/var/lib/leash/leash.db")
SYSTEM_SOCKET = Path("/run/leash/leashd.sock")

MAX_SOCKET_PATH_BYTES = 107  # sockaddr_un holds 108 with the final NUL

# The metadata of a gRPC call in which its ticket goes along; the ending says that it is bytes.
TICKET_METADATA = "leash-ticket-bin"


def control_socket_for(socket: Path) -> Path:
    """The control socket that belongs to a shim socket.

    ``leashd.sock`` has ``control.sock`` beside it; any other ``NAME.sock`` has ``NAME-control.sock``.
    """
    return _beside(socket, "control")


def ticket_socket_for(socket: Path) -> Path:
    """The socket where tickets are had, which belongs to a shim socket: ``ticket.sock``, or ``NAME-ticket.sock``."""
    return _beside(socket, "ticket")


def check_socket_path(path: Path) -> None:
    """Raises ValueError for a path that no Unix socket can have."""
    size = len(str(path).encode())
    if size > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"{path} has {size} bytes, and a Unix socket's path at most {MAX_SOCKET_PATH_BYTES}")


def _beside(socket: Path, name: str) -> Path:
    if socket.name == "leashd.sock":
        return socket.with_name(f"{name}.sock")
    return socket.with_name(f"{socket.stem}-{name}{socket.suffix}")
