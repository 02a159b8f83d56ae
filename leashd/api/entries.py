"""A journal's entries as messages: which field of each kind goes where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from leash.v1 import types_pb2
from leashd.api.convert import account_message, limits_message, unit_message, usage_message
from leashd.core import events
from leashd.core.account import Basis
from leashd.core.bounds import MAX_LIMIT
from leashd.core.events import Entry
from leashd.core.reasons import Reason
from leashd.ledger.protocol import StoredEntry


class _Field(NamedTuple):
    """Where one field of an event goes. One that is None or left at its default stays absent."""

    event: str
    message: str
    convert: Callable[[Any], Any] | None = None


def _reason(reason: Reason) -> str:
    return reason.value


def _basis(basis: Basis) -> str:
    return basis.name.lower()


def _figure(figure: int) -> int:
    return min(figure, MAX_LIMIT)


_CALL = _Field("call", "call_id")
_MODEL = _Field("model", "model")
_SESSION = _Field("session", "session")
_COST = _Field("cost_nanodollars", "cost_nanodollars")
_RELEASED = _Field("held_nanodollars", "released_nanodollars")
_UNRESOLVED = _Field("unresolved", "unresolved")
_PRICES = _Field("prices", "prices_hash", bytes.hex)
_ACTOR = _Field("actor_uid", "actor_uid")
_IN_FORCE = _Field("in_force", "limits", limits_message)
_FIGURES = (_Field("reason", "reason", _reason), _Field("used", "used", _figure), _Field("limit", "limit", _figure))

_FORMS: dict[type[Any], tuple[str, tuple[_Field, ...]]] = {
    events.Opened: (
        "opened",
        (
            *(_SESSION, _IN_FORCE, _PRICES),
            _Field("owner_uid", "actor_uid"),
            _Field("declared", "declared", limits_message),
            _Field("new_episode", "new_episode"),
        ),
    ),
    events.Closed: ("closed", (_SESSION, _Field("until_ns", "until_unix_ns"))),
    events.Reserved: (
        "reserved",
        (_CALL, _SESSION, _MODEL, _Field("held_nanodollars", "held_nanodollars"), _Field("basis", "basis", _basis)),
    ),
    events.Settled: (
        "settled",
        (
            *(_CALL, _MODEL, _COST, _RELEASED, _UNRESOLVED, _PRICES),
            _Field("usage", "usage", usage_message),
            _Field("http_status", "http_status"),
            _Field("reserved_seq", "reserved_seq"),
            _Field("tool_cost_nanodollars", "tool_cost_nanodollars"),
            _Field("blind", "reason", _reason),
            _Field("answered_model", "answered_model"),
            _Field("amends_nanodollars", "amended_nanodollars"),
            _Field("amends_released", "amends_released"),
        ),
    ),
    events.Voided: ("voided", (_CALL, _RELEASED, _UNRESOLVED)),
    events.Abandoned: (
        "abandoned",
        (
            *(_CALL, _MODEL, _RELEASED, _UNRESOLVED),
            _Field("kept_nanodollars", "held_nanodollars"),
            _Field("known", "usage", usage_message),
        ),
    ),
    events.Resolved: ("resolved", (_CALL, _MODEL, _COST, _RELEASED, _ACTOR)),
    events.Stopped: ("stopped", (*_FIGURES, _ACTOR, _Field("now", "now"))),
    events.Warned: ("warned", _FIGURES),
    events.WouldStop: ("would_stop", _FIGURES),
    events.Raised: ("raised", (_IN_FORCE, _ACTOR, _Field("lifted", "lifted"))),
    events.Checkpoint: ("checkpoint", (_ACTOR,)),
}


def stored_entry_message(stored: StoredEntry) -> types_pb2.Entry:
    """A journal record, with the head of the chain after it."""
    message = entry_message(stored.entry)
    message.hash = stored.head.hex()
    return message


def entry_message(entry: Entry) -> types_pb2.Entry:
    """An entry without its place in the chain."""
    event: Any = entry.event
    kind, form = _FORMS[type(event)]
    values: dict[str, Any] = {}
    for field in form:
        value = getattr(event, field.event)
        if value is not None:
            values[field.message] = value if field.convert is None else field.convert(value)
    message = types_pb2.Entry(seq=entry.seq, at_unix_ns=entry.at_ns, kind=kind, **values)
    if isinstance(event, events.Closed):
        message.reason = "child_exited" if event.clean else "opener_lost"
    elif isinstance(event, events.Resolved):
        message.released = event.cost_nanodollars is None
    elif isinstance(event, events.Settled):
        message.amends = event.amends_nanodollars is not None
    elif isinstance(event, events.Stopped | events.Warned | events.WouldStop):
        message.unit = unit_message(event.reason, event.limit)
    elif isinstance(event, events.Checkpoint):
        message.account.CopyFrom(account_message(event.account, entry.at_ns))
    return message
