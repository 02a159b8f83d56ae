"""The objects of an array, split out as they come."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter.json_objects import ObjectSplitter


def objects(pieces: list[bytes], *, max_bytes: int = 1_000) -> tuple[list[bytes], bool]:
    splitter = ObjectSplitter(max_bytes)
    found = [each for piece in pieces for each in splitter.feed(piece)]
    return found, splitter.whole


def everywhere(body: bytes, *, max_bytes: int = 1_000) -> tuple[list[bytes], bool]:
    """What is found in the body, which is the same however it is cut."""
    found = objects([body], max_bytes=max_bytes)
    for cut in range(len(body) + 1):
        assert objects([body[:cut], body[cut:]], max_bytes=max_bytes) == found
    assert objects([body[at : at + 1] for at in range(len(body))], max_bytes=max_bytes) == found
    return found


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []),
        (b"[]", []),
        (b'{"a":1}', [b'{"a":1}']),
        (b'[{"a":{"b":[{}]}},\r\n{"c":"}{"}\n]', [b'{"a":{"b":[{}]}}', b'{"c":"}{"}']),
        (b'[[{"a":1}],"{","\\"{",{}]', [b'{"a":1}', b"{}"]),
        (b'}]{"a":"\\\\"}]', [b'{"a":"\\\\"}']),
        # What is no JSON is found to be none where it is parsed.
        (b"{a]", [b"{a]"]),
    ],
)
def test_the_outermost_objects_come_out(body: bytes, expected: list[bytes]) -> None:
    assert everywhere(body) == (expected, True)


@pytest.mark.parametrize("body", [b"{", b'[{"a":1},{"b":', b'{"a":"}', b'{"a":"\\"}', b"{[}"])
def test_an_object_that_is_cut_is_told(body: bytes) -> None:
    assert everywhere(body)[1] is False


def test_an_object_beyond_the_bound_costs_itself() -> None:
    body = b'[{"a":"%s"},{"b":"%s"},{"c":1}]' % (b"x" * 92, b"x" * 93)
    assert everywhere(body, max_bytes=100) == ([body[1:101], b'{"c":1}'], True)


MEMBERS = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.lists(st.just({"}": "{"})), max_size=3)


@settings(deadline=None)
@given(st.lists(MEMBERS, max_size=4))
def test_an_array_gives_its_objects_back(values: list[dict[str, object]]) -> None:
    body = json.dumps(values, ensure_ascii=False).encode()
    found, whole = objects([body[at : at + 3] for at in range(0, len(body), 3)], max_bytes=1 << 20)
    assert ([json.loads(each) for each in found], whole) == (values, True)


@pytest.mark.parametrize("piece", [b"{", b'{"a":"', b"{}", b"[", b'"x', b"x" * 1_000])
def test_no_more_is_kept_than_the_bound(piece: bytes) -> None:
    splitter = ObjectSplitter(20_000)
    whole = piece * (150_000 // len(piece))
    tracemalloc.start()
    try:
        for at in range(0, len(whole), 7):
            for _ in splitter.feed(whole[at : at + 7]):
                pass
        for _ in splitter.feed(whole):
            pass
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The last piece is itself cut up to what is kept of it.
    assert peak_bytes < len(whole) + 80_000
