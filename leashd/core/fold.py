"""Everything that changes an account or a call is here: account × entry → account, call × entry → call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from leashd.core import rate
from leashd.core.account import NS_PER_HOUR, Account, Call, CallState, Held, ModelHistory, Opener, Stall, Stop
from leashd.core.bounds import MAX_TOTAL
from leashd.core.events import (
    Abandoned,
    Closed,
    Entry,
    Event,
    Opened,
    Raised,
    Reserved,
    Resolved,
    Settled,
    Stopped,
    Voided,
    Warned,
    WouldStop,
)
from leashd.core.limits import Limits, LimitState

MAX_MODELS = 64  # dearest calls kept for each run; past it a run's new models lean on the ledger's history


def create(run: str, number: int, entry: Entry) -> Account:
    """The account that a run's first entry makes."""
    opened = entry.event
    assert isinstance(opened, Opened)
    assert opened.in_force is not None
    assert opened.declared is not None
    blank = Account(
        run=run,
        number=number,
        owner_uid=opened.owner_uid,
        created_at_ns=entry.at_ns,
        limits=LimitState(declared=opened.declared, in_force=opened.in_force),
    )
    return fold(blank, entry)


def fold(account: Account, entry: Entry) -> Account:
    """The account after one more entry. The live path and the audit both come through here."""
    if entry.seq != account.seq + 1:
        raise ValueError(f"entry {entry.seq} does not follow {account.seq} in run {account.run}")
    return _FOLDS[type(entry.event)](replace(account, seq=entry.seq), entry.event, entry.at_ns)


def fold_call(call: Call | None, account: Account, entry: Entry) -> Call | None:
    """The call that an entry is about, after it; None once it is closed. The account is the run's, after the entry."""
    event = entry.event
    if isinstance(event, Reserved):
        return Call(
            call=event.call,
            run=account.run,
            session=event.session,
            model=event.model,
            prices=account.prices,
            held_nanodollars=event.held_nanodollars,
            basis=event.basis,
            reserved_at_ns=entry.at_ns,
            reserved_seq=entry.seq,
        )
    if isinstance(event, Abandoned):
        assert call is not None
        return replace(call, state=CallState.UNRESOLVED, held_nanodollars=event.kept_nanodollars, known=event.known)
    return None


def fold_model(history: ModelHistory, event: Settled) -> ModelHistory:
    """What the ledger knows of a model after one more of its calls."""
    metered = event.usage is not None and event.blind is None and event.http_status < 400
    return ModelHistory(
        metered=history.metered or metered,
        dearest_nanodollars=max(history.dearest_nanodollars, event.cost_nanodollars),
    )


def _opened(account: Account, event: Opened, at_ns: int) -> Account:
    account = _with_limits(account, declared=event.declared, in_force=event.in_force, at_ns=at_ns)
    started_ns = 0 if event.new_episode else account.episode_started_at_ns
    compute = account.compute
    if started_ns and not compute.running_since_ns and account.stop is None:
        compute = replace(compute, running_since_ns=at_ns)
    openers = account.openers
    if not account.has_opener(event.session):
        openers = (*openers, Opener(session=event.session, opened_at_ns=at_ns))
    return replace(
        account,
        prices=event.prices,
        openers=openers,
        episode_started_at_ns=started_ns,
        compute=compute,
    )


def _closed(account: Account, event: Closed, _at_ns: int) -> Account:
    openers = tuple(opener for opener in account.openers if opener.session != event.session)
    # A session that is lost leaves after its grace, so another one may have had the run open for longer than it.
    until_ns = max(event.until_ns, account.compute.closed_until_ns)
    compute = replace(account.compute, closed_until_ns=until_ns)
    account = replace(account, openers=openers, last_close_clean=event.clean, compute=compute)
    return account if openers else _compute_halted(account, until_ns)


def _reserved(account: Account, event: Reserved, at_ns: int) -> Account:
    compute = account.compute
    if not compute.running_since_ns and account.openers:
        compute = replace(compute, running_since_ns=at_ns)
    return replace(
        account,
        open=_plus(account.open, event.held_nanodollars),
        episode_started_at_ns=account.episode_started_at_ns or at_ns,
        last_call_at_ns=at_ns,
        compute=compute,
    )


def _settled(account: Account, event: Settled, at_ns: int) -> Account:
    account = _released(account, event)
    totals = account.totals
    usage = event.usage
    amended = event.amends_nanodollars is not None
    totals = replace(
        totals,
        calls=totals.calls + (0 if amended and not event.amends_released else 1),
        errors=totals.errors + (event.http_status >= 400),
        blind=totals.blind + (event.blind is not None),
        input_tokens=_sum(totals.input_tokens, usage.input_tokens if usage else 0),
        output_tokens=_sum(totals.output_tokens, usage.output_tokens if usage else 0),
        reasoning_tokens=_sum(totals.reasoning_tokens, usage.reasoning_tokens if usage else 0),
        cached_input_tokens=_sum(totals.cached_input_tokens, usage.cached_input_tokens if usage else 0),
        token_cost_nanodollars=_sum(
            totals.token_cost_nanodollars - (event.amends_nanodollars or 0), event.cost_nanodollars
        ),
        tool_cost_nanodollars=_sum(totals.tool_cost_nanodollars, event.tool_cost_nanodollars),
    )
    window = account.window
    limits = account.limits.in_force
    if limits.rate_tokens and usage and usage.total_tokens:
        window = rate.added(window, at_ns, tokens=usage.total_tokens, window_ns=limits.rate_window_ns)
    return replace(
        account,
        totals=totals,
        window=window,
        last_call_at_ns=at_ns,
        stall=_stalled(account, event),
        dearest_nanodollars=_dearest(account.dearest_nanodollars, event.model, event.cost_nanodollars),
    )


