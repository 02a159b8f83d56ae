"""One JSON object without its large values, out of bytes that come in any pieces.

The rule: what is kept is bounded, however long the body is. Answers with vectors or pictures have up to a hundred
megabytes, of which a kilobyte tells what they cost.
"""

from __future__ import annotations

from leash_shim.meter.json_signs import OPENING, QUOTE, SignReader

# A transcript of a day's speech has less; a usage block has a kilobyte.
MAX_VALUE_BYTES = 1 << 20
# All of them together, and what stands between them.
MAX_OUTLINE_BYTES = 4 << 20


class Outline:
    """Keeps the outermost object with each value of more than ``MAX_VALUE_BYTES`` read as null."""

    __slots__ = ("_depth", "_dropping", "_kept", "_overflowed", "_signs", "_value_start")

    def __init__(self) -> None:
        self._signs = SignReader()
        self._depth = 0
        self._kept = bytearray()
        self._value_start = -1  # of the member's string, array or object under way; below 0 between them
        self._dropping = False  # it is too long
        self._overflowed = False

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the body."""
        start = 0  # what stands before it in ``data`` is dealt with
        for at in self._signs.read(data):
            sign = data[at]
            if sign == QUOTE:
                begins, of_member = self._signs.in_string, self._depth == 1
            elif sign in OPENING:
                self._depth += 1
                begins, of_member = True, self._depth == 2
            else:
                begins, of_member = False, self._depth == 2
                self._depth = max(self._depth - 1, 0)
            if of_member:
                end = at if begins else at + 1
                self._keep(data[start:end])
                start = end
                self._value_start = len(self._kept) if begins else -1
                self._dropping = False
        self._keep(data[start:])

    def text(self) -> bytes:
        """What is left of the body; nothing where even that is too long."""
        return bytes(self._kept)

    def _keep(self, piece: bytes) -> None:
        if self._overflowed or self._dropping:
            return
        if 0 <= self._value_start < len(self._kept) + len(piece) - MAX_VALUE_BYTES:
            self._dropping = True
            del self._kept[self._value_start :]
            piece = b"null"
        self._kept += piece
        if self._value_start < 0 and len(self._kept) > MAX_OUTLINE_BYTES:
            self._overflowed = True
            self._kept.clear()
