"""What reserve decides: first the settled facts, then blindness, then the room that open calls leave."""

from __future__ import annotations

from dataclasses import dataclass

from leashd.core import rate
from leashd.core.account import NS_PER_HOUR, Account, Basis
from leashd.core.boundaries import all_trips, deadline_at_ns, first_trip
from leashd.core.events import Event, Reserved, Stopped, Warned, WouldStop
from leashd.core.limits import OnBlind
from leashd.core.reasons import Reason, Trip


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What the price table and the ledger know of a call before it is made. Costs in nanodollars."""

    listed: bool  # the table has a price for the model that the request names
    named: bool = True  # the request names a model
    free: bool = False  # every price of it is zero
    ceiling_nanodollars: int | None = None  # the most that it can cost, None where it has no bound
    metered_before: bool = False  # the ledger has metered this model
    dearest_in_ledger_nanodollars: int = 0  # its dearest call in any run; 0 for none
    unmeterable: bool = False  # the endpoint bills, but its usage is not on the wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """A shim asks for the admission of one call."""

    call: bytes
    session: bytes
    model: str
    quote: Quote


@dataclass(frozen=True, slots=True)
class Admit:
    """The call may be forwarded once the events are durable."""

    held_nanodollars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The call must not be forwarded. ``transient`` ones carry the seconds until a retry is worth it."""

    reason: Reason
    used: int = 0
    limit: int = 0
    transient: bool = False
    retry_after_seconds: int = 0
    payment_required: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Only open calls leave no room: the call waits until they are closed."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to a reserve, and the events that come with it."""

    reply: Admit | Refuse | Wait
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class _Hold:
    nanodollars: int
    basis: Basis


UNRESOLVED_DETAIL = (
    "calls whose outcome is unknown hold what is left; see them with 'leashctl inspect {run}' "
    "and close them with 'leashctl resolve'"
)


def admit(account: Account, reserve: Reserve, now_ns: int) -> Admission:
    """Decides one reserve. A refusal writes no entry, but the trip of a terminal boundary writes its stop."""
    if account.limits.in_force.observe:
        return _observed(account, reserve, now_ns)
    refused = _tripped(account, now_ns) or _blind(account, reserve) or _unbounded(account, reserve)
    if refused is not None:
        return refused
    events = _blind_warnings(account, reserve)
    hold = _hold(account, reserve, now_ns)
    no_room = (_no_call_left(account), _no_money_left(account, reserve, hold, now_ns))
    refusal = next((answer for answer in no_room if isinstance(answer, Refuse)), None)
    if refusal is not None:
        return Admission(refusal)  # no wait would change it
    if any(no_room):
        return Admission(Wait())
    return _admitted(reserve, hold, events)


def expired(account: Account, now_ns: int) -> Refuse:
    """The transient refusal of a call that has waited for room as long as it may."""
    dollars = _no_call_left(account) is None  # else it is the number of calls that leaves no room
    return Refuse(
        reason=Reason.BUDGET_HELD,
        used=_pledged(account, now_ns) + account.open.nanodollars if dollars else 0,
        limit=account.limits.in_force.max_cost_nanodollars if dollars else 0,
        transient=True,
        retry_after_seconds=1,
        detail="calls in flight hold what is left of the budget",
    )


def stopped_refusal(account: Account) -> Refuse:
    """The refusal of every call of a stopped run."""
    stop = account.stop
    assert stop is not None
    return Refuse(reason=stop.reason, used=stop.used, limit=stop.limit)


def _admitted(reserve: Reserve, hold: _Hold, events: tuple[Event, ...]) -> Admission:
    reserved = Reserved(
        call=reserve.call,
        session=reserve.session,
        model=reserve.model,
        held_nanodollars=hold.nanodollars,
        basis=hold.basis,
    )
    return Admission(Admit(hold.nanodollars), (*events, reserved))


def _tripped(account: Account, now_ns: int) -> Admission | None:
    trip = first_trip(account, now_ns)
    if trip is None:
        return None
    if account.stop is not None:
        return Admission(stopped_refusal(account))
    if trip.reason is Reason.RATE_LIMIT:
        return Admission(_rate_refusal(account, trip, now_ns))
    return Admission(
        Refuse(reason=trip.reason, used=trip.used, limit=trip.limit),
        (Stopped(reason=trip.reason, used=trip.used, limit=trip.limit),),
    )


