"""The access log: one line for each request, when it is over. There is no token, key, query or body in it.

The rule: whoever reads it holds no call up. Lines are written by a thread of their own; where that falls behind, so
many wait as have a bound here, and the rest are counted and left out.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from leash_shim.observer import Exchange, Observer

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

# Above any endpoint's path; what is longer was made up by somebody.
_MOST_PATH_CHARACTERS = 256
_MOST_METHOD_CHARACTERS = 16

# Some seconds of a worker at its full speed, and four megabytes.
_MOST_WAITING_LINES = 10_000

# What a pipe takes as a whole or not at all, so that the lines of several workers do not mix. Each line is shorter.
_MOST_AT_ONCE_BYTES = select.PIPE_BUF

# Lines are written together after this pause: to wake the thread for each of them would cost more than the lines.
_PAUSE_S = 0.05

# At the end of a process, whoever reads has this long to take what waits.
_LEAVE_S = 2.0

# What is wrong with the log is not told more often than this.
_TOLD_EVERY_S = 10.0

_SLOW = "it is read too slowly"

_encoder = msgspec.json.Encoder()


class AccessLog(Observer):
    """Writes to a stream's descriptor, as text or as JSON objects. The end of the process writes what waits still.

    A pipe that nobody reads any more is written to no more; what another failure costs is left out.
    """

    def __init__(self, form: str, stream: TextIO) -> None:
        self._line: Callable[[Exchange], str] = _json if form == "json" else _text
        # Past the stream, whose lock Python takes when it exits, be it held by a write that does not end.
        self._descriptor = stream.fileno()
        self._waiting: deque[bytes] = deque()
        # The first is counted where calls are, the others in the thread.
        self._left_out = self._lost = self._told = 0
        self._told_at_s = -_TOLD_EVERY_S
        self._trouble = _SLOW
        self._broken = False
        self._wanted = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="access log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def ended(self, exchange: Exchange) -> None:
        """Has its line written."""
        if len(self._waiting) >= _MOST_WAITING_LINES:
            self._left_out += 1
            return
        self._waiting.append(f"{self._line(exchange)}\n".encode())
        if not self._wanted.is_set():
            self._wanted.set()

    def close(self) -> None:
        """Waits a moment for what is not written yet. Nothing may end afterwards."""
        self._leaving.set()
        self._wanted.set()
        self._thread.join(_LEAVE_S)
        atexit.unregister(self.close)

    def _write_on(self) -> None:
        leaving = False
        while not leaving:
            self._wanted.wait()
            self._wanted.clear()
            # Asked before what waits is taken: whatever came before the end is among that.
            leaving = self._leaving.is_set()
            while lines := self._next_lines():
                self._write(lines)
            if leaving:
                self._told_at_s = -_TOLD_EVERY_S
            self._tell()
            self._leaving.wait(_PAUSE_S)

    def _next_lines(self) -> bytes:
        lines: list[bytes] = []
        size = 0
        while self._waiting and (not lines or size + len(self._waiting[0]) <= _MOST_AT_ONCE_BYTES):
            lines.append(self._waiting.popleft())
            size += len(lines[-1])
        return b"".join(lines)

    def _write(self, lines: bytes) -> None:
        if self._broken:
            return
        try:
            while lines:
                lines = lines[self._write_some(lines) :]
            self._trouble = _SLOW
        except BrokenPipeError:
            self._broken = True
            log.warning("the access log ends: nobody reads it any more")
        except OSError as error:
            self._lost += lines.count(b"\n")
            self._trouble = error.strerror or type(error).__name__

    def _write_some(self, lines: bytes) -> int:
        try:
            return os.write(self._descriptor, lines)
        except BlockingIOError:
            # Whoever shares the pipe has made it one that does not wait.
            select.select((), (self._descriptor,), (), _PAUSE_S)
            return 0

    def _tell(self) -> None:
        """Says how many lines are missing, where some are."""
        now_s = time.monotonic()
        missing = self._left_out + self._lost - self._told
        if missing and now_s - self._told_at_s >= _TOLD_EVERY_S:
            self._told, self._told_at_s = self._told + missing, now_s
            log.warning("the access log lacks %d lines: %s", missing, self._trouble)


def _text(exchange: Exchange) -> str:
    shown = _record(exchange)
    why = f" {exchange.reason}" if exchange.reason else ""
    return (
        f"{shown['time']} {exchange.client or '-'} {shown['method']} {shown['path'] or '-'} {exchange.status or '-'}"
        f" {shown['milliseconds']}ms {exchange.received_bytes}/{exchange.sent_bytes}B run={exchange.run or '-'}"
        f" provider={exchange.provider or '-'} {exchange.decision or '-'}{why} id={shown['request_id']}"
        f" client_id={exchange.client_request_id or '-'}"
    )


def _json(exchange: Exchange) -> str:
    return _encoder.encode(_record(exchange)).decode("utf-8")


def _record(exchange: Exchange) -> dict[str, Any]:
    at = time.time()
    return {
        "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at % 1 * 1000):03}Z",
        "request_id": exchange.request_id.hex(),
        "client_request_id": exchange.client_request_id,
        "client": exchange.client,
        "method": _shown(exchange.method, most=_MOST_METHOD_CHARACTERS),
        "path": _shown(exchange.path, most=_MOST_PATH_CHARACTERS),
        "run": exchange.run,
        "provider": exchange.provider,
        "decision": exchange.decision,
        "reason": exchange.reason,
        "status": exchange.status,
        "milliseconds": round(exchange.seconds * 1000, 1),
        "received_bytes": exchange.received_bytes,
        "sent_bytes": exchange.sent_bytes,
    }


def _shown(text: str, *, most: int) -> str:
    """A text as it can stand in a line: bounded, and with nothing that a terminal or a reader of columns acts on."""
    shown = "".join(sign if "!" <= sign <= "~" else f"%{ord(sign):02X}" for sign in text[:most])
    return shown + ("…" if len(text) > most else "")
