"""A worker's process, as its supervisor starts it and sees it end. The program in it is a double."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from leash_shim.gateway.workers import WorkerProcess
from tests.unit.leash_shim.gateway.settings import gateway_config

pytestmark = pytest.mark.anyio

PATIENCE_S = 10.0

# Opens the channel, takes the configuration, and does what stands below it.
DOUBLE = """\
import json, os, socket, sys, time
channel = socket.socket(fileno=int(sys.argv[1]))
listener = socket.socket(fileno=int(sys.argv[2]))
lines = channel.makefile()
def take():
    return json.loads(lines.readline())
def tell(report):
    channel.sendall(json.dumps(report).encode() + b"\\n")
config = take()["config"]
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Starts a worker that runs a program."""
    monkeypatch.setattr("leash_shim.gateway.workers._MODULE", "double_worker")
    monkeypatch.setattr("leash_shim.gateway.workers._EXIT_TIMEOUT_S", 0.2)

    @asynccontextmanager
    async def started(program: str) -> AsyncIterator[WorkerProcess]:
        (tmp_path / "double_worker.py").write_text(DOUBLE + program)
        environ = os.environ | {"PYTHONPATH": str(tmp_path)}
        with socket.create_server(("127.0.0.1", 0)) as listener:
            worker = await WorkerProcess.start(listener, gateway_config(prices="of before"), environ)
            try:
                with anyio.fail_after(PATIENCE_S):
                    async with anyio.create_task_group() as group:
                        group.start_soon(worker.attend)
                        yield worker
                        await worker.ended.wait()
            finally:
                worker.kill()

    return started


async def test_it_gets_its_settings_and_reports_that_it_serves(start: Callable[..., Any]) -> None:
    program = "assert config['prices'] == 'of before'\ntell({'ready': True})\nassert take() == {'drain': True}\n"
    async with start(program) as worker:
        assert await worker.until_ready(PATIENCE_S)
        await worker.drain()
    assert worker.was_ready
    assert not worker.is_serving
    assert worker.epitaph() == "ended with exit code 0"


async def test_it_is_in_a_group_of_its_own_and_has_the_listening_socket(start: Callable[..., Any]) -> None:
    program = "tell({'failed': f'{os.getpgid(0) == os.getpid()} {listener.getsockname()[0]}'})"
    async with start(program) as worker:
        pass
    assert worker.failure == "True 127.0.0.1"


async def test_what_it_says_before_it_fails_is_kept(start: Callable[..., Any]) -> None:
    async with start("tell({'failed': 'no daemon'})\nsys.exit(1)") as worker:
        assert not await worker.until_ready(PATIENCE_S)
    assert worker.epitaph() == "ended with exit code 1: no daemon"


@pytest.mark.parametrize(
    ("answer", "failure"),
    [("tell({'reloaded': True})", ""), ("tell({'failed': 'no certificate'})", "no certificate"), ("sys.exit()", "")],
)
async def test_new_settings_are_taken_or_not(start: Callable[..., Any], answer: str, failure: str) -> None:
    async with start(f"assert take()['config']['prices'] == 'new'\n{answer}\ntake()") as worker:
        assert await worker.reload(gateway_config(prices="new")) == failure
        await worker.cut()


async def test_one_that_does_not_take_them_in_time_is_said_so(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leash_shim.gateway.workers._RELOAD_TIMEOUT_S", 0.05)
    async with start("take()\ntake()") as worker:
        assert await worker.reload(gateway_config()) == "no answer within 0 s"
        await worker.cut()


async def test_one_that_has_closed_its_channel_and_does_not_exit_is_helped(start: Callable[..., Any]) -> None:
    async with start("lines.close()\nchannel.close()\ntime.sleep(60)") as worker:
        pass
    assert worker.epitaph() == "was ended by signal 9"
