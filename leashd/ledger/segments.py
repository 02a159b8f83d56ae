"""How a run's journal lies on the disk: in segments of some dozens of entries, so that pages are full however runs mix.

One record for each entry would leave LMDB's pages half empty where many runs grow at once, since each of them inserts
in the middle of the database. A segment is its header (the heads of the chain before it and after it, and the number of
its entries) and then each entry: its length, the head of the chain after it, and its encoding.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from leashd.ledger.protocol import LedgerDamagedError

HEAD_BYTES = 8  # of the chain's hash: enough to find accidental damage, which is all that it is for
# A page without its header. LMDB gives what is larger than half a page pages of its own, so a full segment fills one;
# a few of some hundred bytes in a page would leave a fifth of it empty, since it splits a page before it is full.
SEGMENT_BYTES = 4_080
EMPTY_HEAD = bytes(HEAD_BYTES)

_LENGTH_BYTES = 3  # of an entry's encoding: a checkpoint has some kilobytes, the others some dozens of bytes
_KEY = struct.Struct(">IQ")
_HEADER = struct.Struct(f">{HEAD_BYTES}s{HEAD_BYTES}sH")


def segment_key(number: int, first_seq: int) -> bytes:
    """The key of the segment of a run that begins with an entry."""
    return _KEY.pack(number, first_seq)


def first_seq(key: bytes) -> int:
    """The first entry of the segment with this key."""
    seq: int = _KEY.unpack(key)[1]
    return seq


def run_number(key: bytes) -> int:
    """The run of the segment with this key."""
    number: int = _KEY.unpack(key)[0]
    return number


def chained(head: bytes, payload: bytes) -> bytes:
    """The head of a hash chain after one more entry."""
    return hashlib.blake2b(head + payload, digest_size=HEAD_BYTES).digest()


def head_before(segment: bytes) -> bytes:
    """The head of the chain before the first entry of a segment."""
    return segment[:HEAD_BYTES]


def items(segment: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(head after it, encoding) of each entry of a segment. Raises LedgerDamagedError for what is no segment."""
    _, last_head, left = _header(segment)
    position, head = _HEADER.size, b""
    while position < len(segment):
        head_start = position + _LENGTH_BYTES
        payload_start = head_start + HEAD_BYTES
        position = payload_start + int.from_bytes(segment[position:head_start], "big")
        if position > len(segment) or position == payload_start:
            break
        head = segment[head_start:payload_start]
        left -= 1
        yield head, segment[payload_start:position]
    if left or position != len(segment) or head != last_head:
        raise LedgerDamagedError("a segment of the journal is damaged: its header and its entries differ")


class Tail:
    """The last segment of a run while entries are appended to it; ``head`` is the chain's."""

    def __init__(self, *, before: bytes = EMPTY_HEAD, next_seq: int = 1) -> None:
        self.head = before
        self.next_seq = next_seq
        self.first_seq = next_seq
        self._before = before
        self._entries = bytearray()

    @classmethod
    def stored(cls, key: bytes, segment: bytes) -> Tail:
        """A segment as it stands in the ledger."""
        before, head, entries = _header(segment)
        tail = cls(before=before, next_seq=first_seq(key))
        tail.head = head
        tail.next_seq += entries
        tail._entries += segment[_HEADER.size :]
        return tail

    def has_room(self, payload: bytes) -> bool:
        """Whether one more entry goes into this segment. One that is larger than a segment has one of its own."""
        size = _HEADER.size + len(self._entries) + _LENGTH_BYTES + HEAD_BYTES + len(payload)
        return not self._entries or size <= SEGMENT_BYTES

    def following(self) -> Tail:
        """The segment after this one, empty yet."""
        return Tail(before=self.head, next_seq=self.next_seq)

    def append(self, payload: bytes) -> None:
        """Adds the next entry."""
        self.head = chained(self.head, payload)
        self.next_seq += 1
        self._entries += len(payload).to_bytes(_LENGTH_BYTES, "big") + self.head + payload

    def data(self) -> bytes:
        """The segment as it is stored."""
        return _HEADER.pack(self._before, self.head, self.next_seq - self.first_seq) + self._entries


def _header(segment: bytes) -> tuple[bytes, bytes, int]:
    if len(segment) < _HEADER.size:
        raise LedgerDamagedError("a segment of the journal is damaged: it is cut short")
    before, head, entries = _HEADER.unpack_from(segment)
    return before, head, entries
