"""Between the wire's messages and the core's records, both ways. Everything that comes in is checked here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from leash.names import check_run_name
from leash.usage import Usage
from leash.v1 import shim_pb2, types_pb2
from leashd import __version__
from leashd.commit_figures import CommitFigures
from leashd.core.account import Account, Call, Status
from leashd.core.admission import Admit
from leashd.core.boundaries import deadline_at_ns
from leashd.core.bounds import MAX_LIMIT, MAX_TOKENS
from leashd.core.limits import Given, Limits
from leashd.core.reasons import UNITS, Reason, Unit
from leashd.operations import (
    AccountShown,
    Answer,
    CallClosed,
    Done,
    Failed,
    FailureCode,
    Push,
    Refused,
    RunStopped,
)

CALL_ID_BYTES = 16

_LIMIT_FIELDS = tuple(f.name for f in fields(Limits))
_USAGE_COUNTS = tuple(f.name for f in fields(Usage) if f.name != "service_tier")
_MAX_NAME = 512  # characters of a model name or tier; longer ones are cut, so that an entry stays small

_REASONS: Mapping[Reason, Any] = {reason: types_pb2.Reason.Value(f"REASON_{reason.name}") for reason in Reason}
_UNITS: Mapping[Unit, Any] = {unit: types_pb2.Unit.Value(f"UNIT_{unit.name}") for unit in Unit}
_STATUSES: Mapping[Status, Any] = {status: types_pb2.Status.Value(f"STATUS_{status.name}") for status in Status}
_FAILURES: Mapping[FailureCode, Any] = {
    code: shim_pb2.FailureCode.Value(f"FAILURE_CODE_{code.name}")
    for code in FailureCode
    if f"FAILURE_CODE_{code.name}" in shim_pb2.FailureCode.keys()  # noqa: SIM118 - an enum wrapper is no mapping
}


class InvalidMessageError(ValueError):
    """A message that no correct client sends; the text says what is wrong with it."""


def run_name(name: str) -> str:
    """A run's name, checked. Raises InvalidMessageError."""
    try:
        return check_run_name(name)
    except ValueError as error:
        raise InvalidMessageError(str(error)) from error


def call_id(value: bytes) -> bytes:
    """A call's id, checked. Raises InvalidMessageError."""
    if len(value) != CALL_ID_BYTES:
        raise InvalidMessageError(f"a call id has {CALL_ID_BYTES} bytes")
    return value


def given_limits(message: types_pb2.Limits) -> Given:
    """The limits that a message names. Raises InvalidMessageError."""
    if len(UnknownFieldSet(message)):
        raise InvalidMessageError(f"a limit that this leashd {__version__} does not know: upgrade and restart it")
    given: dict[str, int] = {}
    for descriptor, value in message.ListFields():
        name = descriptor.name
        if name not in _LIMIT_FIELDS:
            raise InvalidMessageError(f"unknown limit {name}")
        if value < 0:
            raise InvalidMessageError(f"{name} must not be negative")
        given[name] = value
    if "on_blind" in given and given["on_blind"] not in (1, 2, 3):
        raise InvalidMessageError("on_blind must be refuse, warn or allow")
    return given


def usage(message: types_pb2.Usage) -> Usage:
    """What the wire reported. Raises InvalidMessageError for a count that is none."""
    counts = {name: getattr(message, name) for name in _USAGE_COUNTS}
    if any(count < 0 for count in counts.values()):
        raise InvalidMessageError("a token count must not be negative")
    counts = {name: min(count, MAX_TOKENS) for name, count in counts.items()}
    return Usage(**counts, service_tier=message.service_tier[:_MAX_NAME])


def bound_tokens(value: int) -> int:
    """A bound on tokens, cut to one that the core works with. Raises InvalidMessageError."""
    if value < 0:
        raise InvalidMessageError("a bound must not be negative")
    return min(value, MAX_TOKENS)


def most_runs(value: int) -> int:
    """A bound on how many runs there may be; zero for none. Raises InvalidMessageError."""
    if value < 0:
        raise InvalidMessageError("a number of runs must not be negative")
    return value


def http_status(value: int) -> int:
    """The provider's status, checked. Raises InvalidMessageError."""
    if not 100 <= value <= 599:
        raise InvalidMessageError("an HTTP status lies between 100 and 599")
    return value


def model_name(name: str) -> str:
    """A model's name, cut to a length that an entry can carry."""
    return name[:_MAX_NAME]


def usage_message(value: Usage) -> types_pb2.Usage:
    """What the wire reported, as a message."""
    counts = {name: getattr(value, name) for name in _USAGE_COUNTS}
    return types_pb2.Usage(**counts, service_tier=value.service_tier)


def limits_message(limits: Limits) -> types_pb2.Limits:
    """Limits with every field set."""
    return types_pb2.Limits(**{name: getattr(limits, name) for name in _LIMIT_FIELDS})


