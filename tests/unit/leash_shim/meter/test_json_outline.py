"""One JSON object without its large values."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter import json_outline
from leash_shim.meter.json_outline import Outline


def outline(pieces: list[bytes]) -> bytes:
    read = Outline()
    for piece in pieces:
        read.feed(piece)
    return read.text()


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_outline, "MAX_VALUE_BYTES", 20)
    monkeypatch.setattr(json_outline, "MAX_OUTLINE_BYTES", 200)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", b""),
        (b'{"a":1}', b'{"a":1}'),
        (b'{"a":[%s],"b":{"c":1}}' % (b"1," * 8 + b"1"), None),
        (b'{"data":[%s],"b":{"c":1}}' % (b"1," * 10), b'{"data":null,"b":{"c":1}}'),
        (b'{"b":{"c":1},"data":{"x":"%s"}}' % (b"]" * 30), b'{"b":{"c":1},"data":null}'),
        (b'{"b64_json":"%s","b":2}' % (b'\\"' * 30), b'{"b64_json":null,"b":2}'),
        (b'{"a":"%s","b":2}' % (b"x" * 18), None),
        (b'{"a":"%s","b":2}' % (b"x" * 19), b'{"a":null,"b":2}'),
        (b'{"a":[[["%s"],[%s]]]}' % (b"x" * 9, b"1," * 9), b'{"a":null}'),
        # What is between the members is kept, up to the bound for all.
        (b'\n\n{"a" : 1.5e3 }\n', None),
        (b" " * 201 + b'{"a":1}', b""),
        (b'{"a":%s}' % (b"1" * 300), b""),
        (b"x" * 300, b""),
        (b"[" * 300, b"[null"),
        (b'"' * 150, None),
        (b"}]" * 30 + b'{"a":1}', None),
    ],
)
@pytest.mark.usefixtures("small_bounds")
def test_a_large_value_reads_as_null(body: bytes, expected: bytes | None) -> None:
    whole = outline([body])
    assert whole == (body if expected is None else expected)
    for cut in range(len(body) + 1):
        assert outline([body[:cut], body[cut:]]) == whole
    assert outline([body[at : at + 1] for at in range(len(body))]) == whole


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=30),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        ),
        max_size=5,
    ),
    st.integers(1, 9),
)
def test_what_is_small_is_as_it_was(value: dict[str, Any], step: int) -> None:
    body = json.dumps(value).encode()
    assert outline([body[at : at + step] for at in range(0, len(body), step)]) == body


def test_vectors_beyond_all_that_is_kept_of_a_body_elsewhere() -> None:
    vector = b'{"index":0,"embedding":[%s]},' % b",".join([b"-0.0093272919"] * 3_072)
    read = Outline()
    tracemalloc.start()
    try:
        read.feed(b'{"object":"list","data":[')
        for _ in range(1_000):
            read.feed(vector)
        read.feed(b'{}],"usage":{"total_tokens":9}}')
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert json.loads(read.text()) == {"object": "list", "data": None, "usage": {"total_tokens": 9}}
    assert peak_bytes < 4 * json_outline.MAX_VALUE_BYTES
