"""DESIGN 9: every entry and record comes back as it was written, in few bytes, whatever is in it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash.usage import Usage
from leashd.core import events
from leashd.core.account import (
    Account,
    Basis,
    Call,
    CallState,
    ClosedCall,
    Compute,
    Held,
    ModelHistory,
    Opener,
    Stall,
    Stop,
    Totals,
)
from leashd.core.bounds import MAX_COMPUTE_RATE_NANODOLLARS_PER_HOUR, MAX_LIMIT
from leashd.core.events import Entry, Event, Settled
from leashd.core.limits import PPM, Limits, LimitState
from leashd.core.reasons import Reason
from leashd.ledger import codec
from leashd.ledger.protocol import ClockRecord, LedgerError
from tests.unit.leashd.play import HOUR, TWO, running

_INTEGERS = st.integers(0, 2**63 - 1)
_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    int: _INTEGERS,
    bool: st.booleans(),
    str: st.text(max_size=40),
    bytes: st.binary(max_size=20),
    type(None): st.none(),
}


def _limits() -> st.SearchStrategy[Limits]:
    def whole(values: dict[str, Any]) -> Limits:
        if not (values["rate_tokens"] and values["rate_window_ns"]):
            values |= {"rate_tokens": 0, "rate_window_ns": 0}
        if not values["deadline_ns"]:
            values["strict"] = False
        return Limits(**values)

    hints = get_type_hints(Limits)
    drawn = {name: st.integers(0, MAX_LIMIT) if hint is int else _of(hint) for name, hint in hints.items()}
    drawn |= {
        "warn_at_ppm": st.integers(0, PPM),
        "compute_rate_nanodollars_per_hour": st.integers(0, MAX_COMPUTE_RATE_NANODOLLARS_PER_HOUR),
    }
    return st.fixed_dictionaries(drawn).map(whole)


def _of(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that a record declares."""
    if hint in _BY_TYPE:
        return _BY_TYPE[hint]
    if hint is Limits:
        return _limits()
    if get_args(hint) and (get_origin(hint) is Union or type(None) in get_args(hint)):
        return st.one_of(*(_of(option) for option in get_args(hint)))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    if get_origin(hint) is tuple:
        first, *others = get_args(hint)
        several = st.lists(_of(first), max_size=3).map(tuple)
        return several if others == [...] else st.tuples(*map(_of, [first, *others]))
    if get_origin(hint) is Mapping:
        return st.dictionaries(*map(_of, get_args(hint)), max_size=3)
    hints = get_type_hints(hint)
    return st.builds(hint, **{field.name: _of(hints[field.name]) for field in fields(hint)})


_EVENTS: st.SearchStrategy[Event] = st.one_of(*(_of(kind) for kind in get_args(Event)))


@given(event=_EVENTS, at_ns=_INTEGERS)
def test_every_entry_comes_back_as_it_was_written(event: Event, at_ns: int) -> None:
    entry = Entry(seq=3, at_ns=at_ns, event=event)

    assert codec.decode_entry(3, codec.encode_entry(entry)) == entry


def test_every_kind_of_event_has_a_number_of_its_own_that_never_changes() -> None:
    assert {number: kind.__name__ for number, kind in codec.KINDS.items()} == {
        1: "Opened",
        2: "Closed",
        3: "Reserved",
        4: "Settled",
        5: "Voided",
        6: "Abandoned",
        7: "Resolved",
        8: "Stopped",
        9: "Warned",
        10: "WouldStop",
        11: "Raised",
        12: "Checkpoint",
    }
    assert set(codec.KINDS.values()) == set(get_args(Event))


def test_an_entry_of_an_earlier_release_is_read_with_the_defaults_of_what_was_added_since() -> None:
    shorter = bytes((codec.ENTRY_VERSION,)) + msgspec.msgpack.encode([8, 5, "stall"])

    assert codec.decode_entry(1, shorter) == Entry(seq=1, at_ns=5, event=events.Stopped(reason=Reason.STALL))


def test_a_usage_that_was_written_before_images_were_told_apart_is_read_without_them() -> None:
    call, counts = bytes(16), [10, 20, *[0] * 10, "flex"]
    shorter = bytes((codec.ENTRY_VERSION,)) + msgspec.msgpack.encode([6, 5, call, "m", 7, 6, counts])
    read = Usage(input_tokens=10, output_tokens=20, service_tier="flex")

    entry = codec.decode_entry(1, shorter)
    assert entry.event == events.Abandoned(call=call, model="m", held_nanodollars=7, kept_nanodollars=6, known=read)
    assert codec.encode_entry(entry) == shorter


