"""The rules for socket paths, which the daemon and its clients have to agree on."""

from __future__ import annotations

from pathlib import Path

MAX_SOCKET_PATH_BYTES = 107  # sockaddr_un holds 108 with the final NUL


def control_socket_for(socket: Path) -> Path:
    """The control socket that belongs to a shim socket.

    ``leashd.sock`` has ``control.sock`` beside it; any other ``NAME.sock`` has ``NAME-control.sock``.
    """
    if socket.name == "leashd.sock":
        return socket.with_name("control.sock")
    return socket.with_name(f"{socket.stem}-control{socket.suffix}")


def check_socket_path(path: Path) -> None:
    """Raises ValueError for a path that no Unix socket can have."""
    size = len(str(path).encode())
    if size > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"{path} has {size} bytes, and a Unix socket's path at most {MAX_SOCKET_PATH_BYTES}")
