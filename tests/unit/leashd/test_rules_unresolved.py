"""DESIGN 4.1: the rules of calls whose outcome is not known, over a real ledger.

=========================================================================  ============================================
rule                                                                       where its test is
=========================================================================  ============================================
settle, abandon, void, resolve of one call in every order, in one batch    here: every order of four
or in several, over a restart: one outcome, counted once, fold = state
a late settle against a resolve, of one batch and of several, both orders  here (same batch), core/test_closing
a late settle amends what a person said, once; without usage it is kept    test_engine
it amends in another life of the daemon, for thirty days, and as an error  here
only the owning session closes an unresolved call, or amends it            here
a late settle after the stop is recorded, and lifts nothing                here
a late settle reaches the budget: the next call stops the run              here
a person's word reaches the budget: the next call stops the run            here
a reserve whose answer was lost is the same reserve                        test_engine
... once its call was abandoned: voided, and UNAVAILABLE                   test_sessions
... once a person has resolved it: the person's word stays                 here
... and whose client hung up meanwhile: voided                             here
what a hello does not list is voided, but nothing unresolved               test_sessions
a session that is back past its grace says more, or settles, or voids      test_sessions, here (void)
a known minimum above the hold counts instead of it                        test_engine, here (it refuses others)
an abandon that knows less than an earlier one frees nothing               here
an unresolved call leaves its run finished                                 here
an unresolved call with an unknown hold is blind: refuse, warn, allow      core/test_closing, here (to its end)
who may resolve what, by which prefix                                      test_engine
=========================================================================  ============================================

The room that unresolved calls take is in test_rules_room.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from leash.usage import Usage
from leashd.core.account import Account, Status
from leashd.core.fold import create, fold
from leashd.core.limits import OnBlind
from leashd.engine import CLOSED_CALLS_KEPT_NS, GRACE_NS
from leashd.operations import (
    AbandonCall,
    AccountShown,
    CallClosed,
    CancelCall,
    Failed,
    FailureCode,
    Operation,
    Resolve,
    VoidCall,
)  # fmt: skip
from tests.unit.leashd.desk import MICRODOLLAR, Desk, Shim, call_id, failure, outcome, priced
from tests.unit.leashd.play import HOUR

BUDGET = 1_000 * MICRODOLLAR
UNKNOWN: dict[str, Any] = {"input_bound_tokens": None, "output_bound_tokens": None, "model": "new"}
NEW_MODEL = b'{"m": {"input": 1, "output": 2}, "new": {"input": 1, "output": 2}}'


def refolded(desk: Desk, run: str = "r") -> Account:
    """The account that the journal alone gives."""
    account: Account | None = None
    for stored in desk.ledger.journal(desk.account(run).number):
        account = fold(account, stored.entry) if account else create(run, desk.account(run).number, stored.entry)
    assert account is not None
    return account


# Every order of what can happen to one call


@dataclass
class Expected:
    """What the design says of one call, in a few words of its own: no code of the engine is used."""

    state: str = "open"
    cost: int = 0
    by_person: bool = False
    known: bool = False

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Its part of the settled calls and their cost, of the open ones and of the unresolved ones."""
        is_settled = self.state == "settled"
        return is_settled, self.cost if is_settled else 0, self.state == "open", self.state == "unresolved"

    def told(self, kind: str) -> tuple[str, int, bool] | str:
        """The answer to an operation, after which the call is what it then is."""
        if kind in ("cost", "release"):
            if self.state != "unresolved":
                return "unknown"
            self.state, self.cost = ("settled", 3) if kind == "cost" else ("voided", 0)
            self.by_person = True
            return "resolved"
        if kind in ("settle", "settle again"):
            if self.state in ("open", "unresolved") or self.by_person:
                self.state, self.cost, self.by_person = "settled", (10 if kind == "settle" else 99) * MICRODOLLAR, False
                return "settled", self.cost, False
        elif self.state in ("open", "unresolved"):
            if kind == "void":
                self.state = "voided"
                return "voided", 0, False
            if self.state == "open":
                self.state = "unresolved"
                return "unresolved", 0, False
        return self.state, self.cost, True


KINDS = ("settle", "settle again", "abandon", "void", "cost", "release")


