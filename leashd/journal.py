"""The systemd journal: log records with their fields, by its native protocol.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL: a record is one datagram of fields; a value with a newline goes with its
length before it. A record that the journal does not take at once is not waited for.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
MAX_VALUE_BYTES = 48 * 1024  # a long traceback; what is longer is cut, so that a record stays one datagram
_FIELD_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

Fields = Iterable[tuple[str, str]]


def is_stderr_the_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether stderr is the stream that the service manager has connected to the journal."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def encoded(fields: Fields) -> bytes:
    """One record as the journal reads it. A field may be there several times, with several values."""
    parts: list[bytes] = []
    for name, text in fields:
        if not _FIELD_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a field")
        value = text.encode(errors="replace")[:MAX_VALUE_BYTES]
        if b"\n" in value:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
        else:
            parts.append(name.encode() + b"=" + value + b"\n")
    return b"".join(parts)


class Journal:
    """A connection to the journal of this host, which is never waited for."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = str(path or JOURNAL_SOCKET)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, fields: Fields) -> bool:
        """Writes one record; whether the journal has taken it."""
        try:
            self._socket.sendto(encoded(fields), self._path)
        except OSError:
            return False
        return True

    def say(self, line: str) -> bool:
        """Writes a line to stderr as a service does; False where that is no socket, or not connected to anything."""
        try:
            with socket.socket(fileno=os.dup(2)) as stderr:
                stderr.send(line.encode(errors="replace"), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True  # nobody reads: the line is lost, and the calls that wait for the daemon are not
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()
