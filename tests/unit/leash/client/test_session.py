"""The session against a daemon of the contract's rules, in the exchange's order."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import leash.client.session as session_module
from leash.client.errors import DaemonUnavailable, DaemonUnreachable, SessionFailure
from leash.client.session import ShimSession
from leash.sockets import ticket_socket_for
from leash.v1 import shim_pb2, types_pb2

if TYPE_CHECKING:
    from pathlib import Path

    from leash.client.paths import Endpoint

pytestmark = pytest.mark.anyio

_numbers = itertools.count(1)


def reserve(run: str = "r") -> shim_pb2.Reserve:
    return shim_pb2.Reserve(call_id=next(_numbers).to_bytes(16, "big"), run=run, model="m", choices=1)


def settle(call: shim_pb2.Reserve) -> shim_pb2.Settle:
    return shim_pb2.Settle(call_id=call.call_id, run=call.run, http_status=200, usage=types_pb2.Usage(input_tokens=3))


def opened(endpoint: Endpoint) -> ShimSession:
    return ShimSession(endpoint, client_version="1.2.3")


async def eventually(condition: Any, timeout_s: float = 5) -> None:
    with anyio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110 (the condition is another process's, or may as well be)
            await anyio.sleep(0.005)


async def test_a_call_is_reserved_settled_and_acknowledged(daemon: Any, endpoint: Endpoint) -> None:
    async with opened(endpoint) as session:
        assert session.connected
        assert session.welcome.grace_ns == 2_000_000_000
        assert (await session.open_run(shim_pb2.OpenRun(run="r"))).run == "r"
        call = reserve()
        admitted = await session.reserve(call)
        assert isinstance(admitted, shim_pb2.Admitted)
        assert admitted.held_nanodollars == 7
        session.settle(settle(call))
        assert await session.drained(2)
        assert daemon.truth.acknowledged == []
        await session.reserve(reserve())
        await eventually(lambda: daemon.truth.acknowledged == [call.call_id])
        assert (await session.close_run("r")).run == "r"
    [hello] = daemon.truth.hellos
    assert (len(hello.session_id), hello.client_version, hello.protocol) == (16, "1.2.3", 2)
    assert daemon.truth.batches[3:] == [["settle"], ["reserve", "acknowledge"], ["close_run"]]


async def test_leaving_sends_the_last_acknowledgement_and_ends_the_stream_cleanly(
    daemon: Any, endpoint: Endpoint
) -> None:
    async with opened(endpoint) as session:
        call = reserve()
        await session.reserve(call)
        session.settle(settle(call))
    assert daemon.truth.acknowledged == [call.call_id]
    assert daemon.truth.clean_ends == 1


async def test_a_refusal_is_a_value_and_closes_the_call(daemon: Any, endpoint: Endpoint) -> None:
    daemon.refuse = True
    async with opened(endpoint) as session:
        refused = await session.reserve(reserve())
        assert isinstance(refused, shim_pb2.Refused)
        assert refused.reason == types_pb2.REASON_COST_BUDGET
        await daemon.restart()
        await eventually(lambda: len(daemon.truth.hellos) == 2)
    assert not daemon.truth.hellos[1].held_calls


async def test_operations_of_one_moment_share_a_message(daemon: Any, endpoint: Endpoint) -> None:
    async with opened(endpoint) as session:
        calls = [reserve() for _ in range(100)]
        await asyncio.gather(*(session.reserve(call) for call in calls))
        before = len(daemon.truth.batches)
        for call in calls:
            session.settle(settle(call))
        assert await session.drained(2)
        assert len(daemon.truth.batches) - before <= 3
    assert daemon.truth.states() == {"settled": 100}
    assert sorted(daemon.truth.acknowledged) == sorted(call.call_id for call in calls)


async def test_a_lost_settle_is_sent_again_and_answered_as_a_repeat(daemon: Any, endpoint: Endpoint) -> None:
    async with opened(endpoint) as session:
        call = reserve()
        await session.reserve(call)
        daemon.lose_answer["settle"] = 1
        session.settle(settle(call))
        assert await session.drained(5)
    assert daemon.truth.states() == {"settled": 1}
    assert list(daemon.truth.hellos[1].held_calls) == [call.call_id]
    assert daemon.truth.hellos[1].session_id == daemon.truth.hellos[0].session_id
    assert daemon.truth.acknowledged == [call.call_id]


async def test_a_lost_reserve_is_the_same_reserve_after_a_hello_that_lists_it(daemon: Any, endpoint: Endpoint) -> None:
    async with opened(endpoint) as session:
        daemon.lose_answer["reserve"] = 1
        call = reserve()
        assert isinstance(await session.reserve(call), shim_pb2.Admitted)
        assert daemon.truth.calls[call.call_id].reserves == 2
        session.settle(settle(call))
    assert list(daemon.truth.hellos[1].held_calls) == [call.call_id]
    assert daemon.truth.states() == {"settled": 1}


async def test_settles_of_a_dead_daemon_time_arrive_when_it_is_back(daemon: Any, endpoint: Endpoint) -> None:
    async with opened(endpoint) as session:
        calls = [reserve() for _ in range(20)]
        await asyncio.gather(*(session.reserve(call) for call in calls))
        await daemon.stop()
        await eventually(lambda: not session.connected)
        for call in calls[:10]:
            session.settle(settle(call))
        session.void(shim_pb2.Void(call_id=calls[10].call_id, run="r"))
        session.abandon(shim_pb2.Abandon(call_id=calls[11].call_id, run="r"))
        assert not await session.drained(0.05)
        await daemon.start()
        assert await session.drained(5)
        assert daemon.truth.states() == {"settled": 10, "voided": 1, "unresolved": 1, "open": 8}


async def test_runs_are_opened_again_before_anything_else_and_without_declaring_limits(
    daemon: Any, endpoint: Endpoint
) -> None:
    async with opened(endpoint) as session:
        await session.open_run(
            shim_pb2.OpenRun(
                run="r",
                limits=types_pb2.Limits(max_cost_nanodollars=5),
                defaults=types_pb2.Limits(max_calls=100),
                prices_sha256=b"p" * 32,
                pid=42,
                kind="wrap",
            )
        )
        await session.open_run(shim_pb2.OpenRun(run="gone"))
        await session.close_run("gone")
        daemon.lose_answer["reserve"] = 1
        await session.reserve(reserve())
    assert daemon.truth.batches[5] == ["hello"]
    assert daemon.truth.batches[6] == ["open_run", "reserve"]
    again = daemon.truth.opened[-1]
    assert not again.HasField("limits")
    assert again.defaults == types_pb2.Limits(max_cost_nanodollars=5, max_calls=100)
    assert (again.run, again.pid, again.kind, again.prices_sha256) == ("r", 42, "wrap", b"p" * 32)


async def test_closing_a_run_survives_a_lost_answer(daemon: Any, endpoint: Endpoint) -> None:
    async with opened(endpoint) as session:
        await session.open_run(shim_pb2.OpenRun(run="r"))
        daemon.lose_answer["close_run"] = 1
        assert (await session.close_run("r")).run == "r"
    # It is opened again first: the daemon may have forgotten that this session had it.
    assert daemon.truth.batches[4] == ["open_run", "close_run"]


async def test_a_run_can_be_left_unfinished(daemon: Any, endpoint: Endpoint) -> None:
    async with opened(endpoint) as session:
        for run in ("a", "b"):
            await session.open_run(shim_pb2.OpenRun(run=run))
        daemon.lose_answer["close_run"] = 1
        await session.close_run("a", unfinished=True)
        await session.close_run("b")
    assert daemon.truth.closed_runs == ["a", "a", "b"]
    assert daemon.truth.left_unfinished == ["a", "a"]


async def test_a_probe_tells_how_the_daemon_fares_and_fails_where_it_cannot_write(
    daemon: Any, endpoint: Endpoint
) -> None:
    async with opened(endpoint) as session:
        await session.open_run(shim_pb2.OpenRun(run="r"))
        assert (await session.probe()).open_runs == 1
        daemon.fail = {"probe": [shim_pb2.FAILURE_CODE_UNAVAILABLE]}
        with pytest.raises(DaemonUnavailable, match="probe declined"):
            await session.probe()
        assert (await session.probe()).open_runs == 1
    with pytest.raises(DaemonUnavailable, match="has ended"):
        await session.probe()


async def test_a_probe_is_bounded_and_is_not_sent_again(daemon: Any, endpoint: Endpoint) -> None:
    async with opened(endpoint) as session:
        daemon.silent = True
        with pytest.raises(DaemonUnavailable, match=r"not answered for 0.1 s"), anyio.fail_after(5):
            await session.probe(0.1)
        async with anyio.create_task_group() as group:
            group.start_soon(_expect_failing_probe, session)
            await eventually(lambda: daemon.truth.batches.count(["probe"]) == 2)
            daemon.silent = False
            await daemon.restart()
        assert await session.probe(5)
    assert daemon.truth.batches.count(["probe"]) == 3


async def _expect_failing_probe(session: ShimSession) -> None:
    with pytest.raises(DaemonUnavailable, match="was lost"):
        await session.probe(10)


async def test_the_end_of_each_call_is_told_once_though_its_answer_was_lost(daemon: Any, endpoint: Endpoint) -> None:
    told: list[tuple[bytes, str, str]] = []
    async with opened(endpoint) as session:
        session.on_closed = lambda call_id, closed, kind, seconds: told.append((call_id, closed.outcome, kind))
        calls = [reserve() for _ in range(3)]
        for call in calls:
            await session.reserve(call)
        daemon.lose_answer["settle"] = 1
        session.settle(settle(calls[0]))
        assert await session.drained(5)
        session.void(shim_pb2.Void(call_id=calls[1].call_id, run="r"))
        session.abandon(shim_pb2.Abandon(call_id=calls[2].call_id, run="r"))
    ends = [("settled", "settle"), ("voided", "void"), ("unresolved", "abandon")]
    assert told == [(call.call_id, *end) for call, end in zip(calls, ends, strict=True)]


async def test_a_client_that_hangs_up_while_waiting_cancels_its_call(daemon: Any, endpoint: Endpoint) -> None:
    daemon.wait_for_room = asyncio.Event()
    async with opened(endpoint) as session:
        call = reserve()
        with anyio.move_on_after(0.1) as hung_up:
            await session.reserve(call)
        assert hung_up.cancelled_caught
        assert await session.drained(2)
        daemon.wait_for_room.set()
        other = reserve()
        await session.reserve(other)
        session.settle(settle(other))
    assert daemon.truth.states() == {"settled": 1}
    assert ["cancel"] in daemon.truth.batches


async def test_a_hang_up_that_crosses_the_admission_still_cancels(
    daemon: Any, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(endpoint) as session:
        task = asyncio.create_task(session.reserve(reserve()))
        take = session._outbox.take

        def take_and_hang_up(answer: shim_pb2.Answer, now_s: float) -> None:
            take(answer, now_s)
            if answer.HasField("admitted"):
                task.cancel()

        monkeypatch.setattr(session._outbox, "take", take_and_hang_up)
        await asyncio.wait([task])
        assert task.cancelled()
        assert await session.drained(2)
    assert daemon.truth.states() == {"voided": 1}


async def test_a_hang_up_before_the_write_leaves_no_trace(daemon: Any, endpoint: Endpoint) -> None:
    async with opened(endpoint) as session:
        await daemon.stop()
        await eventually(lambda: not session.connected)
        with anyio.move_on_after(0.05):
            await session.reserve(reserve())
        await daemon.start()
        assert isinstance(await session.reserve(reserve()), shim_pb2.Admitted)
    assert daemon.truth.states() == {"open": 1}
    assert daemon.truth.batches == [["hello"], ["hello"], ["reserve"]]


async def test_without_a_connection_a_reserve_fails_in_time_and_is_taken_back(
    daemon: Any, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "UNAVAILABLE_AFTER_S", 0.4)
    async with opened(endpoint) as session:
        daemon.wait_for_room = asyncio.Event()
        waiting = reserve()
        async with anyio.create_task_group() as group:
            group.start_soon(_expect_unavailable, session, waiting)
            await eventually(lambda: waiting.call_id in daemon._waiters)
            began_s = anyio.current_time()
            await daemon.stop()
        assert 0.35 < anyio.current_time() - began_s < 2
        await _expect_unavailable(session, reserve())
        with pytest.raises(DaemonUnavailable, match="has not answered for 0 s"):
            await session.put_prices(b"{}")
        daemon.wait_for_room = None
        await daemon.start()
        assert await session.drained(5)
        assert isinstance(await session.reserve(reserve()), shim_pb2.Admitted)
    # Nothing of what failed was ever reserved; the one that the daemon had seen was cancelled.
    assert daemon.truth.states() == {"open": 1}
    assert sum(batch.count("cancel") for batch in daemon.truth.batches) == 1


async def _expect_unavailable(session: ShimSession, message: shim_pb2.Reserve) -> None:
    with pytest.raises(DaemonUnavailable):
        await session.reserve(message)


async def test_waiting_for_room_is_not_bounded_by_the_client(
    daemon: Any, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "UNAVAILABLE_AFTER_S", 0.1)
    monkeypatch.setattr(session_module, "_SIGN_INTERVAL_S", 0.05)
    daemon.wait_for_room = asyncio.Event()
    async with opened(endpoint) as session, anyio.create_task_group() as group:
        group.start_soon(session.reserve, reserve())
        await anyio.sleep(0.6)
        assert len(daemon.truth.hellos) == 1
        daemon.wait_for_room.set()
    assert daemon.truth.states() == {"open": 1}
    # It gave signs of life meanwhile.
    assert ["acknowledge"] in daemon.truth.batches


async def test_a_daemon_that_hangs_is_given_up_and_tried_anew(
    daemon: Any, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_SIGN_INTERVAL_S", 0.1)
    async with opened(endpoint) as session:
        daemon.silent = True
        async with anyio.create_task_group() as group:
            group.start_soon(session.reserve, reserve())
            await eventually(lambda: not session.connected)
            daemon.silent = False
    assert len(daemon.truth.hellos) >= 2
    assert daemon.truth.states() == {"open": 1}


async def test_whoever_has_waited_as_long_as_a_daemon_hangs_is_told_as_soon_as_it_is_given_up(
    daemon: Any, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "UNAVAILABLE_AFTER_S", 1.0)
    monkeypatch.setattr(session_module, "_SIGN_INTERVAL_S", 0.2)
    async with opened(endpoint) as session:
        await session.open_run(shim_pb2.OpenRun(run="r"))
        daemon.silent = True
        # Both count from when the silence began, and not from when the stream was given up.
        for ask in (session.reserve(reserve()), session.open_run(shim_pb2.OpenRun(run="another"))):
            began_s = time.monotonic()
            with pytest.raises(DaemonUnavailable):
                await ask
            assert time.monotonic() - began_s < 10
        daemon.silent = False
        await eventually(lambda: session.connected, timeout_s=20)


@pytest.mark.parametrize("code", [shim_pb2.FAILURE_CODE_UNAVAILABLE, shim_pb2.FAILURE_CODE_BUSY])
async def test_a_daemon_that_cannot_record_refuses_reserves_and_gets_outcomes_again(
    daemon: Any, endpoint: Endpoint, code: int
) -> None:
    async with opened(endpoint) as session:
        call = reserve()
        await session.reserve(call)
        daemon.fail = {"reserve": [code], "settle": [code, code]}
        with pytest.raises(DaemonUnavailable, match="reserve declined"):
            await session.reserve(reserve())
        session.settle(settle(call))
        assert not await session.drained(0.05)
        assert await session.drained(5)
    assert daemon.truth.states() == {"settled": 1}


async def test_a_settle_that_the_daemon_cannot_read_is_abandoned_rather_than_voided(
    daemon: Any, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(endpoint) as session:
        call = reserve()
        await session.reserve(call)
        daemon.fail = {"settle": [shim_pb2.FAILURE_CODE_INVALID]}
        session.settle(settle(call))
    assert daemon.truth.states() == {"unresolved": 1}
    assert "settle declined" in caplog.text


async def test_other_failures_reach_the_caller_with_their_code(daemon: Any, endpoint: Endpoint) -> None:
    daemon.fail = {
        "open_run": [shim_pb2.FAILURE_CODE_LIMIT_HIGHER],
        "reserve": [shim_pb2.FAILURE_CODE_NOT_OPEN],
        "close_run": [shim_pb2.FAILURE_CODE_NOT_OPEN],
    }
    async with opened(endpoint) as session:
        with pytest.raises(SessionFailure, match="open_run declined") as failure:
            await session.open_run(shim_pb2.OpenRun(run="r"))
        assert failure.value.code == shim_pb2.FAILURE_CODE_LIMIT_HIGHER
        with pytest.raises(SessionFailure, match="reserve declined"):
            await session.reserve(reserve())
        with pytest.raises(SessionFailure, match="close_run declined"):
            await session.close_run("r")
        await daemon.restart()
        await eventually(lambda: len(daemon.truth.hellos) == 2)
    assert daemon.truth.opened == []


async def test_pushes_arrive(daemon: Any, endpoint: Endpoint) -> None:
    pushed: list[shim_pb2.Push] = []
    async with opened(endpoint) as session:
        session.on_push = pushed.append
        daemon.pushes.put_nowait(shim_pb2.Push(run_stopped=shim_pb2.RunStopped(run="r", now=True)))
        await eventually(lambda: pushed)
    assert pushed[0].run_stopped.now


async def test_price_tables_are_stored_over_a_reconnect(daemon: Any, endpoint: Endpoint) -> None:
    async with opened(endpoint) as session:
        assert await session.put_prices(b"{}") == b"\x01" * 32
        with pytest.raises(SessionFailure, match="no price table: line 1"):
            await session.put_prices(b"nonsense")
        with pytest.raises(SessionFailure, match="more than"):
            await session.put_prices(b"{" * (16 * 1024 * 1024 + 1))
        large = b"{" * (16 * 1024 * 1024)
        assert await session.put_prices(large) == b"\x01" * 32
        await daemon.restart()
        assert await session.put_prices(b"{}") == b"\x01" * 32


async def test_a_daemon_that_is_not_there_is_said_at_once(endpoint: Endpoint) -> None:
    with pytest.raises(DaemonUnreachable, match="no leashd answers"):
        async with opened(endpoint):
            pass


async def test_a_daemon_of_another_protocol_is_said_at_once(daemon: Any, endpoint: Endpoint) -> None:
    daemon.fail = {"hello": [shim_pb2.FAILURE_CODE_INVALID]}
    with pytest.raises(SessionFailure, match="hello declined"):
        async with opened(endpoint):
            pass


async def test_the_bodys_error_comes_out_as_it_is(daemon: Any, endpoint: Endpoint) -> None:
    with pytest.raises(ZeroDivisionError):
        async with opened(endpoint):
            _ = 1 // 0
    assert daemon.truth.clean_ends == 1


@pytest.mark.parametrize("native", [False, True])
async def test_a_cancelled_body_drains_first(daemon: Any, endpoint: Endpoint, native: bool) -> None:
    async def body() -> None:
        async with opened(endpoint) as session:
            call = reserve()
            await session.reserve(call)
            session.settle(settle(call))
            entered.set()
            await anyio.sleep_forever()

    entered = asyncio.Event()
    if native:
        task = asyncio.create_task(body())
        await entered.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(body)
            await entered.wait()
            group.cancel_scope.cancel()
    assert daemon.truth.states() == {"settled": 1}
    assert daemon.truth.clean_ends == 1


async def test_leaving_fails_who_still_waits_and_takes_the_call_back(daemon: Any, endpoint: Endpoint) -> None:
    daemon.wait_for_room = asyncio.Event()
    async with anyio.create_task_group() as group, opened(endpoint) as session:
        call = reserve()
        group.start_soon(_expect_unavailable, session, call)
        await eventually(lambda: call.call_id in daemon._waiters)
    assert ["cancel"] in daemon.truth.batches
    assert daemon.truth.clean_ends == 1
    await _expect_unavailable(session, reserve())


async def test_a_push_handler_that_fails_ends_the_session(daemon: Any, endpoint: Endpoint) -> None:
    def fail(_push: shim_pb2.Push) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(BaseExceptionGroup) as ended:  # noqa: PT012 (the error comes out of the block's end)
        async with opened(endpoint) as session:
            session.on_push = fail
            daemon.pushes.put_nowait(shim_pb2.Push())
            await anyio.sleep_forever()
    assert ended.group_contains(RuntimeError, match="a bug")


async def test_who_is_told_of_the_ends_of_calls_and_fails_ends_the_session(daemon: Any, endpoint: Endpoint) -> None:
    def fail(*_told: object) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(BaseExceptionGroup) as ended:  # noqa: PT012 (the error comes out of the block's end)
        async with opened(endpoint) as session:
            session.on_closed = fail
            call = reserve()
            await session.reserve(call)
            session.settle(settle(call))
            await anyio.sleep_forever()
    assert ended.group_contains(RuntimeError, match="a bug")
    assert daemon.truth.states() == {"settled": 1}


async def test_a_socket_path_with_odd_characters(daemon: Any, directory: Path) -> None:
    from leash.client.paths import Endpoint, control_socket_for  # noqa: PLC0415

    odd = directory / "a b%41?c#d.sock"
    odd.symlink_to(daemon.socket)
    ticket_socket_for(odd).symlink_to(ticket_socket_for(daemon.socket))
    async with opened(Endpoint(odd, control_socket_for(odd), None, "socket")) as session:
        assert isinstance(await session.reserve(reserve()), shim_pb2.Admitted)


async def test_no_call_is_lost_or_doubled_over_many_broken_streams(daemon: Any, endpoint: Endpoint) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    forwarded: list[bytes] = []

    async def work(session: ShimSession) -> None:
        for _ in range(25):
            call = reserve()
            with anyio.move_on_after(0.001 if chance.random() < 0.2 else 10):
                await session.reserve(call)
                forwarded.append(call.call_id)
                # From here on nothing may be waited for without an outcome.
                session.settle(settle(call))
            await anyio.sleep(chance.uniform(0, 0.03))

    async def disturb() -> None:
        while True:
            await anyio.sleep(chance.uniform(0.005, 0.04))
            if not session.connected:
                continue
            match chance.randrange(4):
                case 0:
                    await daemon.restart(chance.uniform(0, 0.05))
                case 1:
                    daemon.fail["settle"] = [shim_pb2.FAILURE_CODE_UNAVAILABLE] * 3
                case _:
                    daemon.lose_answer[chance.choice(["reserve", "settle", "cancel", "acknowledge"])] = 1

    async with opened(endpoint) as session:
        await session.open_run(shim_pb2.OpenRun(run="r"))
        async with anyio.create_task_group() as group:
            group.start_soon(disturb)
            async with anyio.create_task_group() as workers:
                for _ in range(12):
                    workers.start_soon(work, session)
            group.cancel_scope.cancel()
        if daemon._server is None:
            await daemon.start()
        daemon.fail.clear()
        daemon.lose_answer.clear()
        assert await session.drained(10)
        assert session._outbox._calls == {}
    states = {call_id: call.state for call_id, call in daemon.truth.calls.items()}
    assert {call_id for call_id, state in states.items() if state == "settled"} == set(forwarded)
    assert set(states.values()) <= {"settled", "voided"}
    assert len(daemon.truth.hellos) > 2
