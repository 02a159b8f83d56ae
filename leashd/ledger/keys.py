"""The keys of records, whose order is what makes them be found by run or by session."""

from __future__ import annotations

import hashlib
import struct

from leashd.core.notices import NoticeKind
from leashd.core.outbox import OutboxKey, QueueKey
from leashd.core.reactions import Target
from leashd.ledger.protocol import CallKey

NUMBER = struct.Struct(">I")  # of a run
_QUEUE = struct.Struct(">?IB")  # whether it was given up, number of the run, way
_NOTICE = struct.Struct(">QB")  # sequence, kind
SESSION_BYTES = 8  # of a session's digest
MAX_KEY_BYTES = 511  # LMDB's
MAX_MODEL_KEY_BYTES = 200  # a longer model name is kept by its hash


def open_key(key: CallKey) -> bytes:
    """Of an open call: by session."""
    return key.session + NUMBER.pack(key.number) + key.call


def call_key(key: bytes) -> CallKey:
    """The inverse of ``open_key``."""
    number_end = SESSION_BYTES + NUMBER.size
    return CallKey(key[:SESSION_BYTES], NUMBER.unpack_from(key, SESSION_BYTES)[0], key[number_end:])


def unresolved_key(key: CallKey) -> bytes:
    """Of an unresolved call: by run."""
    return NUMBER.pack(key.number) + key.call + key.session


def model_key(name: str) -> bytes:
    """Of a model's history."""
    key = name.encode()
    return key if 0 < len(key) <= MAX_MODEL_KEY_BYTES else b"\0" + hashlib.blake2b(key, digest_size=16).digest()


def outbox_key(key: OutboxKey, *, dead: bool) -> bytes:
    """Of a notice on its way: those given up by themselves, and each queue in its order."""
    return queue_key(key.queue, dead=dead) + _NOTICE.pack(key.seq, key.kind)


def queue_key(queue: QueueKey, *, dead: bool) -> bytes:
    """What the keys of a queue begin with."""
    return _QUEUE.pack(dead, queue.number, queue.target)


def next_queue_key(key: bytes) -> bytes:
    """What is behind the whole queue of a key."""
    return (int.from_bytes(key[: _QUEUE.size], "big") + 1).to_bytes(_QUEUE.size, "big")


def read_outbox_key(key: bytes) -> OutboxKey:
    """The inverse of ``outbox_key``."""
    _, number, target = _QUEUE.unpack_from(key)
    seq, kind = _NOTICE.unpack_from(key, _QUEUE.size)
    return OutboxKey(number, Target(target), seq, NoticeKind(kind))
