"""How records are written down: entries as compact arrays, accounts and calls as maps, all in MessagePack.

An entry is a version byte and the array [kind, at_ns, field, …], with trailing defaults left off. Kinds and the order
of fields are part of the stored schema: fields are only ever added at the end, with a default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar, get_type_hints

import msgspec

from leash.usage import Usage
from leashd.core import events
from leashd.core.account import Account, Basis, Call, ClosedCall, ModelHistory
from leashd.core.events import Entry, Event
from leashd.core.limits import Limits, OnBlind
from leashd.core.outbox import Pending
from leashd.core.reactions import Reactions
from leashd.core.reasons import Reason
from leashd.core.slots import setters
from leashd.ledger.protocol import ClockRecord, LedgerDamagedError, LedgerError

ENTRY_VERSION = 1

_Record = TypeVar("_Record")

KINDS: dict[int, type[Event]] = {
    1: events.Opened,
    2: events.Closed,
    3: events.Reserved,
    4: events.Settled,
    5: events.Voided,
    6: events.Abandoned,
    7: events.Resolved,
    8: events.Stopped,
    9: events.Warned,
    10: events.WouldStop,
    11: events.Raised,
    12: events.Checkpoint,
}
"""The number of each kind of entry. A number is never used again for another kind."""

_NO_DEFAULT = object()

_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    Account: partial(msgspec.convert, type=Account),
    Basis: Basis,
    OnBlind: OnBlind,
    Reason: Reason,
}


class _Shape:
    """How one record class becomes an array and comes back."""

    def __init__(self, record: type[Any]) -> None:
        self.record = record
        declared = fields(record)
        hints = get_type_hints(record)
        self.names = tuple(field.name for field in declared)
        self.defaults = tuple(_default(field) for field in declared)
        self.values = attrgetter(*self.names)
        self.setters = tuple(setters(record).values())
        self.required = sum(default is _NO_DEFAULT for default in self.defaults)  # they come first
        self.is_checked = hasattr(record, "__post_init__")
        self.converters = [
            (index, converter)
            for index, field in enumerate(declared)
            if (converter := _converter(hints[field.name])) is not None
        ]
        self.nested = [index for index, field in enumerate(declared) if _bare(hints[field.name]) in (Usage, Limits)]

    def to_array(self, record: Any) -> list[Any]:
        values = list(self.values(record))
        while values and values[-1] == self.defaults[len(values) - 1]:
            values.pop()
        for index in self.nested:
            if index < len(values) and values[index] is not None:
                values[index] = _NESTED[type(values[index])].to_array(values[index])
        return values

    def from_array(self, values: list[Any]) -> Any:
        for index, converter in self.converters:
            if index < len(values) and values[index] is not None:
                values[index] = converter(values[index])
        if self.is_checked or len(values) < self.required:
            return self.record(**dict(zip(self.names, values, strict=False)))
        record = object.__new__(self.record)
        for set_field, value in zip(self.setters, values + list(self.defaults[len(values) :]), strict=False):
            set_field(record, value)
        return record


def _default(field: Field[Any]) -> Any:
    return _NO_DEFAULT if field.default is MISSING else field.default


def _bare(hint: Any) -> Any:
    """The type of an optional field."""
    options = [option for option in getattr(hint, "__args__", ()) if option is not type(None)]
    return options[0] if options else hint


def _converter(hint: Any) -> Callable[[Any], Any] | None:
    bare = _bare(hint)
    if bare in (Usage, Limits):
        return _NESTED[bare].from_array
    return _CONVERTERS.get(bare)


_NESTED = {record: _Shape(record) for record in (Usage, Limits)}
_SHAPES = {record: _Shape(record) for record in KINDS.values()}
_NUMBERS = {record: number for number, record in KINDS.items()}

_encode = msgspec.msgpack.Encoder().encode
_decode_array = msgspec.msgpack.Decoder(list[Any]).decode
_decode_account = msgspec.msgpack.Decoder(Account).decode
_decode_call = msgspec.msgpack.Decoder(Call).decode
_decode_closed = msgspec.msgpack.Decoder(ClosedCall).decode
_decode_model = msgspec.msgpack.Decoder(ModelHistory).decode
_decode_clock = msgspec.msgpack.Decoder(ClockRecord).decode
_decode_reactions = msgspec.msgpack.Decoder(Reactions).decode
_decode_pending = msgspec.msgpack.Decoder(Pending).decode

encode_record: Callable[[Account | Call | ClosedCall | ModelHistory | ClockRecord | Reactions | Pending], bytes] = (
    _encode
)
"""An account, call, outcome, model history, clock, what is wanted outside, or notice as a MessagePack map."""


def encode_entry(entry: Entry) -> bytes:
    """An entry without its sequence, which is in its key."""
    record = type(entry.event)
    array = [_NUMBERS[record], entry.at_ns, *_SHAPES[record].to_array(entry.event)]
    return bytes((ENTRY_VERSION,)) + _encode(array)


def decode_entry(seq: int, data: bytes) -> Entry:
    """The inverse of ``encode_entry``. Raises LedgerError for what is no entry of a known version and kind."""
    if not data or data[0] != ENTRY_VERSION:
        raise LedgerError("the journal has an entry of a version that this leashd does not know")
    try:
        kind, at_ns, *values = _decode_array(memoryview(data)[1:])
        return Entry(seq=seq, at_ns=at_ns, event=_SHAPES[KINDS[kind]].from_array(values))
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise LedgerDamagedError(f"entry {seq} of the journal is damaged: {error}") from error


def decode_account(data: bytes) -> Account:
    """An account as stored. Raises LedgerError."""
    return _checked(_decode_account, data)


def decode_call(data: bytes) -> Call:
    """An open or unresolved call as stored. Raises LedgerError."""
    return _checked(_decode_call, data)


def decode_closed(data: bytes) -> ClosedCall:
    """The outcome of a closed call as stored. Raises LedgerError."""
    return _checked(_decode_closed, data)


def decode_model(data: bytes) -> ModelHistory:
    """A model's history as stored. Raises LedgerError."""
    return _checked(_decode_model, data)


def decode_clock(data: bytes) -> ClockRecord:
    """The clock as stored. Raises LedgerError."""
    return _checked(_decode_clock, data)


def decode_reactions(data: bytes) -> Reactions:
    """Where a run's notices go, as stored. Raises LedgerError."""
    return _checked(_decode_reactions, data)


def decode_pending(data: bytes) -> Pending:
    """A notice on its way, as stored. Raises LedgerError."""
    return _checked(_decode_pending, data)


def _checked(decode: Callable[[bytes], _Record], data: bytes) -> _Record:
    try:
        return decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LedgerDamagedError(f"a record of the ledger is damaged: {error}") from error
