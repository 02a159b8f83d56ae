"""Everything that changes an account or a call is here: account × entry → account, call × entry → call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from leashd.core import rate
from leashd.core.account import (
    NS_PER_HOUR,
    Account,
    Call,
    CallState,
    Compute,
    Held,
    ModelHistory,
    Opener,
    Stall,
    Stop,
    Totals,
    changed,
)
from leashd.core.bounds import MAX_TOTAL
from leashd.core.events import (
    Abandoned,
    Checkpoint,
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

Changes = dict[str, Any]  # the fields of an account that an event changes, and to what

MAX_MODELS = 64  # dearest calls kept for each run; past it a run's new models lean on the ledger's history


def create(run: str, number: int, entry: Entry) -> Account:
    """The account that a run's first entry makes, or the one that stands for all that were pruned before it."""
    opened = entry.event
    if isinstance(opened, Checkpoint):
        return fold(opened.account, entry)
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
    # Each event names the fields that it changes, so that an account is copied once.
    return changed(account, {"seq": entry.seq} | _FOLDS[type(entry.event)](account, entry.event, entry))


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


def _opened(account: Account, event: Opened, entry: Entry) -> Changes:
    changes = _limits_changed(account, declared=event.declared, in_force=event.in_force, at_ns=entry.at_ns)
    started_ns = 0 if event.new_episode else account.episode_started_at_ns
    compute = changes.get("compute", account.compute)
    if started_ns and not compute.running_since_ns and account.stop is None:
        compute = replace(compute, running_since_ns=entry.at_ns)
    openers = account.openers
    if not account.has_opener(event.session):
        openers = (*openers, Opener(session=event.session, opened_at_ns=entry.at_ns))
    return changes | {
        "prices": event.prices,
        "openers": openers,
        "episode_started_at_ns": started_ns,
        "compute": compute,
    }


def _closed(account: Account, event: Closed, _entry: Entry) -> Changes:
    openers = tuple(opener for opener in account.openers if opener.session != event.session)
    # A session that is lost leaves after its grace, so another one may have had the run open for longer than it.
    until_ns = max(event.until_ns, account.compute.closed_until_ns)
    compute = account.compute if openers else _halted(account, until_ns)
    compute = replace(compute, closed_until_ns=until_ns)
    return {"openers": openers, "last_close_clean": event.clean, "compute": compute}


def _reserved(account: Account, event: Reserved, entry: Entry) -> Changes:
    compute = account.compute
    if not compute.running_since_ns and account.openers:
        compute = replace(compute, running_since_ns=entry.at_ns)
    return {
        "open": _plus(account.open, event.held_nanodollars),
        "episode_started_at_ns": account.episode_started_at_ns or entry.at_ns,
        "last_call_at_ns": entry.at_ns,
        "compute": compute,
    }


