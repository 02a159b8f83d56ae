"""Stories that went wrong once, each in its shortest form."""

from __future__ import annotations

from pathlib import Path

import pytest

from leash.client.outbox import Outbox
from leash.v1 import shim_pb2
from leashd.core.bounds import MAX_CHOICES, MAX_TOKENS
from leashd.core.reasons import Reason
from leashd.operations import Disconnected, Kill, Raise
from tests.property.daemon import Fault
from tests.property.direct import DOLLAR, SECOND_NS, Talk, call_id, stage

A, B, C = call_id(1), call_id(2), call_id(3)
pytestmark = pytest.mark.anyio


def kinds(answers: list[object]) -> list[str]:
    return [type(answer).__name__ for answer in answers]


async def test_an_hour_of_compute_at_a_hundred_dollars_fits_into_the_ledger(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        shim.open("r", compute_rate_nanodollars_per_hour=100 * DOLLAR)
        shim.reserve("r", A)
        assert await world.daemon.flush()
        world.after(seconds=36_000)
        shim.settle("r", A, 1)
        shim.close("r")
        assert await world.daemon.flush()
        assert world.account("r").compute_cost_nanodollars(world.clock.at_ns) == 1000 * DOLLAR


async def test_waiters_look_again_by_themselves_after_a_commit_that_failed(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        shim.open("r", max_calls=1)
        await world.daemon.flush()
        world.daemon.ledger.fault = Fault.FAIL
        first, second = shim.reserve("r", A), shim.reserve("r", B)
        await world.daemon.flush()
        assert kinds(first) == ["Failed"]
        # It waited for a call whose admission was taken back, so nothing is open that would have woken it.
        assert kinds(second) == ["Admit"]


async def test_a_reserve_that_is_repeated_while_it_waits_has_both_answered(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        shim.open("r", max_calls=2)
        shim.reserve("r", A)
        shim.reserve("r", B)
        first, again = shim.reserve("r", C), shim.reserve("r", C)
        await world.daemon.flush()
        shim.void("r", A)
        await world.daemon.flush()
        assert kinds(first) == ["Admit"]
        assert kinds(again) == ["Admit"]
        assert world.account("r").open.calls == 2


async def test_a_waiter_that_asks_again_is_admitted_once(tmp_path: Path) -> None:
    """The room depends on the ledger's history of a model, too, which another run's call changes without waking it."""
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        shim.open("r", max_cost_nanodollars=DOLLAR)
        shim.open("other")
        shim.reserve("r", A, tokens=10)
        shim.reserve("other", C, model="n")
        waiting = shim.reserve("r", B, tokens=10, model="n")
        await world.daemon.flush()
        assert waiting == [], "a model that is new to the ledger goes alone"
        shim.settle("other", C, 1)
        await world.daemon.flush()
        shim.reserve("r", B, tokens=10, model="n")
        await world.daemon.flush()
        shim.settle("r", A, 1)
        await world.daemon.flush()
        assert world.account("r").open.calls == 1
        shim.settle("r", B, 1)
        await world.daemon.flush()
        assert world.account("r").open.calls == 0
        assert world.account("r").open.nanodollars == 0


async def test_a_waiter_in_a_run_whose_making_failed_does_not_bring_the_daemon_down(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        world.daemon.ledger.fault = Fault.FAIL
        opened = shim.open("new", max_calls=1)
        first, second = shim.reserve("new", A), shim.reserve("new", B)
        await world.daemon.flush()
        await world.daemon.flush()
        world.after(seconds=31)
        await world.daemon.flush()
        assert kinds(opened) == ["Failed"]
        assert kinds(first) == ["Failed"]
        assert kinds(second) == ["Failed"]


async def test_a_waiter_whose_session_did_not_get_the_run_open_is_not_admitted(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        other = await world.talk(b"session2")
        other.open("r", max_calls=1)
        shim = await world.talk(b"session1")
        world.daemon.ledger.fault = Fault.FAIL
        shim.open("r")
        shim.reserve("r", A)
        waiting = shim.reserve("r", B)
        await world.daemon.flush()
        await world.daemon.flush()
        assert kinds(waiting) == ["Failed"]
        assert world.account("r").open.calls == 0


async def test_a_waiter_of_a_run_that_its_session_closes_is_not_admitted(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        other, shim = await world.talk(b"session2"), await world.talk(b"session1")
        other.open("r", max_calls=1)
        shim.open("r")
        other.reserve("r", A)
        waiting = shim.reserve("r", B)
        shim.close("r")
        await world.daemon.flush()
        other.void("r", A)
        await world.daemon.flush()
        assert kinds(waiting) == ["Failed"]
        assert world.account("r").open.calls == 0


async def test_those_behind_a_head_that_leaves_have_their_turn_at_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        shim.open("r", max_cost_nanodollars=DOLLAR, strict=True)
        shim.reserve("r", A, tokens=500)
        await world.daemon.flush()
        shim.reserve("r", B, tokens=900)
        await world.daemon.flush()
        world.after(seconds=20)
        behind = shim.reserve("r", C, tokens=100)
        await world.daemon.flush()
        assert behind == [], "the head may not be passed in the second half of its wait"
        shim.cancel("r", B)
        await world.daemon.flush()
        assert kinds(behind) == ["Admit"]


async def test_those_behind_a_head_whose_stream_breaks_have_their_turn_at_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim, other = await world.talk(b"session1"), await world.talk(b"session2")
        shim.open("r", max_cost_nanodollars=DOLLAR, strict=True)
        other.open("r")
        shim.reserve("r", A, tokens=500)
        await world.daemon.flush()
        other.reserve("r", B, tokens=900)
        await world.daemon.flush()
        world.after(seconds=20)
        behind = shim.reserve("r", C, tokens=100)
        other.ask(Disconnected(other.session, other))
        await world.daemon.flush()
        assert kinds(behind) == ["Admit"]


async def test_a_wait_that_was_made_shorter_is_not_as_long_as_the_one_before_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        shim.open("r", max_calls=1, hold_wait_ns=60 * SECOND_NS)
        shim.reserve("r", A)
        shim.reserve("r", B)
        shim.ask(Raise(run="r", given={"hold_wait_ns": SECOND_NS}, resume=False, actor_uid=0))
        short = shim.reserve("r", C)
        await world.daemon.flush()
        assert world.daemon.engine.next_tick_ns() <= world.clock.at_ns + SECOND_NS
        world.after(seconds=2)
        await world.daemon.flush()
        assert kinds(short) == ["Refused"]
        assert short[0].refuse.reason is Reason.BUDGET_HELD


async def test_compute_runs_until_the_last_of_two_sessions_has_left(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        lost, stays = await world.talk(b"session1"), await world.talk(b"session2")
        lost.open("r", compute_rate_nanodollars_per_hour=3600)  # one nanodollar for each second
        stays.open("r")
        lost.reserve("r", A)
        lost.void("r", A)
        await world.daemon.flush()
        world.after(seconds=10)
        lost.ask(Disconnected(lost.session, lost))
        await world.daemon.flush()
        world.after(seconds=1)
        stays.close("r")
        await world.daemon.flush()
        world.after(seconds=5)
        await world.daemon.flush()
        assert world.account("r").openers == ()
        assert world.account("r").compute_cost_nanodollars(world.clock.at_ns) == 11


async def test_what_a_shim_knows_of_a_call_counts_though_the_daemon_had_abandoned_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        shim.open("r", max_cost_nanodollars=DOLLAR)
        shim.reserve("r", A)
        await world.daemon.flush()
        assert world.account("r").open.nanodollars == 2 * DOLLAR // 1000, "twice the dearest call"
        shim.ask(Disconnected(shim.session, shim))
        await world.daemon.flush()
        world.after(seconds=3)
        await world.daemon.flush()
        again = await world.talk(b"session1", A)
        again.abandon("r", A, known_tokens=100)
        await world.daemon.flush()
        assert world.account("r").unresolved.nanodollars == 100 * DOLLAR // 1000


async def test_a_session_whose_close_failed_still_hears_of_a_kill(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim: Talk = await world.talk(b"session1")
        shim.open("r", max_calls=1)
        shim.reserve("r", A)
        await world.daemon.flush()
        world.daemon.ledger.fault = Fault.FAIL
        assert kinds(shim.close("r")) == []
        await world.daemon.flush()
        assert world.account("r").has_opener(shim.session)
        shim.ask(Kill(runs=("r",), now=True, actor_uid=0))
        await world.daemon.flush()
        assert kinds(shim.pushed) == ["RunStopped"]


async def test_a_shim_takes_back_a_reserve_whose_second_sending_failed() -> None:
    """The first sending may have been admitted, and its answer lost: then the call is open, and nobody's."""
    outbox = Outbox()
    outbox.reserve(shim_pb2.Reserve(call_id=A, run="r"), lambda _: None, 0.0)
    assert outbox.next_batch(0.0) is not None
    outbox.relink(1.0)
    resent = outbox.next_batch(1.0)
    assert resent is not None
    failure = shim_pb2.Failure(code=shim_pb2.FAILURE_CODE_UNAVAILABLE, message="the disk is full")
    outbox.take(shim_pb2.Answer(op_id=resent.operations[0].op_id, failure=failure), 1.0)
    batch = outbox.next_batch(1.0)
    assert batch is not None
    assert [operation.WhichOneof("kind") for operation in batch.operations] == ["cancel"]


async def test_a_provider_that_reports_absurd_counts_does_not_bring_the_daemon_down(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        shim.open("r", max_cost_nanodollars=DOLLAR)
        shim.reserve("r", A)
        await world.daemon.flush()
        shim.settle("r", A, MAX_TOKENS)
        await world.daemon.flush()
        assert world.account("r").totals.token_cost_nanodollars > DOLLAR


async def test_a_request_for_absurdly_many_tokens_does_not_bring_the_daemon_down(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        shim.open("r", max_cost_nanodollars=DOLLAR, strict=False)
        first = shim.reserve("r", A, tokens=MAX_TOKENS, model="n", choices=MAX_CHOICES)
        await world.daemon.flush()
        second = shim.reserve("r", B, tokens=MAX_TOKENS, model="n", choices=MAX_CHOICES)
        await world.daemon.flush()
        assert kinds(first) == ["Admit"]
        assert second == []


async def test_a_shim_takes_back_a_reserve_whose_second_sending_found_the_run_closed() -> None:
    """The session had lost the run, and its opening failed once more; the call may be unresolved since then."""
    outbox = Outbox()
    opening = outbox.open_run(shim_pb2.OpenRun(run="r"), lambda _: None, 0.0)
    assert outbox.next_batch(0.0) is not None
    outbox.take(shim_pb2.Answer(op_id=opening.operation.op_id, account={"run": "r"}), 0.0)
    outbox.reserve(shim_pb2.Reserve(call_id=A, run="r"), lambda _: None, 0.0)
    assert outbox.next_batch(0.0) is not None
    outbox.relink(1.0)
    resent = outbox.next_batch(1.0)
    assert resent is not None
    failure = shim_pb2.Failure(code=shim_pb2.FAILURE_CODE_NOT_OPEN, message="the run is not open")
    outbox.take(shim_pb2.Answer(op_id=resent.operations[-1].op_id, failure=failure), 1.0)
    batch = outbox.next_batch(1.0)
    assert batch is not None
    assert "cancel" in [operation.WhichOneof("kind") for operation in batch.operations]
