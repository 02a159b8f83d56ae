"""What one process holds of all requests has a bound, and what is given back makes room."""

from __future__ import annotations

import pytest

from leash_shim.held_bodies import BodiesFull, HeldBodies


def test_shares_add_up_to_the_bound_and_no_further() -> None:
    held = HeldBodies(10)
    first, second = held.share(), held.share()
    first.take(6)
    second.take(4)
    with pytest.raises(BodiesFull):
        second.take(1)
    assert held.held_bytes == 10

    first.release()
    first.release()
    assert held.held_bytes == 4
    second.take(6)
    second.release()
    assert held.held_bytes == 0


def test_large_bodies_leave_room_for_small_ones() -> None:
    held = HeldBodies(80 << 20)
    large = held.share()
    large.take(70 << 20)
    with pytest.raises(BodiesFull):
        large.take(1)
    with pytest.raises(BodiesFull):
        held.share().take((1 << 20) + 1)

    small = [held.share() for _ in range(10)]
    for share in small:
        share.take(1 << 20)
    with pytest.raises(BodiesFull):
        held.share().take(1)
    with pytest.raises(BodiesFull):
        small[0].take(1)
    assert held.held_bytes == 80 << 20


def test_without_a_bound_everything_is_held() -> None:
    share = HeldBodies(0).share()
    share.take(10**12)
