"""The wire's messages and the core's records, both ways; everything that comes in is checked."""

from __future__ import annotations

from typing import Any

import pytest

from leash.usage import Usage
from leash.v1 import shim_pb2, types_pb2
from leashd.api import convert
from leashd.api.convert import InvalidMessageError
from leashd.commit_figures import CommitFigures
from leashd.core.account import Status
from leashd.core.admission import Admit, Refuse
from leashd.core.bounds import MAX_LIMIT, MAX_TOKENS
from leashd.core.limits import Limits, OnBlind
from leashd.core.reasons import Reason, Unit
from leashd.operations import AccountShown, CallClosed, Done, Failed, FailureCode, Refused, RunStopped, RunWarned
from tests.unit.leashd.play import MINUTE, running

# What comes in


@pytest.mark.parametrize("name", ["a", "nightly-2.1_x", "tenant/run", "9" * 118])
def test_a_runs_name_is_taken_as_it_is(name: str) -> None:
    assert convert.run_name(name) == name


@pytest.mark.parametrize("name", ["", "/", "a/b/c", "-a", "a b", "a\n", "é", "9" * 119, "../a"])
def test_what_is_no_name_of_a_run_is_refused(name: str) -> None:
    with pytest.raises(InvalidMessageError):
        convert.run_name(name)


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_call_id_has_sixteen_bytes(length: int) -> None:
    with pytest.raises(InvalidMessageError):
        convert.call_id(bytes(length))
    assert convert.call_id(bytes(16)) == bytes(16)


def test_only_the_limits_that_a_message_names_are_given() -> None:
    message = types_pb2.Limits(max_calls=0, strict=False, on_blind=types_pb2.BLIND_POLICY_WARN)

    assert convert.given_limits(message) == {"max_calls": 0, "strict": False, "on_blind": OnBlind.WARN}
    assert convert.given_limits(types_pb2.Limits()) == {}


@pytest.mark.parametrize("limits", [{"max_calls": -1}, {"deadline_ns": -1}, {"on_blind": 9}])
def test_limits_that_no_correct_client_sends_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessageError):
        convert.given_limits(types_pb2.Limits(**limits))


def test_usage_comes_in_and_goes_out_the_same() -> None:
    usage = Usage(**{name: number for number, name in enumerate(convert._USAGE_COUNTS, 1)}, service_tier="batch")

    assert convert.usage(convert.usage_message(usage)) == usage


def test_a_bound_on_runs_is_none_or_positive() -> None:
    assert (convert.most_runs(0), convert.most_runs(20)) == (0, 20)
    with pytest.raises(InvalidMessageError):
        convert.most_runs(-1)


def test_a_count_below_zero_is_refused() -> None:
    with pytest.raises(InvalidMessageError):
        convert.usage(types_pb2.Usage(output_tokens=-1))
    with pytest.raises(InvalidMessageError):
        convert.bound_tokens(-1)


@pytest.mark.parametrize("count", [MAX_TOKENS + 1, 2**53 + 1, 2**63 - 1])
def test_a_count_that_no_provider_reports_is_cut(count: int) -> None:
    assert convert.usage(types_pb2.Usage(output_tokens=count)) == Usage(output_tokens=MAX_TOKENS)
    assert convert.bound_tokens(count) == MAX_TOKENS


@pytest.mark.parametrize("count", [0, 1, MAX_TOKENS])
def test_a_count_that_may_be_is_taken_as_it_is(count: int) -> None:
    assert convert.usage(types_pb2.Usage(output_tokens=count)) == Usage(output_tokens=count)
    assert convert.bound_tokens(count) == count


@pytest.mark.parametrize("status", [-1, 0, 99, 600])
def test_what_is_no_status_of_http_is_refused(status: int) -> None:
    with pytest.raises(InvalidMessageError):
        convert.http_status(status)
    assert [convert.http_status(known) for known in (100, 200, 599)] == [100, 200, 599]


def test_a_long_name_of_a_model_is_cut() -> None:
    assert len(convert.model_name("m" * 10_000)) == 512


# What goes out


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_own_value_on_the_wire(reason: Reason) -> None:
    answer = Refused(Refuse(reason=reason), running().account, 0)
    message = convert.answer_message(1, answer)

    assert types_pb2.Reason.Name(message.refused.reason) == f"REASON_{reason.value.upper()}"


@pytest.mark.parametrize(
    ("reason", "unit"),
    [
        (Reason.DEADLINE, Unit.NANOSECONDS),
        (Reason.COST_BUDGET, Unit.NANODOLLARS),
        (Reason.MAX_CALLS, Unit.CALLS),
        (Reason.RATE_LIMIT, Unit.TOKENS),
        (Reason.STALL, Unit.REPLIES),
        (Reason.BUDGET_HELD, Unit.NANODOLLARS),
    ],
)
def test_the_figures_of_a_refusal_have_their_unit(reason: Reason, unit: Unit) -> None:
    answer = Refused(Refuse(reason=reason, used=5, limit=4), running().account, 0)
    refused = convert.answer_message(1, answer).refused

    assert (refused.used, refused.limit) == (5, 4)
    assert types_pb2.Unit.Name(refused.unit) == f"UNIT_{unit.value.upper()}"


