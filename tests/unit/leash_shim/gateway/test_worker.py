"""A worker's own process: what it does where there is nobody to obey, or no daemon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from leash_shim.gateway.workers import WorkerProcess
from tests.unit.leash_shim.gateway.settings import gateway_config

PATIENCE_S = 30.0


@pytest.mark.anyio
async def test_a_worker_without_a_daemon_says_why(tmp_path: Path) -> None:
    config = gateway_config()
    config = gateway_config(endpoint=replace(config.endpoint, socket=tmp_path / "none.sock"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        worker = await WorkerProcess.start(listener, config, os.environ)
        with anyio.fail_after(PATIENCE_S):
            await worker.attend()
    assert worker.epitaph().startswith(f"ended with exit code 1: no leashd answers on {tmp_path}/none.sock")


def test_a_worker_heeds_no_signal_and_ends_with_its_channel() -> None:
    ours, theirs = socket.socketpair()
    with theirs, socket.create_server(("127.0.0.1", 0)) as listener:
        descriptors = (theirs.fileno(), listener.fileno())
        # It announces that it has come as far as to ignore signals, by the one that it would die of.
        program = (
            "import signal, sys\n"
            "import leash_shim.gateway.worker as worker\n"
            "run = worker.anyio.run\n"
            "def told(*arguments, **more):\n"
            "    print('here', flush=True)\n"
            "    return run(*arguments, **more)\n"
            "worker.anyio.run = told\n"
            "worker.main()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, descriptors)],
            pass_fds=descriptors,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    with process, ours:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
        ours.close()
        assert process.wait(timeout=PATIENCE_S) == 1
