"""A journal's entries as messages."""

from __future__ import annotations

from typing import Any

from leash.v1 import types_pb2
from leashd.api.convert import limits_message, usage_message
from leashd.core import events
from leashd.core.events import Entry
from leashd.ledger.protocol import StoredEntry

_KINDS: dict[type[Any], str] = {
    events.Opened: "opened",
    events.Closed: "closed",
    events.Reserved: "reserved",
    events.Settled: "settled",
    events.Voided: "voided",
    events.Abandoned: "abandoned",
    events.Resolved: "resolved",
    events.Stopped: "stopped",
    events.Warned: "warned",
    events.WouldStop: "would_stop",
    events.Raised: "raised",
}

_SHARED_FIELDS = ("model", "cost_nanodollars", "http_status", "actor_uid")


def stored_entry_message(stored: StoredEntry) -> types_pb2.Entry:
    """A journal record, with the head of the chain after it."""
    message = entry_message(stored.entry)
    message.hash = stored.head.hex()
    return message


def entry_message(entry: Entry) -> types_pb2.Entry:
    """An entry without its place in the chain."""
    event: Any = entry.event
    message = types_pb2.Entry(
        seq=entry.seq, at_unix_ns=entry.at_ns, kind=_KINDS[type(event)], call_id=getattr(event, "call", b"")
    )
    for name in _SHARED_FIELDS:
        value = getattr(event, name, None)
        if value is not None:
            setattr(message, name, value)
    message.reason = _reason(event)
    usage = getattr(event, "usage", None) or getattr(event, "known", None)
    if usage is not None:
        message.usage.CopyFrom(usage_message(usage))
    limits = getattr(event, "in_force", None)
    if limits is not None:
        message.limits.CopyFrom(limits_message(limits))
    if isinstance(event, events.Reserved):
        message.held_nanodollars = event.held_nanodollars
    elif isinstance(event, events.Abandoned):
        message.held_nanodollars = event.kept_nanodollars
    elif isinstance(event, events.Resolved):
        message.released = event.cost_nanodollars is None
    elif isinstance(event, events.Settled):
        message.prices_hash = event.prices.hex()
        message.amends = event.amends_nanodollars is not None
    return message


def _reason(event: Any) -> str:
    if isinstance(event, events.Closed):
        return "child_exited" if event.clean else "opener_lost"
    reason = getattr(event, "reason", None) or getattr(event, "blind", None)
    return reason.value if reason is not None else ""