def operation(shim: Shim, kind: str, call: int) -> Operation:
    match kind:
        case "settle":
            return shim.settles(call, tokens=10)
        case "settle again":
            return shim.settles(call, tokens=99)
        case "abandon":
            return AbandonCall(shim.name, shim.link, "r", call_id(call), None)
        case "void":
            return VoidCall(shim.name, shim.link, "r", call_id(call))
        case _:
            return Resolve("r", call_id(call), 3 if kind == "cost" else None, 7)


def said(answer: Any) -> tuple[str, int, bool] | str:
    if isinstance(answer, CallClosed):
        return answer.outcome, answer.cost_nanodollars, answer.repeated
    if isinstance(answer, AccountShown):
        return "resolved"
    assert isinstance(answer, Failed), answer
    assert answer.code is FailureCode.UNKNOWN, answer
    return "unknown"


@pytest.mark.parametrize("commits", ["one", "each", "each, with a restart before the last"])
def test_whatever_happens_to_a_call_in_whatever_order_it_has_one_outcome_and_counts_once(
    desk: Desk, commits: str
) -> None:
    shim = priced(desk)
    calls, cost, are_open, unresolved = 0, 0, 0, 0
    # A restart takes longer, so those orders are the ones in which a person has a say.
    orders = [
        order for order in product(KINDS, repeat=4) if "restart" not in commits or order[1] in ("cost", "release")
    ]
    for number, order in enumerate(orders, start=1):
        shim.admitted(number)
        expected = Expected()
        answers: list[Any] = []
        for step, kind in enumerate(order):
            if "restart" in commits and step == len(order) - 1:
                desk.restart()
                shim.connect(*(call_id(other) for other in range(1, number + 1)))
            answers.append(desk.ask_later(operation(shim, kind, number)))
            if commits != "one":
                desk.commit()
        desk.commit()
        assert [said(desk.answers[answer]) for answer in answers] == [expected.told(kind) for kind in order], order
        calls, cost, are_open, unresolved = (
            total + more for total, more in zip((calls, cost, are_open, unresolved), expected.counts, strict=True)
        )
        account = desk.account()
        now = (account.totals.calls, account.totals.token_cost_nanodollars, account.open.calls)
        assert (*now, account.unresolved.calls) == (calls, cost, are_open, unresolved), order
    assert refolded(desk) == desk.account()


# A late settle and a person's word


@pytest.mark.parametrize("said", [3, None])
def test_a_late_settle_amends_in_another_life_of_the_daemon_and_once(desk: Desk, said: int | None) -> None:
    shim = priced(desk)
    shim.admitted(1)
    shim.disconnect()
    desk.pass_time(GRACE_NS)
    desk.resolve(call_id(1), said)
    desk.restart(down_ns=HOUR)
    shim.connect(call_id(1))

    assert outcome(shim.settle(1, tokens=10)) == ("settled", 10 * MICRODOLLAR, False)
    desk.restart()
    shim.connect(call_id(1))
    assert outcome(shim.settle(1, tokens=99)) == ("settled", 10 * MICRODOLLAR, True)
    totals = desk.account().totals
    assert (totals.calls, totals.token_cost_nanodollars) == (1, 10 * MICRODOLLAR)
    assert refolded(desk) == desk.account()


def test_a_late_settle_that_comes_after_thirty_days_is_not_applied(desk: Desk) -> None:
    shim = priced(desk)
    shim.admitted(1)
    shim.abandon(1)
    desk.resolve(call_id(1), 3)
    desk.now_ns += CLOSED_CALLS_KEPT_NS + 1
    desk.engine.sweep(desk.now_ns)
    desk.commit()

    assert failure(shim.settle(1, tokens=10)) is FailureCode.UNKNOWN
    assert desk.account().totals.token_cost_nanodollars == 3


def test_an_unresolved_call_is_settled_late_whenever_that_is(desk: Desk) -> None:
    shim = priced(desk)
    shim.admitted(1)
    shim.abandon(1)
    shim.acknowledge(1)
    desk.now_ns += 10 * CLOSED_CALLS_KEPT_NS
    desk.engine.sweep(desk.now_ns)

    assert outcome(shim.settle(1, tokens=10)) == ("settled", 10 * MICRODOLLAR, False)


def test_a_late_error_answer_takes_the_place_of_a_persons_word(desk: Desk) -> None:
    shim = priced(desk)
    shim.admitted(1)
    shim.abandon(1, known=Usage(input_tokens=5))
    desk.resolve(call_id(1), 3)

    assert outcome(shim.settle(1, http_status=500, metered=False)) == ("settled", 0, False)
    assert (desk.account().totals.calls, desk.account().totals.token_cost_nanodollars) == (1, 0)


