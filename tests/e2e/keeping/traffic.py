"""Calls that go on while something else is done to the ledger, and the commands that do it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leash.v1 import shim_pb2
from tests.e2e.raw_daemon import WAIT_S, Place, Shim

LEASHCTL = str(Path(sys.executable).with_name("leashctl"))
MAX_CALLS = 1_000_000


class Traffic:
    """Sessions that reserve and settle, each for one run, until they are told to stop."""

    def __init__(self, place: Place, *runs: str) -> None:
        self.settled = dict.fromkeys(runs, 0)
        self.failure: BaseException | None = None
        self._place = place
        self._is_stopping = threading.Event()
        self._threads = [threading.Thread(target=self._drive, args=(run,)) for run in runs]
        for thread in self._threads:
            thread.start()

    def wait_for(self, calls: int) -> None:
        """Until each run has so many settled calls more."""
        wanted = {run: settled + calls for run, settled in self.settled.items()}
        until(lambda: self.failure or all(self.settled[run] >= wanted[run] for run in wanted), "calls go on")
        assert self.failure is None, self.failure

    def stop(self) -> dict[str, int]:
        """Ends the sessions; how many calls of each run were settled and acknowledged."""
        self._is_stopping.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        assert self.failure is None, self.failure
        return self.settled

    def _drive(self, run: str) -> None:
        try:
            shim = Shim(self._place)
            shim.open(run, max_calls=MAX_CALLS)
            while not self._is_stopping.is_set():
                settle(shim, run)
                self.settled[run] += 1
            shim.ask(close_run=shim_pb2.CloseRun(run=run))
            shim.close()
        except BaseException as error:  # noqa: BLE001 - it is told in the test's own thread
            self.failure = error


def settle(shim: Shim, run: str, calls: int = 1) -> None:
    """Makes calls of a run that the provider answers, and acknowledges their outcomes."""
    done = []
    for _ in range(calls):
        call = secrets.token_bytes(16)
        assert shim.reserve(call, run).WhichOneof("kind") == "admitted"
        assert shim.settle(call, run).WhichOneof("kind") == "closed"
        done.append(call)
    shim.ask(acknowledge=shim_pb2.Acknowledge(call_ids=done))


def until(condition: Callable[[], Any], what: str) -> None:
    """Waits for a condition."""
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.01)


def leashctl(place: Place, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """What a person types, about the daemon of a place."""
    return _run(LEASHCTL, *arguments, "--socket", str(place.socket), **how)


def leashd(*arguments: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
    """What an administrator types, about a ledger that no daemon has open."""
    return _run(sys.executable, "-m", "leashd", *map(str, arguments), **how)


def _run(*command: str, **how: Any) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LEASH_")}
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ended = subprocess.run(command, env=environ, text=True, timeout=60, check=False, **(pipes | how))
    assert "Traceback" not in (ended.stderr or ""), ended.stderr
    return ended


def exported(place: Place, *arguments: str) -> list[dict[str, Any]]:
    """The lines of an export."""
    ended = leashctl(place, "export", *arguments)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def verdict(ledger: Path) -> dict[str, Any]:
    """What ``leashd verify`` has to say of a ledger."""
    ended = leashd("verify", "--ledger", ledger, "--json")
    assert ended.stdout, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == (0 if said["whole"] else 1)
    return said
