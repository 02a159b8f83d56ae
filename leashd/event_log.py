"""What the log tells of runs: stops, warnings, calls left unresolved, and what people did. Once it is durable.

Names, reasons and figures only. Ordinary calls are in the ledger, and not here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

from leash.names import short_call
from leash.units import format_duration, json_dollars
from leashd.core.account import Account
from leashd.core.events import (
    Abandoned,
    Checkpoint,
    Closed,
    Entry,
    Event,
    Opened,
    Raised,
    Resolved,
    Stopped,
    Warned,
    WouldStop,
)
from leashd.core.reasons import UNITS, Reason, Unit

_log = structlog.get_logger("leashd.runs")


def log_entries(entries: list[tuple[Account, Entry]]) -> None:
    """Logs what is worth it among the entries of one commit; a watcher of the committer."""
    unresolved: Counter[str] = Counter()
    for account, entry in entries:
        event = entry.event
        if isinstance(event, Abandoned):
            unresolved[account.run] += not event.unresolved
        elif (tell := _TELL.get(type(event))) is not None:
            tell(account, event)
    # A gateway that is killed leaves thousands: a line for each run is enough to find them by.
    for run, calls in unresolved.items():
        if calls:
            _log.warning("calls_unresolved", run=run, reason=Reason.UNRESOLVED_CALLS.value, calls=calls)


def _stopped(account: Account, event: Any) -> None:
    name = "run_killed" if event.reason is Reason.KILL_SWITCH else "run_stopped"
    _log.warning(
        name, run=account.run, **_why(event), **_actor(event.actor_uid), **({"now": True} if event.now else {})
    )


def _warned(account: Account, event: Any) -> None:
    _log.warning("run_warned", run=account.run, **_why(event))


def _would_stop(account: Account, event: Any) -> None:
    _log.warning("run_would_stop", run=account.run, **_why(event))


def _raised(account: Account, event: Any) -> None:
    _log.info("run_raised", run=account.run, lifted=event.lifted, **_actor(event.actor_uid))


def _resolved(account: Account, event: Any) -> None:
    cost = "released" if event.cost_nanodollars is None else _shown(Unit.NANODOLLARS, event.cost_nanodollars)
    _log.info("call_resolved", run=account.run, call=short_call(event.call), cost=cost, **_actor(event.actor_uid))


def _opened(account: Account, event: Any) -> None:
    _log.debug("run_opened", run=account.run, **_actor(event.owner_uid))


def _closed(account: Account, event: Any) -> None:
    _log.debug("run_closed", run=account.run, clean=event.clean)


def _pruned(account: Account, event: Any) -> None:
    _log.debug("run_pruned", run=account.run, **_actor(event.actor_uid))


_TELL: dict[type[Event], Callable[[Account, Any], None]] = {
    Stopped: _stopped,
    Warned: _warned,
    WouldStop: _would_stop,
    Raised: _raised,
    Resolved: _resolved,
    Opened: _opened,
    Closed: _closed,
    Checkpoint: _pruned,
}


def _why(event: Stopped | Warned | WouldStop) -> dict[str, str]:
    unit = UNITS.get(event.reason)
    if unit is None or not event.limit:
        return {"reason": event.reason.value}
    return {
        "reason": event.reason.value,
        "used": _shown(unit, event.used),
        "limit": _shown(unit, event.limit),
    }


def _actor(uid: int | None) -> dict[str, int]:
    return {} if uid is None else {"uid": uid}


def _shown(unit: Unit, value: int) -> str:
    """A figure, exact: in dollars, as a duration, or as a count."""
    if unit is Unit.NANODOLLARS:
        return f"${json_dollars(value)}"
    return format_duration(value) if unit is Unit.NANOSECONDS else str(value)
