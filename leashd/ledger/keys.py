"""The keys of records, whose order is what makes them be found by run or by session."""

from __future__ import annotations

import hashlib
import struct

from leashd.ledger.protocol import CallKey

NUMBER = struct.Struct(">I")  # of a run
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
