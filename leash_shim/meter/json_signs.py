"""The brackets and strings of JSON text that comes in any pieces.

The rule: only strings and brackets are told apart, so that no text is decoded twice; whether it is valid is found where
it is parsed. Nothing is kept of it, and each byte is looked at a bounded number of times.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BRACKET_OR_QUOTE = re.compile(rb'["{}\[\]]')
# What goes on with a string up to its quote, or up to a backslash that ends the piece.
_REST_OF_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)

QUOTE = ord('"')
OBJECT = ord("{")
OPENING = (OBJECT, ord("["))


class SignReader:
    """Finds the brackets that stand outside strings, and the quotes that begin and end a string."""

    __slots__ = ("_escaped", "in_string")

    def __init__(self) -> None:
        self.in_string = False
        self._escaped = False  # the last piece ended with the backslash of an escape

    def read(self, data: bytes) -> Iterator[int]:
        """Where each sign stands in ``data``; ``in_string`` is then as it is after the sign."""
        position = 0
        if self._escaped and data:
            self._escaped = False
            position = 1
        while position < len(data):
            if self.in_string:
                rest = _REST_OF_STRING.match(data, position)
                assert rest is not None  # it matches the empty rest, too
                at = rest.end()
                self.in_string = at == len(data) or data[at] != QUOTE
                self._escaped = self.in_string and at < len(data)
                if not self.in_string:
                    yield at
            else:
                found = _BRACKET_OR_QUOTE.search(data, position)
                if found is None:
                    return
                at = found.start()
                self.in_string = data[at] == QUOTE
                yield at
            position = at + 1
