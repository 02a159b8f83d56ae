"""The objects of a JSON array, split out of bytes that come in any pieces.

The rule: no more is kept than the object under way, and of that no more than its bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash_shim.meter.json_signs import OBJECT, OPENING, QUOTE, SignReader

if TYPE_CHECKING:
    from collections.abc import Iterator


class ObjectSplitter:
    """Cuts bytes into the outermost objects: those of an array, or the body itself.

    An object of more than ``max_bytes`` is passed over.
    """

    __slots__ = ("_depth", "_in_array", "_kept", "_max_bytes", "_overlong", "_signs")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._signs = SignReader()
        self._depth = 0  # of brackets within the object; 0 between objects
        self._in_array = False  # whose elements are the objects
        self._kept = bytearray()
        self._overlong = False

    @property
    def whole(self) -> bool:
        """Whether it stands outside everything that was opened, as at the end of a body that was not cut."""
        return not (self._depth or self._in_array or self._signs.in_string)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The objects that ``data`` completes."""
        start = 0  # where the object under way begins in ``data``
        for at in self._signs.read(data):
            sign = data[at]
            if sign == QUOTE:
                continue
            if sign in OPENING:
                if self._depth:
                    self._depth += 1
                elif sign == OBJECT:
                    self._depth = 1
                    start = at
                else:
                    self._in_array = True
            elif not self._depth:
                self._in_array = False
            else:
                self._depth -= 1
                if not self._depth:
                    self._keep(data[start : at + 1])
                    if not self._overlong:
                        yield bytes(self._kept)
                    self._kept.clear()
                    self._overlong = False
        if self._depth:
            self._keep(data[start:])

    def _keep(self, piece: bytes) -> None:
        if self._overlong or len(self._kept) + len(piece) > self._max_bytes:
            self._overlong = True
            self._kept.clear()
        else:
            self._kept += piece
