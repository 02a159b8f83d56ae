"""JSON as it is on the wire: its values, and where the members of an object stand in the bytes.

The rule: nothing here raises on any input, and a position is only given where the whole text was understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import msgspec

# A text nested beyond the interpreter's own limit is refused by both parsers with a RecursionError.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class _AnyObject(msgspec.Struct):
    """An object of whatever members: the parser only checks them."""


_NOTHING: Mapping[str, object] = {}

_object_decoder = msgspec.json.Decoder(_AnyObject)
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])

# Escaped backslashes and whole surrogate pairs are matched so that they are passed over; what is left is a half.
_SURROGATE_HALVES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_ONE_ESCAPE_BYTES = 6
_KEY = re.compile(rb'[ \t\r\n]*("(?:[^"\\]|\\.)*+")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_SEPARATOR = re.compile(rb"[ \t\r\n]*([,}])")
_OPENING = re.compile(rb"[ \t\r\n]*\{")

# Beyond it doubles no longer hold every integer, so a writer may have rounded; and no call has so many tokens.
LARGEST_NUMBER = 1 << 53


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object: the offsets of its key's first quote and of its value's first byte and end."""

    key_start: int
    value_start: int
    value_end: int


def parse(text: bytes | bytearray) -> object:
    """The value of a JSON text, or None. NaN and infinities are taken, since Python's own writer sends them.

    Bytes that are no UTF-8 read as the replacement character, as they do in JavaScript's clients.
    """
    try:
        return msgspec.json.decode(text)
    except _UNREADABLE:
        pass
    try:
        return json.loads(text)
    except UnicodeDecodeError:
        pass
    except _UNREADABLE:
        return None
    try:
        return json.loads(text.decode("utf-8", "replace"))
    except _UNREADABLE:
        return None


def read_members(text: bytes) -> dict[str, bytes] | None:
    """The raw values of an object's members by key, the last of equal ones; None for what is no JSON object."""
    return _understood(text)[1]


def is_object(text: bytes) -> bool:
    """Whether the text is one whole JSON object."""
    try:
        _object_decoder.decode(text)
    except _UNREADABLE:
        return isinstance(parse(text), dict)
    return True


def locate_members(text: bytes) -> dict[str, Member] | None:
    """Where the members of an object stand; None for no JSON object, and for one with duplicate keys.

    The parser validates the text and tells each value's length. The walk over the members then only has to step from
    key to key: a value that is not found where the grammar puts it ends the walk with None.
    """
    text, values = _understood(text)
    opening = _OPENING.match(text)
    if values is None or opening is None:
        return None
    located: dict[str, Member] = {}
    position = opening.end()
    while key_match := _KEY.match(text, position):
        key = parse(key_match[1])
        if not isinstance(key, str) or key in located or key not in values:
            return None
        start = key_match.end()
        end = start + len(values[key])
        separator = _SEPARATOR.match(text, end)
        if separator is None or not text.startswith(values[key], start):
            return None
        located[key] = Member(key_match.start(1), start, end)
        position = separator.end()
    return located if len(located) == len(values) else None


def is_ambiguous(text: bytes) -> bool:
    """Whether readers may find different values under one name in an object: a key stands in it twice.

    Some take the first of the two and some the last, and some (Go's, and Google's for snake case) take one key for
    another that is only spelled otherwise. False for what is no JSON object.
    """
    values = _understood(text)[1]
    if values is None:
        return False
    spellings = {key.replace("_", "").casefold() for key in values}
    return len(spellings) < len(values) or locate_members(text) is None


def canonical(value: object) -> str:
    """A value as JSON with sorted keys and no white space; empty where it is nested too deep to be written."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    except _UNREADABLE:
        return ""


def mapping(value: object) -> Mapping[str, object]:
    """A JSON object's members, and none for any other value."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else _NOTHING


def elements(value: object) -> list[object]:
    """A JSON array's elements, and none for any other value."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """A string, and an empty one for any other value."""
    return value if isinstance(value, str) else ""


def is_plain(value: object) -> bool:
    """Whether a value is a number, true, false or null, and so can refer to nothing."""
    return value is None or isinstance(value, (bool, int, float))


def count(value: object) -> int | None:
    """A number of tokens or requests: an integer from 0 to 2^53, or None for anything else."""
    if type(value) is int and 0 <= value <= LARGEST_NUMBER:
        return value
    return None


def first_count(*values: object) -> int:
    """The first readable count, or zero."""
    return next((number for value in values if (number := count(value)) is not None), 0)


def whole(value: object) -> int | None:
    """A positive whole number, also where a lenient provider would take it as 100.0 or "100"."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return count(value) or None


def name(value: object) -> str:
    """A name fit to be stored and shown: at most 256 printable characters, or else empty.

    The longest model names of today's price lists have about a hundred.
    """
    if isinstance(value, str) and len(value) <= 256 and value.isprintable():
        return value
    return ""


def _understood(text: bytes) -> tuple[bytes, dict[str, bytes] | None]:
    """The text as the parser takes it, of the same length, and the raw members; None for what is no JSON object.

    JavaScript programs that cut a string inside an emoji write half of an escaped surrogate pair. Providers take it,
    the parser does not, so such a half is read as the replacement character, whose escape is as long.
    """
    try:
        return text, _raw_members(text)
    except _UNREADABLE:
        if b"\\ud" not in text and b"\\uD" not in text:
            return text, None
    mended = _SURROGATE_HALVES.sub(_mended, text)
    try:
        return mended, _raw_members(mended)
    except _UNREADABLE:
        return text, None


def _raw_members(text: bytes) -> dict[str, bytes]:
    return {key: bytes(value) for key, value in _members_decoder.decode(text).items()}


def _mended(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if len(match[0]) == _ONE_ESCAPE_BYTES else match[0]
