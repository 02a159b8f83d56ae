"""A run's journal in segments: nothing is lost at their edges, and what is damaged is said to be so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leashd.ledger.protocol import LedgerError
from leashd.ledger.segments import (
    EMPTY_HEAD,
    HEAD_BYTES,
    SEGMENT_BYTES,
    Tail,
    chained,
    first_seq,
    head_before,
    items,
    run_number,
    segment_key,
)

_SIZES = st.one_of(st.integers(1, 150), st.integers(4_000, 9_000))
_PAYLOADS = st.lists(_SIZES).map(lambda sizes: [bytes((place % 251,)) * size for place, size in enumerate(sizes)])


def written(payloads: list[bytes]) -> dict[bytes, bytes]:
    """The segments of run 7 after these entries, each stored and read again before the next is appended."""
    segments: dict[bytes, bytes] = {}
    tail = Tail()
    for payload in payloads:
        if not tail.has_room(payload):
            tail = tail.following()
        tail.append(payload)
        key = segment_key(7, tail.first_seq)
        segments[key] = tail.data()
        tail = Tail.stored(key, segments[key])
    return segments


@given(payloads=_PAYLOADS)
def test_entries_come_back_in_order_each_hashed_over_the_one_before(payloads: list[bytes]) -> None:
    head, seq = EMPTY_HEAD, 0
    for key, segment in sorted(written(payloads).items()):
        assert (run_number(key), first_seq(key)) == (7, seq + 1)
        assert head_before(segment) == head
        for after, payload in items(segment):
            seq, head = seq + 1, chained(head, payload)
            assert (after, payload) == (head, payloads[seq - 1])
    assert seq == len(payloads)


@given(payloads=_PAYLOADS)
def test_no_segment_is_larger_than_a_page_but_for_an_entry_that_is(payloads: list[bytes]) -> None:
    for segment in written(payloads).values():
        assert len(segment) <= SEGMENT_BYTES or len(list(items(segment))) == 1


@given(payloads=st.lists(st.binary(min_size=1, max_size=150), min_size=1, max_size=20), data=st.data())
def test_a_segment_that_is_cut_or_has_a_changed_length_is_damaged(payloads: list[bytes], data: st.DataObject) -> None:
    (segment,) = written(payloads).values()
    cut = segment[: data.draw(st.integers(0, len(segment) - 1))]

    with pytest.raises(LedgerError, match="damaged"):
        list(items(cut))
    longer = bytearray(segment)
    longer[2 * HEAD_BYTES + 2 + 2] ^= 1  # the last byte of the first entry's length
    with pytest.raises(LedgerError, match="damaged"):
        list(items(bytes(longer)))


@pytest.mark.parametrize("size", [0, 1, HEAD_BYTES, 2 * HEAD_BYTES + 1])
def test_what_has_no_whole_header_is_no_segment(size: int) -> None:
    with pytest.raises(LedgerError, match="cut short"):
        list(items(bytes(size)))