@pytest.mark.parametrize("resolved", [False, True])
def test_only_its_own_session_settles_an_unresolved_call_or_amends_it(desk: Desk, resolved: bool) -> None:
    shim, other = priced(desk), desk.session(b"session2")
    other.open(prices=desk.prices())
    shim.admitted(1)
    shim.abandon(1)
    if resolved:
        desk.resolve(call_id(1), 3)

    for answer in (other.settle(1, tokens=10), other.void(1), other.abandon(1)):
        assert failure(answer) is FailureCode.UNKNOWN
    other.cancel(1)
    account = desk.account()
    assert (account.unresolved.calls, account.totals.token_cost_nanodollars) == ((0, 3) if resolved else (1, 0))


def test_a_late_settle_after_the_stop_is_recorded_and_lifts_nothing(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=BUDGET)
    shim.admitted(1, 2)
    shim.abandon(1)
    shim.abandon(2)
    desk.resolve(call_id(2), 3)
    desk.kill("r")
    shim.settle(1, tokens=2_000)
    shim.settle(2, tokens=10)

    account = desk.account()
    assert (account.totals.calls, account.totals.token_cost_nanodollars) == (2, 2_010 * MICRODOLLAR)
    assert (account.unresolved.calls, account.unresolved.nanodollars) == (0, 0)
    assert desk.kinds().count("Stopped") == 1
    assert shim.refused(3) == "kill_switch"


@pytest.mark.parametrize("by", ["late settle", "person", "amend"])
def test_what_closes_an_unresolved_call_may_reach_the_budget_and_the_next_call_stops_the_run(
    desk: Desk, by: str
) -> None:
    shim = priced(desk, max_cost_nanodollars=BUDGET)
    shim.admitted(1)
    shim.abandon(1)
    if by == "late settle":
        shim.settle(1, tokens=1_000)
    elif by == "person":
        desk.resolve(call_id(1), BUDGET)
    else:
        desk.resolve(call_id(1), 3)
        shim.settle(1, tokens=1_000)
    assert desk.account().stop is None

    assert shim.refused(2) == "cost_budget"
    assert desk.account().stop is not None


def test_an_amend_below_the_budget_does_not_lift_the_stop_that_a_persons_word_brought(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=BUDGET)
    shim.admitted(1)
    shim.abandon(1)
    desk.resolve(call_id(1), BUDGET)
    assert shim.refused(2) == "cost_budget"
    shim.settle(1, tokens=1)

    assert desk.account().totals.token_cost_nanodollars == MICRODOLLAR
    assert shim.refused(3) == "cost_budget"


# A reserve whose answer was lost


def abandoned_unheard(desk: Desk, **limits: Any) -> Shim:
    """A shim that is back past its grace, and had no answer to the reserve of call 1."""
    shim = priced(desk, **limits)
    shim.admitted(1)
    shim.disconnect()
    desk.pass_time(GRACE_NS)
    shim.connect(call_id(1))
    shim.open(prices=desk.prices())
    return shim


@pytest.mark.parametrize(("said", "cost"), [(3, 3), (None, 0)])
def test_a_reserve_that_is_repeated_after_a_person_resolved_its_call_changes_nothing(
    desk: Desk, said: int | None, cost: int
) -> None:
    shim = abandoned_unheard(desk)
    desk.resolve(call_id(1), said)

    assert failure(shim.reserve(1)) is FailureCode.UNKNOWN
    assert (desk.account().totals.token_cost_nanodollars, desk.account().open.calls) == (cost, 0)


def test_a_reserve_that_is_repeated_after_its_abandon_is_told_the_same_each_time_and_frees_its_hold(desk: Desk) -> None:
    shim = abandoned_unheard(desk, max_calls=1)

    assert failure(shim.reserve(1)) is FailureCode.UNAVAILABLE
    assert failure(shim.reserve(1)) is FailureCode.UNKNOWN
    assert desk.kinds().count("Voided") == 1
    shim.admitted(2)


def test_a_client_that_hangs_up_while_its_reserve_is_unanswered_leaves_nothing(desk: Desk) -> None:
    shim = abandoned_unheard(desk, max_calls=1)

    assert outcome(shim.cancel(1)) == ("voided", 0, False)
    assert desk.account().unresolved.calls == 0
    shim.admitted(2)


