"""Brackets and strings of JSON text, whatever pieces it comes in."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter.json_signs import SignReader


def signs(pieces: list[bytes]) -> tuple[list[tuple[int, str]], bool]:
    reader = SignReader()
    found = []
    start = 0
    for piece in pieces:
        found += [(start + at, chr(piece[at])) for at in reader.read(piece)]
        start += len(piece)
    return found, reader.in_string


@pytest.mark.parametrize(
    ("text", "expected", "in_string"),
    [
        ("", "", False),
        ('{"a":[1]}', '{""[]}', False),
        ('{"{[]}":"\\"}"}', '{""""}', False),
        ('"\\\\"}', '""}', False),
        ('"\\\\\\"}', '"', True),
        ('"\\', '"', True),
        ('}]"a', '}]"', True),
        ("null, 1.5e3: é", "", False),
    ],
)
def test_what_stands_in_strings_is_no_sign(text: str, expected: str, in_string: bool) -> None:
    data = text.encode()
    found = signs([data])
    assert ("".join(sign for _, sign in found[0]), found[1]) == (expected, in_string)
    for cut in range(len(data) + 1):
        assert signs([data[:cut], b"", data[cut:]]) == found
    assert signs([data[at : at + 1] for at in range(len(data))]) == found


@settings(deadline=None)
@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_the_signs_of_json_are_those_outside_its_strings(value: object) -> None:
    text = json.dumps(value)
    without_strings = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    assert [sign for _, sign in signs([text.encode()])[0]] == [sign for sign in without_strings if sign in '{}[]"']