def _rate_refusal(account: Account, trip: Trip, now_ns: int) -> Refuse:
    limits = account.limits.in_force
    seconds = rate.retry_after_seconds(
        account.window, now_ns, limit_tokens=limits.rate_tokens, window_ns=limits.rate_window_ns
    )
    return Refuse(reason=trip.reason, used=trip.used, limit=trip.limit, transient=True, retry_after_seconds=seconds)


def blindness(account: Account, reserve: Reserve) -> Reason | None:
    """Why this call could not be metered or priced under a cost budget, as far as the request shows."""
    if not account.limits.in_force.max_cost_nanodollars:
        return None
    if reserve.quote.unmeterable:
        return Reason.METER_BLIND
    if reserve.quote.named and not reserve.quote.listed:
        return Reason.UNPRICED_MODEL
    return None


def _blind(account: Account, reserve: Reserve) -> Admission | None:
    reason = blindness(account, reserve)
    if reason is None or account.limits.in_force.on_blind is not OnBlind.REFUSE:
        return None
    if reason is Reason.METER_BLIND:
        return Admission(
            Refuse(
                reason=reason,
                payment_required=True,
                detail="this endpoint bills but its usage is not on the wire, so a cost budget cannot govern it; "
                "--on-blind allow lets it through unmetered",
            )
        )
    detail = (
        f"no price for model {reserve.model!r}; add it to the price table and resume the run, "
        "or let it through unpriced with --on-blind allow"
    )
    return Admission(Refuse(reason=reason, detail=detail), (Stopped(reason=reason),))


def _blind_warnings(account: Account, reserve: Reserve) -> tuple[Event, ...]:
    reason = blindness(account, reserve)
    if reason is None or account.limits.in_force.on_blind is not OnBlind.WARN or reason.value in account.warned:
        return ()
    return (Warned(reason=reason),)


def _unbounded(account: Account, reserve: Reserve) -> Admission | None:
    """Under strict: a call with no ceiling, or with one above the limit for a single call, is never forwarded."""
    limits = account.limits.in_force
    per_call = limits.max_cost_per_call_nanodollars
    if not limits.strict or not (limits.max_cost_nanodollars or per_call):
        return None
    if reserve.quote.free or blindness(account, reserve) is not None:
        return None
    ceiling = reserve.quote.ceiling_nanodollars
    if ceiling is None:
        detail = "strict needs a bound: set max_tokens in the request, or context and max_output in the prices"
        return Admission(Refuse(reason=Reason.UNBOUNDED_CALL, payment_required=True, detail=detail))
    if per_call and ceiling > per_call:
        return Admission(
            Refuse(
                reason=Reason.MAX_COST_PER_CALL,
                used=ceiling,
                limit=per_call,
                payment_required=True,
                detail="the most that this call can cost is above the limit for one call; ask for fewer tokens",
            )
        )
    return None


def _hold(account: Account, reserve: Reserve, now_ns: int) -> _Hold:
    """The dollars that the call may still cost, and where that figure comes from."""
    if not account.limits.in_force.max_cost_nanodollars:
        return _Hold(0, Basis.UNBUDGETED)
    if reserve.quote.free or blindness(account, reserve) is not None:
        return _Hold(0, Basis.NONE)
    ceiling = reserve.quote.ceiling_nanodollars
    if account.limits.in_force.strict and ceiling is not None:
        return _Hold(ceiling, Basis.CEILING)
    dearest = account.dearest_nanodollars.get(reserve.model, 0) or reserve.quote.dearest_in_ledger_nanodollars
    if dearest and (ceiling is None or 2 * dearest < ceiling):
        return _Hold(2 * dearest, Basis.DEAREST)
    if ceiling is not None:
        return _Hold(ceiling, Basis.CEILING)
    left = account.limits.in_force.max_cost_nanodollars - _pledged(account, now_ns) - account.open.nanodollars
    return _Hold(max(0, left), Basis.REMAINDER)


