"""The client and the real daemon: started together, killed, restarted and left idle."""

from __future__ import annotations

import os
import random
import secrets
import signal
from typing import TYPE_CHECKING

import anyio
import pytest

from leash.client import launch
from leash.client import link as link_module
from leash.client import session as session_module
from leash.client.control import ControlClient
from leash.client.errors import DaemonUnavailable
from leash.client.paths import Endpoint, find_endpoint
from leash.client.session import ShimSession
from leash.v1 import shim_pb2, types_pb2
from tests.harness import PYTHON, Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

_CALL = """
import asyncio, os, secrets, sys, time
from leash.client.paths import find_endpoint
from leash.client.session import ShimSession
from leash.v1 import shim_pb2

async def main():
    endpoint = find_endpoint(socket=None, db=None, environ=os.environ)
    async with ShimSession(endpoint, client_version="0") as session:
        await session.open_run(shim_pb2.OpenRun(run="r"))
        for _ in range(int(sys.argv[1])):
            call_id = secrets.token_bytes(16)
            await session.reserve(shim_pb2.Reserve(call_id=call_id, run="r", model="m", choices=1))
            await asyncio.sleep(float(sys.argv[2]))
            session.settle(shim_pb2.Settle(call_id=call_id, run="r", http_status=200))
        assert await session.drained(10)

asyncio.run(main())
"""


@pytest.fixture
def endpoint(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    for name, value in workspace.environ.items():
        monkeypatch.setenv(name, value)
    yield find_endpoint(socket=None, db=None, environ=workspace.environ)
    workspace.stop_daemons()
    launch._reap()


def reserve(run: str = "r") -> shim_pb2.Reserve:
    return shim_pb2.Reserve(call_id=secrets.token_bytes(16), run=run, model="m", choices=1)


def settle(call: shim_pb2.Reserve) -> shim_pb2.Settle:
    usage = types_pb2.Usage(input_tokens=2, output_tokens=1)
    return shim_pb2.Settle(call_id=call.call_id, run=call.run, http_status=200, usage=usage, model="m")


async def test_ten_programs_at_once_start_one_daemon(workspace: Workspace, endpoint: Endpoint) -> None:
    programs = [workspace.start(PYTHON, "-c", _CALL, "1", "0") for _ in range(10)]
    for program in programs:
        out, err = program.communicate(timeout=60)
        assert (program.returncode, out, err) == (0, "", "")
    assert len(workspace.daemon_pids()) == 1
    async with ControlClient(endpoint) as client:
        assert (await client.get("r")).calls == 10


async def test_nothing_is_written_to_the_terminal_while_the_daemon_dies_and_comes_back(
    workspace: Workspace, endpoint: Endpoint
) -> None:
    program = workspace.start(PYTHON, "-c", _CALL, "30", "0.05")
    for _ in range(2):
        await anyio.sleep(1)
        for pid in workspace.daemon_pids():
            os.kill(pid, signal.SIGKILL)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out, err) == (0, "", "")
    async with ControlClient(endpoint) as client:
        assert (await client.get("r")).calls == 30


async def test_no_call_is_lost_or_doubled_while_the_daemon_is_killed(workspace: Workspace, endpoint: Endpoint) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    settled = abandoned = 0

    async def work(session: ShimSession) -> None:
        nonlocal settled, abandoned
        for _ in range(20):
            call = reserve()
            with anyio.move_on_after(0.002 if chance.random() < 0.2 else 30):
                await session.reserve(call)
                if chance.random() < 0.1:
                    session.abandon(shim_pb2.Abandon(call_id=call.call_id, run="r"))
                    abandoned += 1
                else:
                    session.settle(settle(call))
                    settled += 1
            await anyio.sleep(chance.uniform(0, 0.1))

    async with ShimSession(endpoint, client_version="0") as session:
        await session.open_run(shim_pb2.OpenRun(run="r"))
        async with anyio.create_task_group() as workers:
            for _ in range(8):
                workers.start_soon(work, session)
            for _ in range(3):
                await anyio.sleep(chance.uniform(0.1, 0.5))
                for pid in workspace.daemon_pids():
                    os.kill(pid, signal.SIGKILL)
        assert await session.drained(10)
        account = await session.close_run("r")
    assert (account.calls, account.unresolved_calls, account.open_calls) == (settled, abandoned, 0)
    assert account.input_tokens == 2 * settled
    assert account.reason == "child_exited"


