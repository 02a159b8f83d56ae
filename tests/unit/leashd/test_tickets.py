"""Tickets: whose they are, for how long, and that nobody else can make one."""

from __future__ import annotations

import pytest

from leashd.tickets import KEY_BYTES, LIFE_NS, Caller, Tickets

NOW_NS = 7 * 10**12
TICKETS = Tickets(b"k" * KEY_BYTES)


@pytest.mark.parametrize("caller", [Caller(0), Caller(1000), Caller(2**32 - 2, trusted=True)])
def test_a_ticket_says_whose_it_is(caller: Caller) -> None:
    assert TICKETS.caller(TICKETS.issue(caller, NOW_NS), NOW_NS) == caller


def test_a_ticket_holds_for_thirty_seconds() -> None:
    ticket = TICKETS.issue(Caller(1000), NOW_NS)
    assert LIFE_NS == 30 * 10**9
    assert TICKETS.caller(ticket, NOW_NS + LIFE_NS - 1) == Caller(1000)
    assert TICKETS.caller(ticket, NOW_NS + LIFE_NS) is None


def test_a_ticket_of_another_key_is_none() -> None:
    ticket = Tickets(b"o" * KEY_BYTES).issue(Caller(1000), NOW_NS)
    assert TICKETS.caller(ticket, NOW_NS) is None


def test_a_ticket_with_any_bit_changed_is_none() -> None:
    ticket = TICKETS.issue(Caller(1000), NOW_NS)
    for place in range(len(ticket)):
        for bit in range(8):
            changed = bytearray(ticket)
            changed[place] ^= 1 << bit
            assert TICKETS.caller(bytes(changed), NOW_NS) is None, (place, bit)


@pytest.mark.parametrize("length", [0, 1, 12, 13, 28])
def test_a_part_of_a_ticket_is_none(length: int) -> None:
    ticket = TICKETS.issue(Caller(1000), NOW_NS)
    assert length < len(ticket)
    assert TICKETS.caller(ticket[:length], NOW_NS) is None
    assert TICKETS.caller(ticket + bytes(1), NOW_NS) is None
