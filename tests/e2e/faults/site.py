"""A daemon that the test itself starts, a gateway in front of it, and a provider that counts what it was asked for."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.raw_daemon import Place, Shim
from tests.harness import MODEL, PRICES, PYTHON, WAIT_S, FakeProvider, Gateway, Workspace, wait_until

CALL = {"model": MODEL, "messages": [{"role": "user", "content": "go on"}]}
OPEN = ("--insecure", "--max-cost", "1000", "--max-calls", "0")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent got."""

    status: int
    text: str
    took_s: float
    retry_after: str | None = None

    @property
    def code(self) -> str:
        """The code of an error of leash's own."""
        code: str = json.loads(self.text)["error"]["code"]
        return code

    @property
    def message(self) -> str:
        """The sentence of an error of leash's own."""
        message: str = json.loads(self.text)["error"]["message"]
        return message

    @property
    def whole(self) -> bool:
        """Whether it is a provider's answer from its beginning to its end."""
        return self.status == 200 and (self.text.rstrip().endswith("[DONE]") or '"choices"' in self.text)


class Site:
    """Everything of one test. ``directory`` is where the ledger is."""

    def __init__(self, workspace: Workspace, directory: Path | None = None) -> None:
        self.workspace = workspace
        self.directory = directory or workspace.root / "data"
        self.directory.mkdir(exist_ok=True, mode=0o700)
        self.ledger = self.directory / "leash.db"
        self.socket = workspace.root / "s" / "leashd.sock"
        self.socket.parent.mkdir(exist_ok=True, mode=0o700)
        self.log = workspace.root / "leashd.log"
        self.chosen = {"LEASH_SOCKET": str(self.socket)}
        self.daemon: subprocess.Popen[str] | None = None
        self.gateway: Gateway | None = None
        self.provider: FakeProvider | None = None

    def close(self) -> None:
        """Ends the gateway, which else would wait a while for a daemon that has ended before it."""
        if self.gateway is not None and self.gateway.process.poll() is None:
            workers = self.gateway.workers()
            self.gateway.process.kill()
            for worker in workers:
                worker.kill()

    # The daemon

    def start_daemon(self, *, within: tuple[str, ...] = (), environ: dict[str, str] | None = None) -> None:
        """Starts leashd, with the words ``within`` before its command, and does not wait for it."""
        leashd = (PYTHON, "-m", "leashd", "--ledger", str(self.ledger), "--socket", str(self.socket))
        logging = ("sh", "-c", 'exec "$@" 2>>"$0"', str(self.log))
        self.daemon = self.workspace.start(*logging, *within, *leashd, environ=environ)

    def serve(self, *, within: tuple[str, ...] = (), environ: dict[str, str] | None = None) -> None:
        """Starts leashd and waits until it is ready."""
        before = self.said.count(" ready ")
        self.start_daemon(within=within, environ=environ)
        assert self.daemon is not None
        daemon = self.daemon
        wait_until(lambda: self.said.count(" ready ") > before or daemon.poll() is not None, "leashd is ready")
        assert daemon.poll() is None, self.said

    @property
    def pid(self) -> int:
        """The daemon's."""
        assert self.daemon is not None
        return self.daemon.pid

    @property
    def said(self) -> str:
        """The log of every daemon of this site."""
        return self.log.read_text() if self.log.exists() else ""

    def exit_code(self) -> int:
        """The daemon's, once it has ended."""
        assert self.daemon is not None
        return self.daemon.wait(timeout=WAIT_S)

    def end_daemon(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends the daemon; returns its exit code."""
        os.kill(self.pid, number)
        return self.exit_code()

    # What is in front of it

    def shim(self, secret: bytes | None = None, *, held: tuple[bytes, ...] = ()) -> Shim:
        """A shim session that the test drives by hand."""
        return Shim(Place(self.socket.parent), secret, held=held)

    def open_gateway(self, *flags: str, provider: tuple[str, ...] = (), upstream: str = "") -> Gateway:
        """Starts a provider, unless another is named, and a gateway that asks this daemon."""
        if not upstream:
            self.provider = self.workspace.fake_provider(*provider)
            upstream = self.provider.origin
        prices = self.workspace.write("prices.json", PRICES)
        self.gateway = self.workspace.gateway(
            *(*OPEN, "--prices", str(prices), "--upstream", upstream, *flags), admin=True, environ=self.chosen
        )
        return self.gateway

    @property
    def served(self) -> int:
        """How many calls reached the provider."""
        assert self.provider is not None
        return self.provider.served()

    @contextmanager
    def connected(self, timeout_s: float = WAIT_S) -> Iterator[http.client.HTTPConnection]:
        """A connection to the gateway."""
        assert self.gateway is not None
        parts = urlsplit(self.gateway.origin)
        assert parts.hostname
        with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)) as connection:
            yield connection

    def body(self, *, streams: bool = False) -> str:
        """A request for a completion."""
        return json.dumps(CALL | {"stream": streams})

    def begin(
        self, connection: http.client.HTTPConnection, *, run: str = "r", streams: bool = False
    ) -> http.client.HTTPResponse:
        """The answer to a call, as soon as its head is there."""
        headers = {"Content-Type": "application/json", "X-Loop-Id": run}
        connection.request("POST", "/v1/chat/completions", self.body(streams=streams), headers)
        return connection.getresponse()

    def call(self, *, run: str = "r", streams: bool = False) -> Answer:
        """One call on a connection of its own."""
        began_s = time.monotonic()
        with self.connected() as connection:
            answer = self.begin(connection, run=run, streams=streams)
            text = answer.read().decode()
            return Answer(answer.status, text, time.monotonic() - began_s, answer.getheader("retry-after"))

    def ready(self) -> tuple[int, str]:
        """What ``/readyz`` says."""
        assert self.gateway is not None
        parts = urlsplit(self.gateway.admin)
        assert parts.hostname
        with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=WAIT_S)) as connection:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    # What a person sees

    def leashctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command against this daemon."""
        return self.workspace.leashctl(*arguments, environ=self.chosen)

    def account(self, run: str = "r") -> dict[str, Any]:
        """What ``leashctl inspect RUN --json`` says."""
        answer = self.leashctl("inspect", run, "--json")
        assert answer.returncode == 0, answer.stderr
        account: dict[str, Any] = json.loads(answer.stdout)
        return account

    def until_recorded(self, *, calls: int, unresolved: int = 0, run: str = "r") -> dict[str, Any]:
        """Waits until a run has so many calls, and none open. A settle is sent before it is confirmed."""
        seen: dict[str, Any] = {}

        def is_recorded() -> bool:
            seen.update(self.account(run))
            return (seen["calls"], seen["unresolved_calls"], seen["open_calls"]) == (calls, unresolved, 0)

        try:
            wait_until(is_recorded, f"{calls} calls and {unresolved} unresolved ones are recorded")
        except TimeoutError as error:
            raise AssertionError(seen) from error
        return seen

    def until_it_works(self, *, run: str = "r") -> None:
        """Waits for the first call that is answered again."""
        answers: list[Answer] = []

        def is_answered() -> bool:
            answers.append(self.call(run=run))
            return answers[-1].whole

        try:
            wait_until(is_answered, "calls are answered again")
        except TimeoutError as error:
            raise AssertionError(answers[-1]) from error
