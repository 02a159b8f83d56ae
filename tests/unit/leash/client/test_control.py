"""A person's requests, to a daemon of this ledger."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import anyio
import pytest

from leash.client import launch
from leash.client.control import ControlClient
from leash.client.errors import AccessDenied, ControlError, DaemonUnreachable, NotFound, Refused
from leash.client.paths import Endpoint, control_socket_for
from leash.client.session import ShimSession
from leash.v1 import shim_pb2, types_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

CALL = b"0123456789abcdef"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def on_demand(directory: Path) -> Iterator[Endpoint]:
    (directory / "run").mkdir(mode=0o700)
    socket = directory / "run" / "leash" / "leashd.sock"
    yield Endpoint(socket, control_socket_for(socket), directory / "a.db", "db")
    for process in [*launch._started]:
        process.terminate()
        process.wait(timeout=10)
    launch._reap()


@pytest.fixture
async def client(on_demand: Endpoint) -> AsyncIterator[ControlClient]:
    async with ControlClient(on_demand) as connected:
        yield connected


async def governed(endpoint: Endpoint, run: str) -> None:
    """Leave a run with one unresolved call behind."""
    async with ShimSession(endpoint, client_version="0") as session:
        limits = types_pb2.Limits(max_calls=5)
        await session.open_run(shim_pb2.OpenRun(run=run, limits=limits, kind="wrap"))
        admitted = await session.reserve(shim_pb2.Reserve(call_id=CALL, run=run, model="m", choices=1))
        assert isinstance(admitted, shim_pb2.Admitted)
        session.abandon(shim_pb2.Abandon(call_id=CALL, run=run))


async def test_a_run_is_listed_and_inspected(client: ControlClient, on_demand: Endpoint) -> None:
    assert await client.list() == []
    await governed(on_demand, "night")
    [account] = await client.list(all=True)
    assert (account.run, account.unresolved_calls) == ("night", 1)
    assert [call.call_id for call in (await client.get("night")).unresolved] == [CALL]
    entries = await client.journal("night")
    assert [entry.kind for entry in entries][:3] == ["opened", "reserved", "abandoned"]
    assert [entry.seq for entry in await client.journal("night", after_seq=1, limit=1)] == [2]
    info = await client.info()
    assert info.ledger == str(on_demand.ledger)
    with pytest.raises(NotFound, match="day"):
        await client.get("day")
    with pytest.raises(NotFound):
        await client.journal("day")


async def test_a_call_is_resolved_by_its_prefix(client: ControlClient, on_demand: Endpoint) -> None:
    await governed(on_demand, "night")
    with pytest.raises(NotFound):
        await client.resolve("night", b"nothing")
    resolved = await client.resolve("night", CALL[:4], 25_000_000)
    assert (resolved.call_id, resolved.account.total_cost_nanodollars) == (CALL, 25_000_000)


async def test_a_run_is_killed_and_raised(client: ControlClient, on_demand: Endpoint) -> None:
    await governed(on_demand, "night")
    response = await client.kill(["night", "day"])
    assert (list(response.killed), list(response.unknown)) == (["night"], ["day"])
    assert list((await client.kill(all=True)).killed) == []
    with pytest.raises(Refused):
        await client.raise_limits("night", types_pb2.Limits(max_calls=9))
    account = await client.raise_limits("night", types_pb2.Limits(max_calls=9), resume=True)
    assert account.limits.max_calls == 9
    assert account.status != types_pb2.STATUS_KILLED


async def test_entries_are_watched_as_they_come(client: ControlClient, on_demand: Endpoint) -> None:
    kinds = []
    async with anyio.create_task_group() as group:
        group.start_soon(governed, on_demand, "night")
        with anyio.fail_after(10):
            async for event in client.watch():
                kinds.append(event.entry.kind)
                if "abandoned" in kinds:
                    break
    assert "reserved" in kinds


async def test_whoever_lists_once_a_watch_has_begun_misses_nothing(client: ControlClient, on_demand: Endpoint) -> None:
    begun = anyio.Event()
    seen: set[str] = set()

    async def watch() -> None:
        async with ControlClient(on_demand) as watching:
            async for event in watching.watch(subscribed=begun.set):
                seen.add(event.run)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await begun.wait()  # without an event: there is no run yet
            assert await client.list(all=True) == []
            await governed(on_demand, "night")
            while "night" not in seen:  # noqa: ASYNC110 (it is somebody else who tells)
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()


async def test_a_daemon_that_died_meanwhile_is_started_again(client: ControlClient) -> None:
    pid = (await client.info()).pid
    launch._started[-1].kill()
    launch._started[-1].wait()
    assert (await client.info()).pid != pid


async def test_a_daemon_that_is_leaving_is_no_error(client: ControlClient) -> None:
    for pause_s in (0, 0.002, 0.01, 0.05, 0.1):
        launch._started[-1].send_signal(signal.SIGTERM)
        await anyio.sleep(pause_s)
        assert await client.list() == []


async def test_a_watch_ends_with_its_daemon(client: ControlClient) -> None:
    watching = client.watch("night")
    async with anyio.create_task_group() as group:
        group.start_soon(_kill_soon)
        with anyio.fail_after(10), pytest.raises(DaemonUnreachable):
            await anext(watching)


async def _kill_soon() -> None:
    await anyio.sleep(0.2)
    launch._started[-1].kill()


async def test_a_daemon_that_is_not_the_clients_to_start_is_missed_at_once(on_demand: Endpoint) -> None:
    await launch.ensure_daemon(on_demand)
    named = Endpoint(on_demand.socket, on_demand.control_socket, None, "socket")
    async with ControlClient(named) as client:
        await client.info()
        launch._started[-1].kill()
        launch._started[-1].wait()
        with pytest.raises(DaemonUnreachable, match="does not answer"):
            await client.info()
    with pytest.raises(DaemonUnreachable, match="no leashd answers"):
        async with ControlClient(named):
            pass


def test_whoever_asks_for_control_errors_gets_them_all() -> None:
    for kind in (NotFound, Refused, AccessDenied, DaemonUnreachable):
        assert issubclass(kind, ControlError)