def test_a_usages_fields_keep_their_places() -> None:
    assert [field.name for field in fields(Usage)] == [
        *("input_tokens", "output_tokens", "cached_input_tokens"),
        *("cache_write_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"),
        *("audio_input_tokens", "audio_output_tokens", "reasoning_tokens"),
        *("web_search_requests", "web_fetch_requests", "other_tool_requests", "service_tier"),
        *("image_input_tokens", "image_output_tokens"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02" + msgspec.msgpack.encode([8, 5, "stall"]),
        b"\x01",
        b"\x01\xc1",
        b"\x01" + msgspec.msgpack.encode({}),
        b"\x01" + msgspec.msgpack.encode([]),
        b"\x01" + msgspec.msgpack.encode([99, 5]),
        b"\x01" + msgspec.msgpack.encode([8, 5, "no_such_reason"]),
        b"\x01" + msgspec.msgpack.encode([5, 5]),
    ],
)
def test_what_is_no_entry_of_this_version_is_named_damaged_and_not_guessed_at(data: bytes) -> None:
    with pytest.raises(LedgerError):
        codec.decode_entry(1, data)


@given(data=st.binary(max_size=60))
def test_damaged_bytes_never_raise_anything_else(data: bytes) -> None:
    for decode in (codec.decode_account, codec.decode_call, codec.decode_closed, codec.decode_model):
        with suppress(LedgerError):
            decode(data)
    with suppress(LedgerError):
        codec.decode_entry(1, b"\x01" + data)


def test_an_account_comes_back_exactly() -> None:
    play = running(max_cost_nanodollars=1_000, compute_rate_nanodollars_per_hour=60, rate_tokens=9, rate_window_ns=HOUR)
    play.call(10, fingerprint=b"the same", usage=Usage(input_tokens=3))
    play.open(TWO, max_cost_nanodollars=900)
    play.abandon(play.admitted())
    play.kill()

    assert codec.decode_account(codec.encode_record(play.account)) == play.account


def test_the_largest_account_comes_back_exactly() -> None:
    account = Account(
        run="tenant/run",
        number=2**32 - 1,
        owner_uid=2**32 - 1,
        created_at_ns=2**62,
        limits=LimitState(Limits(), Limits(max_calls=2**62)),
        seq=2**62,
        prices=b"12345678",
        openers=tuple(Opener(bytes((n,)) * 8, n) for n in range(200)),
        stop=Stop(Reason.STALL, 1, 2, 3),
        totals=Totals(*range(9)),
        open=Held(3, 4),
        unresolved=Held(5, 6),
        compute=Compute(2**62, 2**62),
        window=((1, 2), (3, 4)),
        stall=Stall(b"12345678", 3, 4),
        dearest_nanodollars={"m": 5},
        warned={"cost_budget": 9},
        would_stop=(Reason.DEADLINE, Reason.STALL),
    )

    assert codec.decode_account(codec.encode_record(account)) == account


@given(record=st.one_of(_of(Call), _of(ModelHistory), _of(ClosedCall), _of(ClockRecord)))
def test_the_records_beside_the_accounts_come_back_as_they_were_written(record: Any) -> None:
    decode: dict[type[Any], Any] = {
        Call: codec.decode_call,
        ModelHistory: codec.decode_model,
        ClosedCall: codec.decode_closed,
        ClockRecord: codec.decode_clock,
    }
    assert decode[type(record)](codec.encode_record(record)) == record


def test_an_ordinary_settle_and_its_reserve_are_small() -> None:
    reserved = events.Reserved(
        call=bytes(16), session=bytes(8), model="gpt-5-mini-2025-08-07", held_nanodollars=5_000_000,
        basis=Basis.DEAREST,
    )  # fmt: skip
    settled = Settled(
        call=bytes(16), model="gpt-5-mini-2025-08-07", reserved_seq=19_999, held_nanodollars=5_000_000,
        cost_nanodollars=2_500_000, http_status=200, fingerprint=bytes(8), prices=bytes(8),
        usage=Usage(input_tokens=10_000, output_tokens=500, cached_input_tokens=8_000, reasoning_tokens=300),
    )  # fmt: skip
    sizes = [len(codec.encode_entry(Entry(seq=1, at_ns=2**60, event=event))) for event in (reserved, settled)]

    assert sum(sizes) <= 190


def test_a_call_keeps_its_state() -> None:
    call = Call(
        call=bytes(16), run="r", session=bytes(8), model="m", prices=b"", held_nanodollars=1, basis=Basis.REMAINDER,
        reserved_at_ns=1, reserved_seq=1, state=CallState.UNRESOLVED, known=Usage(input_tokens=1),
    )  # fmt: skip
    encoded = codec.encode_record(call)
    assert codec.decode_call(encoded) == call

    before = msgspec.msgpack.decode(encoded)
    del before["known"]["image_input_tokens"], before["known"]["image_output_tokens"]
    assert codec.decode_call(msgspec.msgpack.encode(before)) == call
