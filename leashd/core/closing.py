"""How a call ends: settled, voided, abandoned, or resolved by a person, and what that does to its run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from leash.usage import Usage
from leashd.core.account import Account, Basis, Call, CallState, ClosedCall
from leashd.core.events import Abandoned, Event, Resolved, Settled, Stopped, Voided, Warned, WouldStop
from leashd.core.limits import PPM, OnBlind
from leashd.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the wire reported of a call, with its price. Costs in nanodollars."""

    http_status: int
    usage: Usage | None = None
    answered_model: str = ""
    fingerprint: bytes = b""
    priced: bool = False  # the table has a price for its model
    cost_nanodollars: int = 0  # tokens and tools; 0 where it is not priced
    tool_cost_nanodollars: int = 0
    unpriced_tool: bool = False  # a server-side tool was used that has no price


def settle(account: Account, call: Call, report: Report, now_ns: int) -> tuple[Event, ...]:
    """Closes an open or unresolved call with what the wire reported."""
    settled = _settled(account, call, report, closed=None)
    return (settled, *_consequences(account, settled, now_ns))


def amend(account: Account, closed: ClosedCall, report: Report, now_ns: int) -> tuple[Event, ...]:
    """Replaces the cost that a person had resolved by what the wire reported after all."""
    assert closed.person is not None
    if report.usage is None and 200 <= report.http_status < 300:
        report = replace(report, cost_nanodollars=closed.cost_nanodollars)  # the person's word is all there is
    settled = _settled(account, closed.person, report, closed=closed)
    return (settled, *_consequences(account, settled, now_ns))


def void(call: Call) -> tuple[Event, ...]:
    """Closes a call that never reached the provider: it counts for nothing."""
    unresolved = call.state is CallState.UNRESOLVED
    return (Voided(call=call.call, held_nanodollars=call.held_nanodollars, unresolved=unresolved),)


def abandon(account: Account, call: Call, known: Usage | None, known_cost_nanodollars: int) -> tuple[Event, ...]:
    """Leaves a call unresolved; its hold stays, or its known minimum where that is larger.

    A call whose hold was never known is a blind one: under refuse it stops the run, else only what is known counts.
    What an unresolved call has kept stays, whatever its shim says of it later.
    """
    limits = account.limits.in_force
    blind = call.basis in (Basis.REMAINDER, Basis.UNBUDGETED) and limits.max_cost_nanodollars > 0
    keeps_hold = not blind or limits.on_blind is OnBlind.REFUSE or call.state is CallState.UNRESOLVED
    kept = max(call.held_nanodollars if keeps_hold else 0, known_cost_nanodollars)
    abandoned = Abandoned(
        call=call.call,
        model=call.model,
        held_nanodollars=call.held_nanodollars,
        kept_nanodollars=kept,
        known=known,
        unresolved=call.state is CallState.UNRESOLVED,
    )
    return (abandoned, *(_blind_consequence(account, Reason.METER_BLIND) if blind else ()))


def resolve(call: Call, cost_nanodollars: int | None, actor_uid: int) -> tuple[Event, ...]:
    """Closes an unresolved call by a person's word: with a cost, or released as never having reached the provider."""
    return (
        Resolved(
            call=call.call,
            model=call.model,
            held_nanodollars=call.held_nanodollars,
            cost_nanodollars=cost_nanodollars,
            actor_uid=actor_uid,
        ),
    )


def closed_record(call: Call, event: Settled | Voided | Resolved, now_ns: int) -> ClosedCall:
    """What is kept of a closed call until its session has acknowledged the outcome."""
    if isinstance(event, Settled):
        return ClosedCall(outcome="settled", cost_nanodollars=event.cost_nanodollars, closed_at_ns=now_ns)
    if isinstance(event, Voided):
        return ClosedCall(outcome="voided", cost_nanodollars=0, closed_at_ns=now_ns)
    released = event.cost_nanodollars is None
    return ClosedCall(
        outcome="voided" if released else "settled",
        cost_nanodollars=event.cost_nanodollars or 0,
        closed_at_ns=now_ns,
        person=call,
        released=released,
    )


