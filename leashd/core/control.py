"""Opening and closing a run, and what a person may do to it: kill and raise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from leashd.core.account import Account
from leashd.core.boundaries import all_trips
from leashd.core.events import Checkpoint, Closed, Entry, Event, Opened, Raised, Stopped
from leashd.core.limits import (
    FLAGS,
    Given,
    Limits,
    LimitState,
    first_limits,
    lowered,
    raised,
    reopened,
    reopened_for_others,
)
from leashd.core.reasons import RESUMABLE, Reason

MAX_OPENERS = 1024  # shim sessions of one run: far above any number of gateway workers, and it bounds the account

_TRIPPED = {
    Reason.DEADLINE: "deadline_ns",
    Reason.COST_BUDGET: "max_cost_nanodollars",
    Reason.MAX_CALLS: "max_calls",
    Reason.MAX_COST_PER_CALL: "max_cost_per_call_nanodollars",
}
"""The limit behind each stop that a higher limit undoes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A shim session wants to reserve calls of a run. ``defaults`` and ``lowered`` hold only where the run is new.

    ``on_behalf`` says that the run's agent is somebody else than who gives the limits; ``lowered`` is what it asks for.
    ``prices`` is the opener's table. Where it has none, ``standing_prices`` is that of a run which nobody has open; one
    that is open keeps its own, or another opener could change what its calls cost.
    """

    session: bytes
    owner_uid: int
    given: Given
    defaults: Given
    prices: bytes
    lowered: Given = field(default_factory=dict)
    on_behalf: bool = False
    standing_prices: bytes = b""


class CannotRaiseError(ValueError):
    """A raise that would not lift the stop; the message says what would."""


class TooManyOpenersError(ValueError):
    """The run is open in as many shim sessions as it may be."""


def open_run(account: Account | None, command: OpenRun) -> tuple[Event, ...]:
    """Opens a run for a session; nothing where it is open for it already and no limit changes.

    Raises LooserLimitError, TooManyOpenersError, or ValueError for limits that contradict each other.
    """
    if account is None:
        limits = lowered(first_limits(command.given, command.defaults), command.lowered)
        prices = command.prices or command.standing_prices
        return (_opened(replace(command, prices=prices), limits, new_episode=True),)
    declare = reopened_for_others if command.on_behalf else reopened
    limits = declare(account.limits, command.given)
    is_opener = account.has_opener(command.session)
    kept = account.prices if account.openers else b""
    prices = command.prices or kept or command.standing_prices or account.prices
    if is_opener and limits == account.limits and prices == account.prices:
        return ()
    if not is_opener and len(account.openers) >= MAX_OPENERS:
        raise TooManyOpenersError(f"run {account.run} is open in {MAX_OPENERS} places already")
    return (
        _opened(
            replace(command, prices=prices),
            limits,
            new_episode=_has_ended(account),
            before=account.limits,
        ),
    )


def close_run(account: Account, session: bytes, *, clean: bool, until_ns: int) -> tuple[Event, ...]:
    """Takes a session off the run's openers; nothing where it is none of them."""
    if not account.has_opener(session):
        return ()
    return (Closed(session=session, clean=clean, until_ns=until_ns),)


def kill(account: Account, *, now: bool, actor_uid: int) -> tuple[Event, ...]:
    """Stops a run for good, whatever else had stopped it; nothing where it is killed already."""
    if account.stop is not None and account.stop.reason is Reason.KILL_SWITCH:
        return ()
    return (Stopped(reason=Reason.KILL_SWITCH, now=now, actor_uid=actor_uid),)


def raise_limits(account: Account, given: Given, *, resume: bool, actor_uid: int, now_ns: int) -> tuple[Event, ...]:
    """Sets limits in force and lifts the stop. Raises CannotRaiseError where the run would stay stopped."""
    limits = raised(account.limits, given)
    stop = account.stop
    if stop is None:
        if limits == account.limits:
            raise CannotRaiseError(f"run {account.run} is not stopped, and no limit would change")
        return (Raised(in_force=limits.in_force, actor_uid=actor_uid, lifted=False),)
    if stop.reason in RESUMABLE and not resume:
        raise CannotRaiseError(f"run {account.run} was stopped by {stop.reason}: resume it on purpose with --resume")
    tripped = _TRIPPED.get(stop.reason)
    if tripped and getattr(limits.in_force, tripped) == getattr(account.limits.in_force, tripped):
        raise CannotRaiseError(f"run {account.run} was stopped by {stop.reason}: give a higher {FLAGS[tripped]}")
    per_call = limits.in_force.max_cost_per_call_nanodollars
    if stop.reason is Reason.MAX_COST_PER_CALL and per_call and stop.used > per_call:
        raise CannotRaiseError(
            f"run {account.run} was stopped by a call dearer than --max-cost-per-call: raise that limit, or set it to 0"
        )
    still = [
        trip
        for trip in all_trips(replace(_as_opened_next(account), limits=limits, stop=None), now_ns)
        if trip.reason not in (Reason.RATE_LIMIT, Reason.STALL)  # one passes by itself, the other starts anew
    ]
    if still:
        names = " and ".join(FLAGS[_TRIPPED[trip.reason]] for trip in still)
        raise CannotRaiseError(f"run {account.run} would be stopped again at once: raise {names} above what is used")
    return (Raised(in_force=limits.in_force, actor_uid=actor_uid, lifted=True),)


def is_unused(account: Account) -> bool:
    """Whether nobody has the run open and no call of it is open or unresolved; it may be finished, or stopped."""
    return not (account.openers or account.open.calls or account.unresolved.calls)


def prune(account: Account, *, last: Entry, before_ns: int, actor_uid: int) -> tuple[Event, ...]:
    """Lets a checkpoint stand for all entries of a run; nothing where it is in use, or was, or has no other entry."""
    if not is_unused(account) or last.at_ns >= before_ns or isinstance(last.event, Checkpoint):
        return ()
    return (Checkpoint(account=account, actor_uid=actor_uid),)


def _has_ended(account: Account) -> bool:
    """Whether the episode is over: a crash goes on with it, a clean finish does not."""
    return not account.openers and not account.open.calls and account.last_close_clean


def _as_opened_next(account: Account) -> Account:
    """The account with the deadline's clock where the next opener will find it."""
    return replace(account, episode_started_at_ns=0) if _has_ended(account) else account


def _opened(command: OpenRun, limits: LimitState, *, new_episode: bool, before: LimitState | None = None) -> Opened:
    declared: Limits | None = limits.declared
    in_force: Limits | None = limits.in_force
    if limits == before:
        declared = in_force = None
    return Opened(
        session=command.session,
        owner_uid=command.owner_uid,
        prices=command.prices,
        new_episode=new_episode,
        declared=declared,
        in_force=in_force,
    )
