"""What the supervisor does with its workers, which are doubles here: starts, renews, reloads and ends them."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import anyio
import pytest

from leash.client.errors import DaemonUnavailable
from leash.notify import Notifier
from leash_shim.gateway.config import GatewayConfig
from leash_shim.gateway.supervisor import GatewayFailure, GatewayPlan, Supervisor
from tests.unit.leash_shim.gateway.settings import gateway_config

pytestmark = pytest.mark.anyio

PATIENCE_S = 5.0


@dataclass(eq=False)
class Double:
    """A worker that does what the company says of it."""

    pid: int
    config: GatewayConfig
    started_s: float = field(default_factory=anyio.current_time)
    ready: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)
    failure: str = ""
    told: list[str] = field(default_factory=list)
    reload_failure: str = ""
    stays: bool = False

    @property
    def was_ready(self) -> bool:
        return self.ready.is_set()

    @property
    def is_serving(self) -> bool:
        return self.ready.is_set() and not self.ended.is_set()

    def epitaph(self) -> str:
        return "ended"

    async def attend(self) -> None:
        await self.ended.wait()

    async def until_ready(self, timeout_s: float) -> bool:
        with anyio.move_on_after(timeout_s):
            while not self.ready.is_set() and not self.ended.is_set():  # noqa: ASYNC110
                await anyio.sleep(0.001)
        return self.is_serving

    async def reload(self, config: GatewayConfig) -> str:
        self.config = config
        return self.reload_failure

    async def drain(self) -> None:
        self.told.append("drain")
        if not self.stays:
            self.ended.set()

    async def cut(self) -> None:
        self.told.append("cut")
        self.ended.set()

    def kill(self) -> None:
        self.told.append("kill")
        self.ended.set()


class Company:
    """Starts doubles in place of processes: each serves, unless ``fates`` says something else of the next one."""

    def __init__(self) -> None:
        self.started: list[Double] = []
        self.fates: list[str] = []

    async def start(self, _listener: Any, config: GatewayConfig, _environ: Any) -> Double:
        worker = Double(len(self.started), config)
        self.started.append(worker)
        match self.fates.pop(0) if self.fates else "serves":
            case "serves":
                worker.ready.set()
            case "dies":
                worker.ended.set()
            case "hangs":
                pass
        return worker


class Daemon:
    """A session that keeps the prices that it is given, and refuses those that say so."""

    def __init__(self, *_arguments: Any, **_more: Any) -> None:
        self.prices: list[bytes] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        pass

    async def put_prices(self, text: bytes) -> None:
        if text == b"refused":
            raise DaemonUnavailable("no daemon")
        self.prices.append(text)


@dataclass
class Gateway:
    """A supervisor at work."""

    supervisor: Supervisor
    company: Company
    said: list[str]
    files: list[GatewayConfig | str]
    ended: anyio.Event

    async def until(self, reached: Callable[[], object]) -> None:
        with anyio.fail_after(PATIENCE_S):
            while not reached():  # noqa: ASYNC110
                await anyio.sleep(0.001)

    async def signal(self, number: signal.Signals) -> None:
        os.kill(os.getpid(), number)
        await anyio.sleep(0.01)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a supervisor, and ends it: ``async with start(workers=2) as gateway``."""
    for name, value in (("_MIN_BACKOFF_S", 0.0001), ("_READY_TIMEOUT_S", 0.2), ("_LEAVE_MARGIN_S", 0.05)):
        monkeypatch.setattr(f"leash_shim.gateway.supervisor.{name}", value)

    @asynccontextmanager
    async def started(
        *,
        workers: int = 1,
        fates: tuple[str, ...] = (),
        drain_delay_s: float = 0.0,
        notifier: Notifier | None = None,
        **settings: Any,
    ) -> AsyncIterator[Gateway]:
        company, said, files = Company(), [], []
        company.fates.extend(fates)
        monkeypatch.setattr("leash_shim.gateway.supervisor.WorkerProcess", company)
        monkeypatch.setattr("leash_shim.gateway.supervisor.ShimSession", Daemon)

        def reread() -> GatewayConfig:
            found = files.pop(0)
            if isinstance(found, str):
                raise ValueError(found)  # noqa: TRY004 (as the files' readers do)
            return found

        with socket.socket() as listener:
            plan = GatewayPlan(
                config=gateway_config(shutdown_timeout_s=0.05, **settings),
                listeners=[listener],
                workers=workers,
                admin=None,
                drain_delay_s=drain_delay_s,
                announcement="here",
                reread=reread,
                say=said.append,
                notifier=notifier or Notifier(),
            )
            gateway = Gateway(Supervisor(plan), company, said, files, anyio.Event())

            async def live() -> None:
                await gateway.supervisor.live()
                gateway.ended.set()

            async with anyio.create_task_group() as group:
                group.start_soon(live)
                await anyio.sleep(0.01)
                yield gateway
                if not gateway.ended.is_set():
                    await gateway.signal(signal.SIGTERM)
                with anyio.fail_after(PATIENCE_S):
                    await gateway.ended.wait()

    return started


async def test_it_says_where_it_is_once_all_workers_serve(start: Callable[..., Any]) -> None:
    async with start(workers=2, fates=("serves", "hangs")) as gateway:
        assert gateway.said == []
        gateway.company.started[1].ready.set()
        await gateway.until(lambda: gateway.said == ["here"])