async def test_a_daemon_that_leaves_at_that_very_moment_is_no_error(
    workspace: Workspace, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_IDLE_EXIT", "100ms")
    pids = set()
    for attempt in range(12):
        if attempt % 2:
            async with ShimSession(endpoint, client_version="0") as session:
                await session.open_run(shim_pb2.OpenRun(run="r"))
                call = reserve()
                await session.reserve(call)
                session.settle(settle(call))
        else:
            async with ControlClient(endpoint) as client:
                pids.add((await client.info()).pid)
        await anyio.sleep(0.09 + 0.002 * attempt)
    async with ControlClient(endpoint) as client:
        assert (await client.get("r")).calls == 6
    assert len(pids) > 1


async def test_a_call_that_waits_for_room_is_taken_back_when_its_client_hangs_up(endpoint: Endpoint) -> None:
    async with ShimSession(endpoint, client_version="0") as session:
        await session.open_run(shim_pb2.OpenRun(run="r", limits=types_pb2.Limits(max_calls=2)))
        first, second, third = reserve(), reserve(), reserve()
        await session.reserve(first)
        await session.reserve(second)
        with anyio.move_on_after(0.2) as hung_up:
            await session.reserve(third)
        assert hung_up.cancelled_caught
        session.void(shim_pb2.Void(call_id=second.call_id, run="r"))
        assert await session.drained(5)
        fourth = reserve()
        assert isinstance(await session.reserve(fourth), shim_pb2.Admitted)
        for call in (first, fourth):
            session.settle(settle(call))
        assert await session.drained(5)
        refused = await session.reserve(reserve())
        assert isinstance(refused, shim_pb2.Refused)
        assert refused.reason == types_pb2.REASON_MAX_CALLS
        account = await session.close_run("r")
    assert (account.calls, account.open_calls) == (2, 0)


async def test_a_daemon_that_stands_still_is_given_up_until_it_goes_on(
    workspace: Workspace, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_SIGN_INTERVAL_S", 0.2)
    monkeypatch.setattr(session_module, "UNAVAILABLE_AFTER_S", 0.5)
    monkeypatch.setattr(link_module, "_HELLO_TIMEOUT_S", 0.3)
    async with ShimSession(endpoint, client_version="0") as session:
        await session.open_run(shim_pb2.OpenRun(run="r"))
        settled = reserve()
        await session.reserve(settled)
        [pid] = workspace.daemon_pids()
        os.kill(pid, signal.SIGSTOP)
        session.settle(settle(settled))
        with pytest.raises(DaemonUnavailable, match="has not answered"), anyio.fail_after(10):
            await session.reserve(reserve())
        os.kill(pid, signal.SIGCONT)
        assert await session.drained(10)
        assert workspace.daemon_pids() == [pid]
        account = await session.close_run("r")
    # The daemon has read the reserve when it went on, and then that it was taken back.
    assert (account.calls, account.open_calls, account.unresolved_calls) == (1, 0, 0)


async def test_a_session_that_ends_cleanly_finishes_its_run(endpoint: Endpoint) -> None:
    async with ShimSession(endpoint, client_version="0") as session:
        await session.open_run(shim_pb2.OpenRun(run="r", pid=os.getpid()))
        async with ControlClient(endpoint) as client:
            assert [account.pid for account in await client.list()] == [os.getpid()]
        account = await session.close_run("r")
    assert (account.status, account.reason) == (types_pb2.STATUS_FINISHED, "child_exited")


async def test_a_session_tells_what_became_of_its_calls_and_leaves_its_runs_unfinished(endpoint: Endpoint) -> None:
    told: list[tuple[str, str]] = []
    episodes: set[int] = set()
    for attempt in range(2):
        async with ShimSession(endpoint, client_version="0") as session:
            session.on_closed = lambda call_id, closed, kind, seconds: told.append((kind, closed.outcome))
            opened = await session.open_run(shim_pb2.OpenRun(run="t/r", kind="gateway"))
            assert opened.calls == attempt
            assert (await session.probe()).open_runs == 1
            first, second = reserve("t/r"), reserve("t/r")
            for call in (first, second):
                await session.reserve(call)
            session.settle(settle(first))
            session.void(shim_pb2.Void(call_id=second.call_id, run="t/r"))
            assert await session.drained(5)
            left = await session.close_run("t/r", unfinished=True)
            assert (left.status, left.reason) == (types_pb2.STATUS_FINISHED, "opener_lost")
            episodes.add(left.started_at_unix_ns)
    assert len(episodes) == 1
    assert told == [("settle", "settled"), ("void", "voided")] * 2


async def test_a_kill_is_pushed(endpoint: Endpoint) -> None:
    pushed: list[shim_pb2.Push] = []
    arrived = anyio.Event()

    def on_push(push: shim_pb2.Push) -> None:
        pushed.append(push)
        arrived.set()

    async with ShimSession(endpoint, client_version="0") as session, ControlClient(endpoint) as client:
        session.on_push = on_push
        await session.open_run(shim_pb2.OpenRun(run="r"))
        await client.kill(["r"], now=True)
        with anyio.fail_after(5):
            await arrived.wait()
    assert (pushed[0].run_stopped.run, pushed[0].run_stopped.now) == ("r", True)
