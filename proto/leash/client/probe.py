"""Whether somebody listens on a Unix socket, found out by a plain connect.

A gRPC channel that meets a dead socket goes into back-off and delays what comes next, so it is asked here first.
"""

from __future__ import annotations

import errno
import socket
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Reach(Enum):
    """What a connect to a socket came to."""

    ANSWERS = "answers"
    DEAD = "dead"
    DENIED = "denied"


def probe(path: Path) -> Reach:
    """Connect to the socket and hang up, without waiting."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        try:
            connection.connect(str(path))
        except BlockingIOError:
            # The backlog is full: somebody listens, and is busy.
            return Reach.ANSWERS
        except OSError as error:
            return Reach.DENIED if error.errno in {errno.EACCES, errno.EPERM} else Reach.DEAD
    return Reach.ANSWERS
