"""gRPC channels to a daemon, and the one place where the client imports gRPC.

gRPC's C core writes to standard error as it likes (on a fork, on a lost connection), which would land in the wrapped
program's terminal. It reads its verbosity once, at import, so the variable is set for that moment only: the children
of this process must not inherit it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from pathlib import Path

_quiet = "GRPC_VERBOSITY" not in os.environ
if _quiet:
    os.environ["GRPC_VERBOSITY"] = "NONE"
try:
    import grpc
    import grpc.aio
finally:
    if _quiet:
        del os.environ["GRPC_VERBOSITY"]

__all__ = ["MAX_PRICES_BYTES", "grpc", "open_channel"]

# The contract's bound on a price table; LiteLLM's whole table has about 1.5 MB.
MAX_PRICES_BYTES = 16 * 1024 * 1024
# A message is a price table and a few bytes around it, or much smaller.
_MAX_MESSAGE_BYTES = MAX_PRICES_BYTES + 64 * 1024

_OPTIONS: list[tuple[str, int]] = [
    # A proxy of the environment is for the agent's traffic, never for this socket.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    # A local daemon is back within a second, or it is started; the defaults (1 to 120 s) are for networks.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Each channel connects anew: a shared subchannel would hand on the back-off of the one before it.
    ("grpc.use_local_subchannel_pool", 1),
    # Retries are the session's, which knows what may be sent twice; gRPC's would keep a copy of every message.
    ("grpc.enable_retries", 0),
    # No pings: on a Unix socket the kernel tells when the peer dies, and a server punishes a client that pings often.
    ("grpc.keepalive_time_ms", 2**31 - 1),
    ("grpc.http2.bdp_probe", 0),
]


def open_channel(socket: Path) -> grpc.aio.Channel:
    """Make a channel to a Unix socket; it connects with its first call."""
    # The target is a URI: a percent sign, a question mark or a space of the path would be read as one.
    return grpc.aio.insecure_channel(f"unix:{quote(str(socket))}", options=_OPTIONS)
