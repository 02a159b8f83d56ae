"""A daemon, an endpoint and a hook, each of them real."""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from leash.client.paths import control_socket_for
from leash.v1 import control_pb2, runs_pb2, shim_pb2, types_pb2
from leash.v1.control_pb2_grpc import ControlStub
from leash.v1.runs_pb2_grpc import RunsStub
from tests.e2e.raw_daemon import Place, Shim
from tests.harness import PYTHON, wait_until

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the one of the specification's own examples
CALL = bytes(16)


@dataclass
class Scene:
    """One test's world."""

    root: Path
    place: Place
    receivers: list[subprocess.Popen[str]] = field(default_factory=list)
    port: int = 0

    def receive(self, port: int = 0) -> None:
        """Starts an endpoint, on a port that it had before or a free one."""
        command = (PYTHON, str(Path(__file__).with_name("receiver.py")), str(port), str(self.posts), str(self.key))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.receivers.append(process)
        assert process.stdout is not None
        self.port = int(process.stdout.readline())

    def stop_receiving(self) -> None:
        """The endpoint is gone, and nobody listens on its port."""
        for process in self.receivers:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self.receivers.clear()

    @property
    def posts(self) -> Path:
        return self.root / "posts.jsonl"

    @property
    def key(self) -> Path:
        return self.root / "key"

    @property
    def hooked(self) -> Path:
        return self.root / "hooked"

    def url(self, how: str = "200") -> str:
        return f"http://127.0.0.1:{self.port}/{how}"

    def posted(self, event: str = "", *, run: str = "") -> list[dict[str, Any]]:
        """What the endpoint was sent, in its order."""
        lines = self.posts.read_text().splitlines() if self.posts.exists() else []
        records = [json.loads(line) for line in lines]
        return [
            record
            for record in records
            if event in ("", record["told"]["event"]) and run in ("", record["told"]["run"])
        ]

    def hook_lines(self, event: str = "") -> list[str]:
        """What the hook was called with: ``event id run``."""
        lines = self.hooked.read_text().splitlines() if self.hooked.exists() else []
        return [line for line in lines if event in ("", line.split()[0])]

    def script(self, text: str, name: str = "hook.sh") -> Path:
        """A program for a hook."""
        path = self.root / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)
        return path

    def hook(self, more: str = "") -> tuple[str, ...]:
        """A hook that writes down with what it was called."""
        line = f'echo "$LEASH_EVENT $LEASH_EVENT_ID $LEASH_RUN" >> {shlex.quote(str(self.hooked))}'
        return (str(self.script(f"{line}\n{more}")),)

    def reactions(
        self, webhook: str | None = None, hook: tuple[str, ...] | None = None, *, timeout_s: float = 0
    ) -> shim_pb2.Reactions:
        message = None if hook is None else shim_pb2.Hook(command=hook, timeout_ns=int(timeout_s * 1e9))
        return shim_pb2.Reactions(webhook=webhook, webhook_secret_file=str(self.key), hook=message)

    def open(self, shim: Shim, reactions: shim_pb2.Reactions, run: str = "r", **limits: Any) -> shim_pb2.Answer:
        opening = shim_pb2.OpenRun(run=run, limits=types_pb2.Limits(**limits), reactions=reactions)
        return shim.ask(open_run=opening)

    def ask(self, act: Callable[[ControlStub], Any]) -> Any:
        """Asks as a person does."""
        with self.place.channel(control_socket_for(self.place.socket)) as channel:
            return act(ControlStub(channel))

    def notices(self) -> list[control_pb2.Notice]:
        responses = self.ask(lambda stub: list(stub.ListNotices(control_pb2.ListNoticesRequest())))
        return [notice for response in responses for notice in response.notices]

    def run_names(self) -> list[str]:
        """Every run, by its whole name."""
        with self.place.channel(control_socket_for(self.place.socket)) as channel:
            responses = list(RunsStub(channel).List(runs_pb2.ListRequest(all=True)))
        return [account.run for response in responses for account in response.accounts]

    def kill(self, *runs: str) -> None:
        self.ask(lambda stub: stub.Kill(control_pb2.KillRequest(runs=runs)))

    def wait_told(self) -> None:
        wait_until(lambda: not self.notices(), "everything is told")


@pytest.fixture
def scene() -> Iterator[Scene]:
    root = Path(tempfile.mkdtemp(prefix="lt-", dir="/tmp"))
    created = Scene(root, Place(root))
    created.key.write_text(KEY)
    created.receive()
    try:
        yield created
    finally:
        created.stop_receiving()
        created.place.close()
