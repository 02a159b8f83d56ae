"""DESIGN 4 and 4.1: account × entry → account, and nothing else changes an account."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from leash.usage import Usage
from leashd.core.account import ModelHistory
from leashd.core.events import Entry, Settled, Warned
from leashd.core.fold import MAX_MODELS, fold, fold_model
from leashd.core.reasons import Reason
from tests.unit.leashd.play import HOUR, TWO, running


def test_refolding_the_journal_gives_the_account_exactly() -> None:
    play = running(max_cost_nanodollars=1_000, compute_rate_nanodollars_per_hour=60, rate_tokens=9, rate_window_ns=HOUR)
    play.call(10, fingerprint=b"the same", usage=Usage(input_tokens=3))
    play.pass_time(HOUR)
    play.open(TWO, max_cost_nanodollars=900)
    play.abandon(first := play.admitted(session=TWO))
    play.abandon(second := play.admitted())
    play.resolve(first, 30)
    play.amend(first, 20)
    play.settle(second, 5)
    play.void(play.admitted())
    play.close(TWO, clean=False, until_ns=play.now_ns)
    play.kill()
    play.raise_limits(resume=True, max_calls=50)

    assert play.refold() == play.account


def test_an_entry_that_does_not_follow_is_an_error() -> None:
    play = running()
    for seq in (1, 3):
        with pytest.raises(ValueError, match="does not follow"):
            fold(play.account, Entry(seq=seq, at_ns=0, event=Warned(reason=Reason.COST_BUDGET)))


# Stall


def replies(*fingerprints: bytes | int) -> int:
    """The streak after replies with these fingerprints; a number is an error with that status."""
    play = running(stall_replies=100)
    for fingerprint in fingerprints:
        if isinstance(fingerprint, int):
            play.call(http_status=fingerprint, usage=None)
        else:
            play.call(fingerprint=fingerprint)
    streak: int = play.account.stall.replies
    return streak


@pytest.mark.parametrize(
    ("given", "streak"),
    [
        ((b"a", b"a", b"a"), 3),
        ((b"a", b"a", b"b"), 1),
        ((b"a", b"b", b"a"), 1),
    ],
)
def test_a_streak_is_of_replies_in_a_row_with_the_same_fingerprint(given: tuple[bytes, ...], streak: int) -> None:
    assert replies(*given) == streak


@pytest.mark.parametrize("http_status", [400, 429, 500])
def test_an_error_leaves_the_streak(http_status: int) -> None:
    assert replies(b"a", http_status, b"a") == 2


def test_a_reply_with_neither_text_nor_tool_call_resets_the_streak() -> None:
    assert replies(b"a", b"a", b"") == 0
    assert replies(b"a", b"a", b"", b"a") == 1


def test_of_parallel_calls_only_one_counts() -> None:
    play = running(stall_replies=100)
    together = [play.admitted() for _ in range(8)]
    for call in together:
        play.settle(call, fingerprint=b"a")

    assert play.account.stall.replies == 1


def test_a_reply_counts_when_its_call_was_reserved_after_the_previous_counted_settle() -> None:
    play = running(stall_replies=100)
    first, second = play.admitted(), play.admitted()
    play.settle(first, fingerprint=b"a")
    third = play.admitted()
    play.settle(second, fingerprint=b"a")
    play.settle(third, fingerprint=b"a")

    assert play.account.stall.replies == 2


def test_a_parallel_reply_that_differs_does_not_hide_a_stall() -> None:
    play = running(stall_replies=100)
    first, second = play.admitted(), play.admitted()
    play.settle(first, fingerprint=b"a")
    play.settle(second, fingerprint=b"b")
    play.call(fingerprint=b"a")

    assert play.account.stall.replies == 2


def test_an_unresolved_call_leaves_the_streak() -> None:
    play = running(stall_replies=100)
    play.call(fingerprint=b"a")
    play.abandon(play.admitted())
    play.call(fingerprint=b"a")

    assert play.account.stall.replies == 2


# What an account keeps


def test_the_dearest_call_of_each_model_is_kept_for_a_bounded_number_of_models() -> None:
    play = running()
    for number in range(MAX_MODELS + 10):
        play.call(5, asked={"model": f"model-{number}"})
    play.call(9, asked={"model": "model-0"})

    assert len(play.account.dearest_nanodollars) == MAX_MODELS
    assert play.account.dearest_nanodollars["model-0"] == 9


def test_only_what_the_limit_is_for_is_kept_of_the_tokens() -> None:
    play = running()
    play.call(usage=Usage(input_tokens=5))

    assert play.account.window == ()


def test_the_last_call_is_the_last_reserve_or_settle() -> None:
    play = running()
    assert play.account.last_call_at_ns == 0
    call = play.admitted()
    assert play.account.last_call_at_ns == play.now_ns
    play.pass_time(HOUR)
    play.settle(call)

    assert play.account.last_call_at_ns == play.now_ns


# What the ledger knows of a model


def settled(**facts: Any) -> Settled:
    event = Settled(
        call=bytes(16),
        model="m",
        reserved_seq=1,
        held_nanodollars=0,
        cost_nanodollars=7,
        usage=Usage(),
        http_status=200,
    )
    return replace(event, **facts)


def test_a_model_was_metered_once_an_answer_of_it_was_priced() -> None:
    assert fold_model(ModelHistory(), settled()) == ModelHistory(metered=True, dearest_nanodollars=7)


@pytest.mark.parametrize(
    "facts",
    [
        {"usage": None, "blind": Reason.METER_BLIND, "cost_nanodollars": 0},
        {"blind": Reason.UNPRICED_MODEL, "cost_nanodollars": 0},
        {"http_status": 500, "usage": None, "cost_nanodollars": 0},
    ],
)
def test_a_blind_or_failed_answer_does_not_make_a_model_known(facts: dict[str, Any]) -> None:
    assert fold_model(ModelHistory(), settled(**facts)) == ModelHistory()


def test_the_ledger_keeps_the_dearest_call_and_forgets_nothing() -> None:
    history = ModelHistory(metered=True, dearest_nanodollars=9)

    assert fold_model(history, settled()) == history
    assert fold_model(history, settled(http_status=500, usage=None, cost_nanodollars=0)) == history