def _stalled(account: Account, event: Settled) -> Stall:
    """The streak after a reply.

    An error leaves it. Of calls that went in parallel only one counts, since they were all asked before any of them
    was answered. A reply with neither text nor tool call resets it.
    """
    stall = account.stall
    if event.http_status >= 400 or event.reserved_seq <= stall.counted_seq:
        return stall
    if not event.fingerprint:
        return Stall(counted_seq=account.seq)
    replies = stall.replies + 1 if event.fingerprint == stall.fingerprint else 1
    return Stall(fingerprint=event.fingerprint, replies=replies, counted_seq=account.seq)


def _dearest(dearest: Mapping[str, int], model: str, cost_nanodollars: int) -> Mapping[str, int]:
    if cost_nanodollars <= dearest.get(model, 0) or (model not in dearest and len(dearest) >= MAX_MODELS):
        return dearest
    return {**dearest, model: cost_nanodollars}


def _voided(account: Account, event: Voided, _at_ns: int) -> Account:
    return _released(account, event)


def _abandoned(account: Account, event: Abandoned, _at_ns: int) -> Account:
    account = _released(account, event)
    return replace(account, unresolved=_plus(account.unresolved, event.kept_nanodollars))


def _resolved(account: Account, event: Resolved, _at_ns: int) -> Account:
    account = replace(account, unresolved=_minus(account.unresolved, event.held_nanodollars))
    if event.cost_nanodollars is None:
        return account
    totals = account.totals
    return replace(
        account,
        totals=replace(
            totals,
            calls=totals.calls + 1,
            token_cost_nanodollars=_sum(totals.token_cost_nanodollars, event.cost_nanodollars),
        ),
        dearest_nanodollars=_dearest(account.dearest_nanodollars, event.model, event.cost_nanodollars),
    )


def _stopped(account: Account, event: Stopped, at_ns: int) -> Account:
    account = _compute_halted(account, at_ns)
    return replace(account, stop=Stop(event.reason, at_ns, used=event.used, limit=event.limit, now=event.now))


def _warned(account: Account, event: Warned, _at_ns: int) -> Account:
    return replace(account, warned={**account.warned, event.reason.value: event.limit})


def _would_stop(account: Account, event: WouldStop, _at_ns: int) -> Account:
    return replace(account, would_stop=(*account.would_stop, event.reason))


def _raised(account: Account, event: Raised, at_ns: int) -> Account:
    account = _with_limits(account, declared=None, in_force=event.in_force, at_ns=at_ns)
    if not event.lifted:
        return account
    compute = account.compute
    if account.openers and account.episode_started_at_ns:
        compute = replace(compute, running_since_ns=at_ns)
    # The streak begins anew, and only with calls reserved from here on.
    return replace(account, stop=None, stall=Stall(counted_seq=account.seq), compute=compute)


def _with_limits(account: Account, *, declared: Limits | None, in_force: Limits | None, at_ns: int) -> Account:
    """The account under other limits; the compute so far keeps the rate at which it accrued."""
    if in_force is None:
        return account
    old = account.limits
    if old.in_force.compute_rate_nanodollars_per_hour != in_force.compute_rate_nanodollars_per_hour:
        account = _compute_halted(account, at_ns, restart=True)
    return replace(account, limits=LimitState(declared=declared or old.declared, in_force=in_force))


def _compute_halted(account: Account, at_ns: int, *, restart: bool = False) -> Account:
    meter = account.compute
    if not meter.running_since_ns:
        return account
    accrued = meter.accrued_at(at_ns, account.limits.in_force.compute_rate_nanodollars_per_hour)
    nanodollars, rest = divmod(min(accrued, MAX_TOTAL * NS_PER_HOUR), NS_PER_HOUR)
    since_ns = at_ns if restart else 0
    return replace(account, compute=replace(meter, nanodollars=nanodollars, rest=rest, running_since_ns=since_ns))


def _released(account: Account, event: Settled | Voided | Abandoned) -> Account:
    if isinstance(event, Settled) and event.amends_nanodollars is not None:
        return account  # what was held went when the person resolved it
    if event.unresolved:
        return replace(account, unresolved=_minus(account.unresolved, event.held_nanodollars))
    return replace(account, open=_minus(account.open, event.held_nanodollars))


def _sum(total: int, more: int) -> int:
    return min(MAX_TOTAL, total + more)


def _plus(held: Held, nanodollars: int) -> Held:
    return Held(calls=held.calls + 1, nanodollars=held.nanodollars + nanodollars)


def _minus(held: Held, nanodollars: int) -> Held:
    return Held(calls=held.calls - 1, nanodollars=held.nanodollars - nanodollars)


_FOLDS: Mapping[type[Event], Callable[[Account, Any, int], Account]] = {
    Opened: _opened,
    Closed: _closed,
    Reserved: _reserved,
    Settled: _settled,
    Voided: _voided,
    Abandoned: _abandoned,
    Resolved: _resolved,
    Stopped: _stopped,
    Warned: _warned,
    WouldStop: _would_stop,
    Raised: _raised,
}
"""How each event changes an account."""