async def test_the_service_manager_is_told_when_it_serves_reloads_and_ends(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        notifier = Notifier(str(tmp_path / "notify"), watchdog_interval_s=3600.0)

        async def heard() -> str:
            with anyio.fail_after(PATIENCE_S):
                while True:
                    try:
                        return manager.recv(4096).decode().split("\n")[0]
                    except BlockingIOError:
                        await anyio.sleep(0.01)

        async with start(fates=("hangs",), notifier=notifier) as gateway:
            assert await heard() == "WATCHDOG=1"
            gateway.company.started[0].ready.set()
            assert await heard() == "READY=1"
            for found in (gateway_config(), "line 3 of it is wrong"):
                gateway.files.append(found)
                await gateway.signal(signal.SIGHUP)
                assert [await heard(), await heard()] == ["RELOADING=1", "READY=1"]
            await gateway.signal(signal.SIGTERM)
            assert await heard() == "STOPPING=1"


async def test_a_worker_that_dies_is_replaced_for_as_long_as_it_takes(
    start: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with start() as gateway:
        gateway.company.fates += ["dies"] * 8
        gateway.company.started[0].ended.set()
        await gateway.until(lambda: len(gateway.company.started) == 10)
        await gateway.until(lambda: gateway.company.started[-1].is_serving)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 9
    assert caplog.messages[0] == "worker 0 (pid 0) ended; another one starts"


async def test_where_no_worker_ever_starts_it_gives_up(start: Callable[..., Any]) -> None:
    with pytest.RaisesGroup(
        pytest.RaisesGroup(pytest.RaisesExc(GatewayFailure, match="^no worker starts: the last one ended$")),
        flatten_subgroups=False,
    ):
        async with start(fates=("dies",) * 5) as gateway:
            with anyio.move_on_after(PATIENCE_S):
                await gateway.ended.wait()


async def test_a_worker_that_does_not_come_to_serve_is_replaced(start: Callable[..., Any]) -> None:
    async with start(fates=("hangs",)) as gateway:
        await gateway.until(lambda: len(gateway.company.started) == 2)
        assert gateway.company.started[0].told == ["kill"]


async def test_workers_are_renewed_one_by_one_and_each_by_one_that_serves(start: Callable[..., Any]) -> None:
    async with start(workers=2) as gateway:
        gateway.company.fates += ["hangs"]
        await gateway.signal(signal.SIGUSR2)
        one, two, first_new = gateway.company.started
        assert (one.told, two.told) == ([], [])
        first_new.ready.set()
        await gateway.until(lambda: gateway.said[-1] == "all workers are new")
        assert (one.told, two.told) == (["drain"], ["drain"])
        assert len(gateway.company.started) == 4


async def test_a_renewal_that_fails_leaves_the_workers_as_they_are(
    start: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with start(workers=2) as gateway:
        gateway.company.fates += ["dies"]
        await gateway.signal(signal.SIGUSR2)
        await gateway.until(lambda: "those before it go on" in caplog.text)
        one, two, _ = gateway.company.started
        assert one.is_serving
        assert two.is_serving


async def test_a_reload_reaches_every_worker_and_those_to_come(start: Callable[..., Any]) -> None:
    async with start(workers=2) as gateway:
        gateway.files.append(gateway_config(prices="new"))
        await gateway.signal(signal.SIGHUP)
        await gateway.until(lambda: gateway.said[-1].startswith("reloaded"))
        gateway.company.started[0].ended.set()
        await gateway.until(lambda: len(gateway.company.started) == 3)
        assert [worker.config.prices for worker in gateway.company.started] == ["new"] * 3


@pytest.mark.parametrize("files", ["tokens, line 3: no token", gateway_config(prices="refused")])
async def test_where_anything_is_wrong_nothing_is_reloaded(
    start: Callable[..., Any], caplog: pytest.LogCaptureFixture, files: GatewayConfig | str
) -> None:
    async with start(prices="old") as gateway:
        gateway.files.append(files)
        await gateway.signal(signal.SIGHUP)
        await gateway.until(lambda: "nothing was reloaded" in caplog.text)
        assert gateway.company.started[0].config.prices == "old"
        assert gateway.said == ["here"]


async def test_a_worker_that_cannot_reload_is_named(
    start: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with start() as gateway:
        gateway.company.started[0].reload_failure = "cert.pem is gone"
        gateway.files.append(gateway_config())
        await gateway.signal(signal.SIGHUP)
        await gateway.until(lambda: caplog.messages == ["not all workers have reloaded: worker 0: cert.pem is gone"])


async def test_a_worker_that_dies_during_the_delay_before_the_end_is_replaced(start: Callable[..., Any]) -> None:
    async with start(drain_delay_s=0.1) as gateway:
        await gateway.signal(signal.SIGTERM)
        gateway.company.started[0].ended.set()
        await gateway.until(lambda: len(gateway.company.started) == 2)
        assert gateway.company.started[1].told == []
        await gateway.until(gateway.ended.is_set)
        assert gateway.company.started[1].told == ["drain"]


async def test_a_second_signal_cuts(start: Callable[..., Any]) -> None:
    async with start(drain_delay_s=PATIENCE_S) as gateway:
        [worker] = gateway.company.started
        worker.stays = True
        await gateway.signal(signal.SIGTERM)
        await gateway.signal(signal.SIGTERM)
        await gateway.until(gateway.ended.is_set)
        assert worker.told == ["drain", "cut"]


async def test_a_worker_that_does_not_leave_is_killed(start: Callable[..., Any]) -> None:
    async with start() as gateway:
        [worker] = gateway.company.started
        worker.stays = True
        await gateway.signal(signal.SIGINT)
        await gateway.until(gateway.ended.is_set)
        assert worker.told == ["drain", "kill"]
