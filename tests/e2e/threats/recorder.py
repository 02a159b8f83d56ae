"""A provider that keeps every byte that reaches it, and answers each request as the test has told it to.

What came is then read by a strict parser: what leash let through twice, or in a shape that servers read in two ways,
is one request too many, or no request at all.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import h11

from tests.harness import MODEL, WAIT_S

COMPLETION = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500},
    }
).encode()


def whole(body: bytes = COMPLETION, *, fields: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """An answer as it goes over the wire; ``fields`` are further header lines, each with its end."""
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
    return head % (status, fields, len(body)) + body


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it reached the provider, its header names in lower case."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """The values of the headers of this name."""
        return [value for key, value in self.headers if key == name]


@dataclass(slots=True)
class Recorder:
    """A listening recorder. ``answer`` is sent for each request that it takes for whole; then it may ``hang_up``.

    With ``tls`` it is an https server, and keeps what comes within.
    """

    answer: bytes = field(default_factory=whole)
    hang_up: bool = False
    tls: ssl.SSLContext | None = None
    _kept: bytearray = field(default_factory=bytearray)
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _connections: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._connections):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    @property
    def origin(self) -> str:
        """What ``--upstream`` has to be."""
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def received(self) -> bytes:
        """All bytes that came since the last ``forget``."""
        return bytes(self._kept)

    def forget(self) -> None:
        """Begins anew."""
        self._kept.clear()

    def requests(self) -> list[Recorded]:
        """What came, as a strict server reads it. AssertionError for a byte that belongs to no request."""
        server = h11.Connection(h11.SERVER)
        server.receive_data(self.received)
        found: list[Recorded] = []
        while (event := server.next_event()) is not h11.NEED_DATA:
            assert isinstance(event, h11.Request), event
            body = b""
            while isinstance(more := server.next_event(), h11.Data):
                body += bytes(more.data)
            assert isinstance(more, h11.EndOfMessage), more
            headers = tuple((name.decode(), value.decode("latin-1")) for name, value in event.headers)
            found.append(Recorded(event.method.decode(), event.target.decode(), headers, body))
            server.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
            server.send(h11.EndOfMessage())
            if server.our_state is h11.MUST_CLOSE:
                following, _ = server.trailing_data
                server = h11.Connection(h11.SERVER)
                if following:  # no bytes would be the end
                    server.receive_data(following)
            else:
                server.start_next_cycle()
        assert server.trailing_data == (b"", False)
        return found

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(WAIT_S)
            self._connections.append(connection)
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        unread = b""
        with suppress(OSError, ValueError), connection:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            while data := connection.recv(1 << 16):
                self._kept += data
                unread += data
                while (rest := _behind_one(unread)) is not None:
                    unread = rest
                    connection.sendall(self.answer)
                    if self.hang_up:
                        return


def _behind_one(data: bytes) -> bytes | None:
    """What comes after the first request; None where that is not whole yet."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return None
    fields = {name.strip().lower(): value.strip() for name, _, value in map(_parted, head.split(b"\r\n")[1:])}
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        _, end, rest = body.partition(b"0\r\n\r\n")
        return rest if end else None
    size = int(fields.get(b"content-length", b"0"))
    return body[size:] if len(body) >= size else None


def _parted(line: bytes) -> tuple[bytes, bytes, bytes]:
    return line.partition(b":")