def _pledged(account: Account, now_ns: int) -> int:
    """What is spent, and what unresolved calls may have cost."""
    return account.total_cost_nanodollars(now_ns) + account.unresolved.nanodollars


def _no_call_left(account: Account) -> Refuse | Wait | None:
    limit = account.limits.in_force.max_calls
    if not limit:
        return None
    if account.totals.calls + account.unresolved.calls >= limit:
        return _unresolved_refusal(account, used=account.totals.calls + account.unresolved.calls, limit=limit)
    return Wait() if account.totals.calls + account.unresolved.calls + account.open.calls >= limit else None


def _no_money_left(account: Account, reserve: Reserve, hold: _Hold, now_ns: int) -> Refuse | Wait | None:
    limits = account.limits.in_force
    limit = limits.max_cost_nanodollars
    if not limit:
        return None
    pledged = _pledged(account, now_ns)
    if pledged >= limit:
        return _unresolved_refusal(account, used=pledged, limit=limit)
    waits = _goes_alone(account, reserve, hold) and account.open.calls > 0
    if limits.strict:
        return _no_money_left_strict(account, hold, now_ns) or (Wait() if waits else None)
    fits = pledged + account.open.nanodollars + hold.nanodollars <= limit
    return Wait() if waits or (not fits and account.open.calls) else None


def _no_money_left_strict(account: Account, hold: _Hold, now_ns: int) -> Refuse | Wait | None:
    limits = account.limits.in_force
    limit = limits.max_cost_nanodollars
    needed = account.total_cost_nanodollars(now_ns) + _compute_until_deadline(account, now_ns) + hold.nanodollars
    if needed > limit:
        left = limit - (needed - hold.nanodollars)
        return Refuse(
            reason=Reason.CEILING_EXCEEDS_BUDGET,
            used=hold.nanodollars,
            limit=max(0, left),
            detail="the most that this call can cost is more than what is left; ask for fewer tokens",
        )
    if needed + account.unresolved.nanodollars > limit:
        return _unresolved_refusal(account, used=needed + account.unresolved.nanodollars, limit=limit)
    return Wait() if needed + account.unresolved.nanodollars + account.open.nanodollars > limit else None


def _compute_until_deadline(account: Account, now_ns: int) -> int:
    """What the compute meter adds from now to the deadline, rounded up; strict holds it."""
    limits = account.limits.in_force
    if not limits.compute_rate_nanodollars_per_hour:
        return 0
    ends_ns = deadline_at_ns(account)
    remaining_ns = limits.deadline_ns if ends_ns is None else max(0, ends_ns - now_ns)
    return -(-remaining_ns * limits.compute_rate_nanodollars_per_hour // NS_PER_HOUR)


def _goes_alone(account: Account, reserve: Reserve, hold: _Hold) -> bool:
    """Whether the call is admitted only when no other is open.

    With nothing to hold by, or where a first answer of this model may turn out to be blind: then one of them is
    delivered, not as many as there are clients.
    """
    if hold.basis is Basis.REMAINDER:
        return True
    refuses = account.limits.in_force.on_blind is OnBlind.REFUSE
    return refuses and not reserve.quote.metered_before and not reserve.quote.unmeterable


def _unresolved_refusal(account: Account, *, used: int, limit: int) -> Refuse:
    return Refuse(
        reason=Reason.UNRESOLVED_CALLS,
        used=used,
        limit=limit,
        detail=UNRESOLVED_DETAIL.format(run=account.run),
    )


def _observed(account: Account, reserve: Reserve, now_ns: int) -> Admission:
    """Under observe everything but a kill is admitted; what would have stopped it is recorded once."""
    if account.stop is not None:
        return Admission(stopped_refusal(account))
    trips = list(all_trips(account, now_ns))
    blind = blindness(account, reserve)
    if blind is not None and account.limits.in_force.on_blind is OnBlind.REFUSE:
        trips.append(Trip(reason=blind, used=0, limit=0))
    events = tuple(
        WouldStop(reason=trip.reason, used=trip.used, limit=trip.limit)
        for trip in trips
        if trip.reason not in account.would_stop
    )
    return _admitted(reserve, _hold(account, reserve, now_ns), events)