def test_a_refusal_carries_the_account_that_it_judges() -> None:
    play = running(compute_rate_nanodollars_per_hour=60)
    play.call(40)
    play.pass_time(60 * MINUTE)
    refuse = Refuse(
        reason=Reason.RATE_LIMIT, transient=True, retry_after_seconds=7, payment_required=True, detail="wait"
    )
    message = convert.answer_message(9, Refused(refuse, play.account, play.now_ns))

    assert message == shim_pb2.Answer(
        op_id=9,
        refused=shim_pb2.Refused(
            reason=types_pb2.REASON_RATE_LIMIT,
            transient=True,
            retry_after_seconds=7,
            payment_required=True,
            calls=1,
            token_cost_nanodollars=40,
            compute_cost_nanodollars=60,
            total_cost_nanodollars=100,
            detail="wait",
        ),
    )


def test_the_other_answers_to_a_shim() -> None:
    answers: list[tuple[Any, dict[str, Any]]] = [
        (Admit(5), {"admitted": shim_pb2.Admitted(held_nanodollars=5)}),
        (
            CallClosed("settled", 7, repeated=True),
            {"closed": shim_pb2.Closed(outcome="settled", cost_nanodollars=7, repeated=True)},
        ),
        (
            CallClosed("settled", blind=Reason.METER_BLIND),
            {"closed": shim_pb2.Closed(outcome="settled", blind=types_pb2.REASON_METER_BLIND)},
        ),
        (Done(), {"done": shim_pb2.Done()}),
    ]
    for answer, field in answers:
        assert convert.answer_message(3, answer) == shim_pb2.Answer(op_id=3, **field)
    with pytest.raises(TypeError):
        convert.answer_message(3, None)  # type: ignore[arg-type]


def test_every_failure_of_a_shims_operation_has_its_code_on_the_wire() -> None:
    of_people = {FailureCode.CANNOT_RAISE, FailureCode.AMBIGUOUS}
    for code in set(FailureCode) - of_people:
        failure = convert.answer_message(1, Failed(code, "why")).failure
        assert shim_pb2.FailureCode.Name(failure.code) == f"FAILURE_CODE_{code.name}"
        assert failure.message == "why"


def test_an_account_goes_out_as_it_is_at_that_instant() -> None:
    play = running(deadline_ns=60 * MINUTE, max_calls=9, compute_rate_nanodollars_per_hour=60)
    started_ns = play.now_ns
    play.call(40, usage=Usage(input_tokens=3, output_tokens=2, reasoning_tokens=1, cached_input_tokens=1))
    play.call(0, http_status=500, usage=None)
    play.abandon(play.admitted())
    play.admitted()
    play.pass_time(30 * MINUTE)

    message = convert.answer_message(1, AccountShown(play.account, play.now_ns)).account

    assert types_pb2.Status.Name(message.status) == "STATUS_RUNNING"
    assert (message.calls, message.open_calls, message.unresolved_calls, message.error_calls) == (2, 1, 1, 1)
    assert (message.input_tokens, message.output_tokens) == (3, 2)
    assert (message.reasoning_tokens, message.cached_input_tokens) == (1, 1)
    assert (message.token_cost_nanodollars, message.compute_cost_nanodollars) == (40, 30)
    assert message.total_cost_nanodollars == 70
    assert message.deadline_at_unix_ns == started_ns + 60 * MINUTE
    assert (message.limits.max_calls, message.declared.max_calls) == (9, 9)
    assert (message.owner_uid, message.openers, message.entries) == (7, 1, play.account.seq)
    assert not message.reason


def test_an_account_of_the_largest_limits_goes_out() -> None:
    play = running(deadline_ns=MAX_LIMIT, max_cost_nanodollars=MAX_LIMIT, max_calls=MAX_LIMIT, hold_wait_ns=MAX_LIMIT)
    play.admitted()

    message = convert.account_message(play.account, play.now_ns)
    assert message.deadline_at_unix_ns == play.now_ns + MAX_LIMIT
    assert message.limits.max_calls == MAX_LIMIT


@pytest.mark.parametrize("status", Status)
def test_every_status_is_on_the_wire(status: Status) -> None:
    assert types_pb2.Status.Name(convert._STATUSES[status]) == f"STATUS_{status.name}"


def test_limits_go_out_with_every_field_set() -> None:
    message = convert.limits_message(Limits())

    assert len(message.ListFields()) == len(Limits.__dataclass_fields__)
    assert convert.given_limits(message) == {name: getattr(Limits(), name) for name in Limits.__dataclass_fields__}


def test_pushes() -> None:
    stopped = convert.push_message(RunStopped("r", Reason.KILL_SWITCH, now=True)).run_stopped
    assert (stopped.run, stopped.reason, stopped.now) == ("r", types_pb2.REASON_KILL_SWITCH, True)

    warned = convert.push_message(RunWarned("r", Reason.COST_BUDGET, 80, 100)).run_warned
    assert (warned.run, warned.reason, warned.used, warned.limit) == ("r", "cost_budget", 80, 100)
    assert warned.unit == types_pb2.UNIT_NANODOLLARS
    assert not stopped.counts
    assert not warned.counts


def test_the_push_that_counts_says_so() -> None:
    stopped = RunStopped("r", Reason.KILL_SWITCH, now=False, counts=True)
    warned = RunWarned("r", Reason.COST_BUDGET, 80, 100, counts=True)

    assert convert.push_message(stopped).run_stopped.counts
    assert convert.push_message(warned).run_warned.counts


def test_a_probe_is_answered_with_how_the_daemon_fares() -> None:
    figures = CommitFigures()
    figures.committed(operations=3, entries=2)
    figures.committed(operations=1, entries=0)
    probed = convert.probed_message(4, open_runs=5, figures=figures)

    assert (probed.op_id, probed.probed.open_runs) == (4, 5)
    assert (probed.probed.commits, probed.probed.operations) == (2, 4)
    assert list(probed.probed.commits_by_size) == [1, 0, 1, *[0] * 10]