def _settled(account: Account, event: Settled, entry: Entry) -> Changes:
    totals = account.totals
    usage = event.usage
    amended = event.amends_nanodollars is not None
    totals = Totals(
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
        window = rate.added(window, entry.at_ns, tokens=usage.total_tokens, window_ns=limits.rate_window_ns)
    return _released(account, event) | {
        "totals": totals,
        "window": window,
        "last_call_at_ns": entry.at_ns,
        "stall": _stalled(account.stall, event, entry.seq),
        "dearest_nanodollars": _dearest(account.dearest_nanodollars, event.model, event.cost_nanodollars),
    }


def _stalled(stall: Stall, event: Settled, seq: int) -> Stall:
    """The streak after a reply.

    An error leaves it. Of calls that went in parallel only one counts, since they were all asked before any of them
    was answered. A reply with neither text nor tool call resets it.
    """
    if event.http_status >= 400 or event.reserved_seq <= stall.counted_seq:
        return stall
    if not event.fingerprint:
        return Stall(counted_seq=seq)
    replies = stall.replies + 1 if event.fingerprint == stall.fingerprint else 1
    return Stall(fingerprint=event.fingerprint, replies=replies, counted_seq=seq)


def _dearest(dearest: Mapping[str, int], model: str, cost_nanodollars: int) -> Mapping[str, int]:
    if cost_nanodollars <= dearest.get(model, 0) or (model not in dearest and len(dearest) >= MAX_MODELS):
        return dearest
    return {**dearest, model: cost_nanodollars}


def _voided(account: Account, event: Voided, _entry: Entry) -> Changes:
    return _released(account, event)


def _abandoned(account: Account, event: Abandoned, _entry: Entry) -> Changes:
    changes = _released(account, event)
    return changes | {"unresolved": _plus(changes.get("unresolved", account.unresolved), event.kept_nanodollars)}


def _resolved(account: Account, event: Resolved, _entry: Entry) -> Changes:
    changes: Changes = {"unresolved": _minus(account.unresolved, event.held_nanodollars)}
    if event.cost_nanodollars is None:
        return changes
    totals = account.totals
    token_cost_nanodollars = _sum(totals.token_cost_nanodollars, event.cost_nanodollars)
    return changes | {
        "totals": replace(totals, calls=totals.calls + 1, token_cost_nanodollars=token_cost_nanodollars),
        "dearest_nanodollars": _dearest(account.dearest_nanodollars, event.model, event.cost_nanodollars),
    }


def _stopped(account: Account, event: Stopped, entry: Entry) -> Changes:
    stop = Stop(event.reason, entry.at_ns, used=event.used, limit=event.limit, now=event.now)
    return {"stop": stop, "compute": _halted(account, entry.at_ns)}


def _warned(account: Account, event: Warned, _entry: Entry) -> Changes:
    return {"warned": {**account.warned, event.reason.value: event.limit}}


def _would_stop(account: Account, event: WouldStop, _entry: Entry) -> Changes:
    return {"would_stop": (*account.would_stop, event.reason)}


def _raised(account: Account, event: Raised, entry: Entry) -> Changes:
    changes = _limits_changed(account, declared=None, in_force=event.in_force, at_ns=entry.at_ns)
    if not event.lifted:
        return changes
    compute = changes.get("compute", account.compute)
    if account.openers and account.episode_started_at_ns:
        compute = replace(compute, running_since_ns=entry.at_ns)
    # The streak begins anew, and only with calls reserved from here on.
    return changes | {"stop": None, "stall": Stall(counted_seq=entry.seq), "compute": compute}


def _checkpoint(_account: Account, _event: Checkpoint, _entry: Entry) -> Changes:
    return {}


def _limits_changed(account: Account, *, declared: Limits | None, in_force: Limits | None, at_ns: int) -> Changes:
    """What other limits change; the compute so far keeps the rate at which it accrued."""
    if in_force is None:
        return {}
    old = account.limits
    changes: Changes = {"limits": LimitState(declared=declared or old.declared, in_force=in_force)}
    if old.in_force.compute_rate_nanodollars_per_hour != in_force.compute_rate_nanodollars_per_hour:
        changes["compute"] = _halted(account, at_ns, restart=True)
    return changes


def _halted(account: Account, at_ns: int, *, restart: bool = False) -> Compute:
    """The compute meter with what has accrued until now; from here on it stands still, or begins again."""
    meter = account.compute
    if not meter.running_since_ns:
        return meter
    accrued = meter.accrued_at(at_ns, account.limits.in_force.compute_rate_nanodollars_per_hour)
    nanodollars, rest = divmod(min(accrued, MAX_TOTAL * NS_PER_HOUR), NS_PER_HOUR)
    return replace(meter, nanodollars=nanodollars, rest=rest, running_since_ns=at_ns if restart else 0)


def _released(account: Account, event: Settled | Voided | Abandoned) -> Changes:
    if isinstance(event, Settled) and event.amends_nanodollars is not None:
        return {}  # what was held went when the person resolved it
    if event.unresolved:
        return {"unresolved": _minus(account.unresolved, event.held_nanodollars)}
    return {"open": _minus(account.open, event.held_nanodollars)}


def _sum(total: int, more: int) -> int:
    return min(MAX_TOTAL, total + more)


def _plus(held: Held, nanodollars: int) -> Held:
    return Held(calls=held.calls + 1, nanodollars=held.nanodollars + nanodollars)


def _minus(held: Held, nanodollars: int) -> Held:
    return Held(calls=held.calls - 1, nanodollars=held.nanodollars - nanodollars)


_FOLDS: Mapping[type[Event], Callable[[Account, Any, Entry], Changes]] = {
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
    Checkpoint: _checkpoint,
}
"""What each event changes of an account."""