def account_message(account: Account, now_ns: int, *, pid: int = 0) -> types_pb2.Account:
    """An account as the outside sees it at an instant."""
    totals = account.totals
    compute_cost = account.compute_cost_nanodollars(now_ns)
    return types_pb2.Account(
        run=account.run,
        status=_STATUSES[account.status],
        reason=account.reason,
        calls=totals.calls,
        open_calls=account.open.calls,
        unresolved_calls=account.unresolved.calls,
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        reasoning_tokens=totals.reasoning_tokens,
        cached_input_tokens=totals.cached_input_tokens,
        token_cost_nanodollars=totals.token_cost_nanodollars,
        tool_cost_nanodollars=totals.tool_cost_nanodollars,
        compute_cost_nanodollars=compute_cost,
        total_cost_nanodollars=totals.token_cost_nanodollars + compute_cost,
        held_cost_nanodollars=account.open.nanodollars + account.unresolved.nanodollars,
        created_at_unix_ns=account.created_at_ns,
        started_at_unix_ns=account.episode_started_at_ns,
        last_call_at_unix_ns=account.last_call_at_ns,
        pid=pid,
        owner_uid=account.owner_uid,
        limits=limits_message(account.limits.in_force),
        declared=limits_message(account.limits.declared),
        entries=account.seq,
        blind_calls=totals.blind,
        error_calls=totals.errors,
        openers=len(account.openers),
        would_stop=[_REASONS[reason] for reason in account.would_stop],
        deadline_at_unix_ns=deadline_at_ns(account) or 0,
        priced=bool(account.prices),
    )


def unresolved_message(call: Call) -> types_pb2.UnresolvedCall:
    """An unresolved call."""
    return types_pb2.UnresolvedCall(
        call_id=call.call,
        model=call.model,
        held_nanodollars=call.held_nanodollars,
        reserved_at_unix_ns=call.reserved_at_ns,
        known=usage_message(call.known) if call.known is not None else None,
    )


def answer_message(op_id: int, answer: Answer) -> shim_pb2.Answer:
    """An answer to a shim."""
    if isinstance(answer, Admit):
        return shim_pb2.Answer(op_id=op_id, admitted=shim_pb2.Admitted(held_nanodollars=answer.held_nanodollars))
    if isinstance(answer, CallClosed):
        closed = shim_pb2.Closed(
            outcome=answer.outcome,
            cost_nanodollars=answer.cost_nanodollars,
            repeated=answer.repeated,
            blind=types_pb2.REASON_UNSPECIFIED if answer.blind is None else _REASONS[answer.blind],
        )
        return shim_pb2.Answer(op_id=op_id, closed=closed)
    if isinstance(answer, Refused):
        return shim_pb2.Answer(op_id=op_id, refused=_refused(answer))
    if isinstance(answer, AccountShown):
        return shim_pb2.Answer(op_id=op_id, account=account_message(answer.account, answer.now_ns))
    if isinstance(answer, Done):
        return shim_pb2.Answer(op_id=op_id, done=shim_pb2.Done())
    if isinstance(answer, Failed):
        failure = shim_pb2.Failure(code=_FAILURES[answer.code], message=answer.message)
        return shim_pb2.Answer(op_id=op_id, failure=failure)
    raise TypeError(f"no shim is answered with {answer!r}")


def probed_message(op_id: int, *, open_runs: int, figures: CommitFigures) -> shim_pb2.Answer:
    """The answer to a probe."""
    probed = shim_pb2.Probed(
        open_runs=open_runs,
        commits=figures.commits,
        operations=figures.operations,
        commits_by_size=figures.commits_by_size,
    )
    return shim_pb2.Answer(op_id=op_id, probed=probed)


def welcome_message(op_id: int, *, version: str, protocol: int, grace_ns: int) -> shim_pb2.Answer:
    """The answer to a hello."""
    welcome = shim_pb2.Welcome(daemon_version=version, protocol=protocol, grace_ns=grace_ns)
    return shim_pb2.Answer(op_id=op_id, welcome=welcome)


def push_message(push: Push) -> shim_pb2.Push:
    """What a shim is told unasked."""
    if isinstance(push, RunStopped):
        stopped = shim_pb2.RunStopped(run=push.run, reason=_REASONS[push.reason], now=push.now, counts=push.counts)
        return shim_pb2.Push(run_stopped=stopped)
    unit = unit_message(push.reason, push.limit)
    return shim_pb2.Push(
        run_warned=shim_pb2.RunWarned(
            run=push.run, reason=push.reason.value, used=push.used, limit=push.limit, unit=unit, counts=push.counts
        )
    )


def unit_message(reason: Reason, limit: int) -> Any:
    """The unit of a reason's figures; none where there is no limit to compare with."""
    return _UNITS[UNITS[reason]] if limit and reason in UNITS else types_pb2.UNIT_UNSPECIFIED


def _refused(answer: Refused) -> shim_pb2.Refused:
    refuse, account = answer.refuse, answer.account
    compute_cost = account.compute_cost_nanodollars(answer.now_ns)
    return shim_pb2.Refused(
        reason=_REASONS[refuse.reason],
        transient=refuse.transient,
        retry_after_seconds=refuse.retry_after_seconds,
        payment_required=refuse.payment_required,
        used=min(refuse.used, MAX_LIMIT),
        limit=refuse.limit,
        unit=unit_message(refuse.reason, refuse.limit),
        calls=account.totals.calls,
        token_cost_nanodollars=account.totals.token_cost_nanodollars,
        compute_cost_nanodollars=compute_cost,
        total_cost_nanodollars=account.totals.token_cost_nanodollars + compute_cost,
        detail=refuse.detail,
    )
