"""Tickets: who a caller is, in a form that goes along with a call and that nobody else can make (DESIGN 4.5).

Nothing is kept of them: a ticket says itself whose it is and how long it holds, under a key that dies with the daemon.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

LIFE_NS = 30_000_000_000  # a client takes one for each call, so it may be as short as a slow machine allows
KEY_BYTES = 32
_MAC_BYTES = 16

_CLAIM = struct.Struct("<I?Q")  # uid, trusted, when it ends


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``trusted`` may act for every tenant of a daemon that serves the whole host."""

    uid: int
    trusted: bool = False


class Tickets:
    """Issues tickets, and says whose they are. Instants are those of one clock that only goes on."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, caller: Caller, now_ns: int) -> bytes:
        """A ticket for a caller."""
        claim = _CLAIM.pack(caller.uid, caller.trusted, now_ns + LIFE_NS)
        return claim + self._mac(claim)

    def caller(self, ticket: bytes, now_ns: int) -> Caller | None:
        """Whose ticket it is; None for one that is too old, or was not issued under this key."""
        claim, mac = ticket[: _CLAIM.size], ticket[_CLAIM.size :]
        if len(claim) < _CLAIM.size or not hmac.compare_digest(mac, self._mac(claim)):
            return None
        uid, trusted, until_ns = _CLAIM.unpack(claim)
        return Caller(uid, trusted) if now_ns < until_ns else None

    def _mac(self, claim: bytes) -> bytes:
        return hashlib.blake2b(claim, key=self._key, digest_size=_MAC_BYTES).digest()