def test_a_client_that_hangs_up_in_the_batch_of_its_reserve_leaves_nothing(desk: Desk) -> None:
    shim = priced(desk, max_calls=1)
    desk.ask_later(shim.asks(1))
    desk.ask_later(CancelCall(shim.name, shim.link, "r", call_id(1)))
    desk.commit()

    assert (desk.account().open.calls, desk.account().unresolved.calls) == (0, 0)
    shim.admitted(2)


def test_a_session_that_is_back_past_its_grace_voids_what_it_had_not_forwarded(desk: Desk) -> None:
    shim = abandoned_unheard(desk, max_calls=1)

    assert outcome(shim.void(1)) == ("voided", 0, False)
    shim.admitted(2)


# What is kept of it


def test_a_known_minimum_above_the_hold_counts_instead_of_it(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=BUDGET)
    shim.admitted(1)
    assert desk.account().open.nanodollars == 2 * MICRODOLLAR, "twice the dearest call of its model"
    shim.abandon(1, known=Usage(input_tokens=999))
    assert desk.account().unresolved.nanodollars == 999 * MICRODOLLAR
    shim.admitted(2)
    shim.settle(2, tokens=1)

    assert shim.refused(3) == "unresolved_calls"
    assert desk.account().stop is None


@pytest.mark.parametrize("on_blind", [OnBlind.REFUSE, OnBlind.ALLOW])
def test_an_abandon_that_knows_less_frees_nothing(desk: Desk, on_blind: OnBlind) -> None:
    shim = priced(desk, max_cost_nanodollars=BUDGET, on_blind=on_blind)
    shim.admitted(1)
    shim.abandon(1, known=Usage(input_tokens=700))
    shim.abandon(1, known=Usage(input_tokens=100))
    shim.abandon(1)

    assert desk.account().unresolved.nanodollars == 700 * MICRODOLLAR
    assert refolded(desk) == desk.account()


@pytest.mark.parametrize("on_blind", [OnBlind.WARN, OnBlind.ALLOW])
def test_an_abandon_of_an_unknown_hold_that_knows_less_frees_nothing(desk: Desk, on_blind: OnBlind) -> None:
    shim = priced(desk, max_cost_nanodollars=BUDGET, on_blind=on_blind)
    shim.open(prices=desk.prices(NEW_MODEL))
    shim.admitted(1, **UNKNOWN)
    shim.abandon(1, known=Usage(input_tokens=700))
    shim.abandon(1, known=Usage(input_tokens=100))

    assert desk.account().unresolved.nanodollars == 700 * MICRODOLLAR


def test_an_unresolved_call_leaves_its_run_finished_and_its_episode_over(desk: Desk) -> None:
    shim = priced(desk, deadline_ns=HOUR)
    shim.admitted(1)
    shim.abandon(1)
    shim.close()
    assert desk.account().status is Status.FINISHED

    desk.pass_time(10 * HOUR)
    shim.open()
    shim.admitted(2)


# With an unknown hold


def test_under_refuse_it_stops_the_run_and_a_resume_and_a_resolve_let_it_go_on(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=BUDGET)
    shim.open(prices=desk.prices(NEW_MODEL))
    shim.admitted(1, **UNKNOWN)
    shim.abandon(1)
    assert shim.refused(2) == "meter_blind"

    assert failure(desk.raise_limits(max_cost_nanodollars=2 * BUDGET)) is FailureCode.CANNOT_RAISE
    desk.raise_limits(resume=True)
    assert shim.refused(3) == "unresolved_calls", "it holds all that was left"
    desk.resolve(call_id(1), 10)
    shim.admitted(4)


@pytest.mark.parametrize(("on_blind", "warnings"), [(OnBlind.WARN, 1), (OnBlind.ALLOW, 0)])
def test_under_warn_or_allow_it_holds_nothing_and_the_run_goes_on(desk: Desk, on_blind: OnBlind, warnings: int) -> None:
    shim = priced(desk, max_cost_nanodollars=BUDGET, on_blind=on_blind)
    shim.open(prices=desk.prices(NEW_MODEL))
    for call in (1, 2):
        shim.admitted(call, **UNKNOWN)
        shim.abandon(call)

    account = desk.account()
    assert (account.unresolved.calls, account.unresolved.nanodollars, account.stop) == (2, 0, None)
    assert desk.kinds().count("Warned") == warnings
    shim.admitted(3)
