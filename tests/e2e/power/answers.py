"""The reserves that a daemon admitted, from the bytes on its sockets: HTTP/2 frames, gRPC messages, operations.

A call is known by its 16-byte id in the request, and its answer by the number of the operation on the same stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hpack import Decoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame

from leash.v1 import shim_pb2
from tests.e2e.power.trace import Call, TraceError

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEADER_BYTES = 9
_MESSAGE_HEADER_BYTES = 5
_SESSION = b"/leash.v1.Shim/Session"


@dataclass(frozen=True, slots=True)
class Admitted:
    """A reserve whose answer began to leave the daemon at a line of the trace."""

    call_id: bytes
    line: int


@dataclass(slots=True)
class _Messages:
    """The gRPC messages of one direction of one stream, each with the line at which its first byte went."""

    data: bytearray = field(default_factory=bytearray)
    lines: list[int] = field(default_factory=list)  # of each byte

    def take(self, data: bytes, line: int) -> Iterator[tuple[bytes, int]]:
        self.data += data
        self.lines += [line] * len(data)
        while len(self.data) >= _MESSAGE_HEADER_BYTES:
            if self.data[0]:
                raise TraceError("a message is compressed")
            end = _MESSAGE_HEADER_BYTES + int.from_bytes(self.data[1:_MESSAGE_HEADER_BYTES], "big")
            if len(self.data) < end:
                return
            yield bytes(self.data[_MESSAGE_HEADER_BYTES:end]), self.lines[0]
            del self.data[:end], self.lines[:end]


class _Direction:
    """The bytes that go one way on a connection, as frames."""

    def __init__(self, *, preface: bytes = b"") -> None:
        self._preface = preface
        self._data = bytearray()
        self.hpack = Decoder()

    def take(self, data: bytes) -> Iterator[Frame]:
        self._data += data
        if self._preface:
            if len(self._data) < len(self._preface):
                return
            if not self._data.startswith(self._preface):
                raise TraceError("a connection to the daemon does not speak HTTP/2")
            del self._data[: len(self._preface)]
            self._preface = b""
        while len(self._data) >= _FRAME_HEADER_BYTES:
            frame, length = Frame.parse_frame_header(memoryview(bytes(self._data[:_FRAME_HEADER_BYTES])))
            end = _FRAME_HEADER_BYTES + length
            if len(self._data) < end:
                return
            frame.parse_body(memoryview(bytes(self._data[_FRAME_HEADER_BYTES:end])))
            del self._data[:end]
            yield frame


class _Connection:
    """One client's connection."""

    def __init__(self) -> None:
        self._received = _Direction(preface=_PREFACE)
        self._sent = _Direction()
        self._requests: dict[int, _Messages] = {}
        self._responses: dict[int, _Messages] = {}
        self._reserves: dict[tuple[int, int], bytes] = {}  # (stream, operation) -> call id

    def receive(self, data: bytes, line: int) -> None:
        for frame in self._received.take(data):
            if isinstance(frame, HeadersFrame):
                if dict(self._received.hpack.decode(frame.data, raw=True)).get(b":path") == _SESSION:
                    self._requests[frame.stream_id] = _Messages()
                    self._responses[frame.stream_id] = _Messages()
            elif isinstance(frame, DataFrame) and frame.stream_id in self._requests:
                for message, _ in self._requests[frame.stream_id].take(frame.data, line):
                    for operation in shim_pb2.SessionRequest.FromString(message).operations:
                        if operation.HasField("reserve"):
                            self._reserves[frame.stream_id, operation.op_id] = operation.reserve.call_id

    def send(self, data: bytes, line: int) -> Iterator[Admitted]:
        for frame in self._sent.take(data):
            if isinstance(frame, DataFrame) and frame.stream_id in self._responses:
                for message, first_line in self._responses[frame.stream_id].take(frame.data, line):
                    for answer in shim_pb2.SessionResponse.FromString(message).answers:
                        if answer.HasField("admitted"):
                            yield Admitted(self._reserves[frame.stream_id, answer.op_id], first_line)


def admitted(calls: list[Call]) -> list[Admitted]:
    """The admitted reserves of a trace, in the order of their answers."""
    connections: dict[int, _Connection] = {}
    found: list[Admitted] = []
    for call in sorted(calls, key=lambda call: call.entered if call.name == "sendmsg" else call.returned):
        if call.result <= 0 and call.name != "close":
            continue
        if call.name == "close":
            connections.pop(call.descriptor, None)
        elif call.name == "recvmsg":
            data = call.data
            if call.descriptor not in connections and data.startswith(_PREFACE[:3]):
                connections[call.descriptor] = _Connection()
            if call.descriptor in connections:
                connections[call.descriptor].receive(data, call.returned)
        elif call.name == "sendmsg" and call.descriptor in connections:
            found += connections[call.descriptor].send(call.data, call.entered)
    return found