def _settled(account: Account, call: Call, report: Report, *, closed: ClosedCall | None) -> Settled:
    return Settled(
        call=call.call,
        model=call.model,
        reserved_seq=call.reserved_seq,
        held_nanodollars=call.held_nanodollars,
        cost_nanodollars=report.cost_nanodollars,
        usage=report.usage,
        http_status=report.http_status,
        fingerprint=report.fingerprint,
        prices=call.prices,
        tool_cost_nanodollars=report.tool_cost_nanodollars,
        blind=_blindness(account, report),
        answered_model=report.answered_model if report.answered_model != call.model else "",
        unresolved=call.state is CallState.UNRESOLVED,
        amends_nanodollars=None if closed is None else closed.cost_nanodollars,
        amends_released=closed is not None and closed.released,
    )


def _blindness(account: Account, report: Report) -> Reason | None:
    """Why an answer could not be metered or priced; an error answer bills nothing and is never blind."""
    if not 200 <= report.http_status < 300:
        return None
    if report.usage is None:
        return Reason.METER_BLIND
    if not account.limits.in_force.max_cost_nanodollars:
        return None
    if not report.priced:
        return Reason.UNPRICED_MODEL
    return Reason.SERVER_TOOL_UNPRICED if report.unpriced_tool else None


def _consequences(account: Account, settled: Settled, now_ns: int) -> tuple[Event, ...]:
    """The stop or the warnings that a settle brings; at most one stop."""
    if account.stop is not None:
        return ()
    limits = account.limits.in_force
    events: tuple[Event, ...] = ()
    if settled.blind is not None and limits.max_cost_nanodollars:
        events = _blind_consequence(account, settled.blind)
    per_call = limits.max_cost_per_call_nanodollars
    stopped = any(isinstance(event, Stopped) for event in events)
    if per_call and settled.cost_nanodollars > per_call and not stopped:
        events += _stop_or_would(account, Reason.MAX_COST_PER_CALL, used=settled.cost_nanodollars, limit=per_call)
    return events + _budget_warnings(account, settled, now_ns)


def _blind_consequence(account: Account, reason: Reason) -> tuple[Event, ...]:
    if account.stop is not None:
        return ()
    on_blind = account.limits.in_force.on_blind
    if on_blind is OnBlind.REFUSE:
        return _stop_or_would(account, reason, used=0, limit=0)
    if on_blind is OnBlind.WARN and reason.value not in account.warned:
        return (Warned(reason=reason),)
    return ()


def _stop_or_would(account: Account, reason: Reason, *, used: int, limit: int) -> tuple[Event, ...]:
    if not account.limits.in_force.observe:
        return (Stopped(reason=reason, used=used, limit=limit),)
    return () if reason in account.would_stop else (WouldStop(reason=reason, used=used, limit=limit),)


def _budget_warnings(account: Account, settled: Settled, now_ns: int) -> tuple[Event, ...]:
    """One warning for each budget (dollars, calls) that this settle brings past its share; again after a raise."""
    limits = account.limits.in_force
    if not limits.warn_at_ppm:
        return ()
    cost = account.total_cost_nanodollars(now_ns) + settled.cost_nanodollars - (settled.amends_nanodollars or 0)
    calls = account.totals.calls + (settled.amends_nanodollars is None or settled.amends_released)
    budgets = (
        (Reason.COST_BUDGET, cost, limits.max_cost_nanodollars),
        (Reason.MAX_CALLS, calls, limits.max_calls),
    )
    return tuple(
        Warned(reason=reason, used=used, limit=limit)
        for reason, used, limit in budgets
        if limit and used * PPM >= limit * limits.warn_at_ppm and account.warned.get(reason.value) != limit
    )
