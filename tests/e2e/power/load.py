"""Shims at work on a daemon whose system calls are written down."""

from __future__ import annotations

import re
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.faults.site import Site
from tests.e2e.power.trace import COMMAND
from tests.harness import wait_until


def serve_traced(site: Site, *, environ: dict[str, str] | None = None) -> Path:
    """Starts a daemon under strace; returns the trace, which is whole once ``end_traced`` has returned."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = site.workspace.root / "trace"
    site.serve(within=(*COMMAND, str(trace)), environ=environ)
    return trace


def end_traced(site: Site, trace: Path) -> None:
    """Ends the daemon, and waits until strace has written its last line."""
    assert site.end_daemon() == 0, site.said
    last = re.compile(rf"^{site.pid} +\+\+\+ exited", re.MULTILINE)
    wait_until(lambda: last.search(_end(trace)), "strace has ended")


def work(site: Site, *, shims: int, calls: int) -> None:
    """Lets some shims at once have some calls each: settled, voided, abandoned, and left open in turn."""

    def one(number: int) -> None:
        shim, run = site.shim(), f"run-{number}"
        assert shim.open(run, max_calls=10_000).HasField("account")
        for index in range(calls):
            call = secrets.token_bytes(16)
            assert shim.reserve(call, run).HasField("admitted")
            if index % 4 != 3:
                shim.settle(call, run)
        shim.close()

    with ThreadPoolExecutor(shims) as pool:
        list(pool.map(one, range(shims)))


def _end(trace: Path) -> str:
    with trace.open("rb") as file:
        file.seek(max(0, trace.stat().st_size - 4096))
        return file.read().decode()
