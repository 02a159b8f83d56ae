"""The two doors that an attacker finds: the port of a wrapped program, and a gateway, each before a recording provider.

Daemon, shim and sockets are real. What is sent is bytes, and what is asserted is the answer, what reached the provider,
and that the run's journal is as long as before: nothing was reserved, not even to be taken back.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.e2e.threats.recorder import Recorder
from tests.harness import LEASHCTL, MODEL, PRICES, PYTHON, WAIT_S, Workspace

RUN = "a3f9"
TOKEN = "token-Aechah7ohT1quaiY"
OTHER_TOKEN = "token-Ieng1Oovaefoo8ah"
KEY = b"Authorization: Bearer sk-Xoo4ahngaiphah5j\r\n"

BODY = json.dumps({"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": "hi"}]}).encode()
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
IN_CHUNKS = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)

# Tells where it was pointed to, and lives until it is told to end.
_IDLE = """\
import os, sys
print(os.environ["OPENAI_BASE_URL"], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status of the first answer, or 0 where there was none, and all bytes."""

    status: int
    raw: bytes

    @property
    def code(self) -> str:
        """The stable code of an answer of leash's own."""
        error = json.loads(self.raw.partition(b"\r\n\r\n")[2])["error"]
        return str(error["code"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A door that is open. ``base`` is the path of the base URL that clients are given, ``token`` the header lines."""

    name: str
    workspace: Workspace
    provider: Recorder
    port: int
    base: bytes
    token: bytes
    run: str
    process: subprocess.Popen[str]

    @property
    def path(self) -> bytes:
        """The path of a chat completion."""
        return self.base + b"/v1/chat/completions"

    def request(
        self,
        path: bytes | None = None,
        *,
        method: bytes = b"POST",
        version: bytes = b"HTTP/1.1",
        fields: bytes = b"",
        framing: bytes = LENGTH,
        body: bytes = BODY,
    ) -> bytes:
        """A request as bytes, in order but for what the test puts into it."""
        line = b"%s %s %s\r\n" % (method, self.path if path is None else path, version)
        usual = b"Host: leash\r\nConnection: close\r\nContent-Type: application/json\r\n" + KEY + self.token
        return line + usual + fields + framing + b"\r\n" + body

    def ask(self, raw: bytes, *, ends: bool = False) -> Answer:
        """Sends bytes on a connection of their own, and reads until leash has ended it.

        ``ends`` ends one's own half before: an agent that has left.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as client:
            received = b""
            try:
                client.sendall(raw)
                if ends:
                    client.shutdown(socket.SHUT_WR)
                while data := client.recv(1 << 16):
                    received += data
            except ConnectionError:
                pass  # leash has ended the connection while there was more to send
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", received)
        return Answer(int(found[1]) if found else 0, received)

    def entries(self) -> int:
        """How long the run's journal is; zero where there is no such run."""
        shown = self.workspace.leashctl("inspect", self.run, "--json")
        return len(json.loads(shown.stdout)["entries"]) if shown.returncode == 0 else 0

    def refuses(self, attacks: Mapping[str, bytes], *statuses: int) -> list[Answer]:
        """Asserts that each is answered with one of the statuses, and that nobody else ever hears of it."""
        before = self.entries()
        answers = []
        for name, raw in attacks.items():
            self.provider.forget()
            answers.append(self.ask(raw))
            assert answers[-1].status in statuses, (name, answers[-1])
            assert self.provider.received == b"", name
        assert self.entries() == before
        return answers

    def forwards(self, attacks: Mapping[str, bytes], *, body: bytes = BODY) -> None:
        """Asserts that of each exactly one request reaches the provider, in order, and that it is a call."""
        for name, raw in attacks.items():
            calls = self.workspace.account(self.run)["calls"] if self.entries() else 0
            self.provider.forget()
            assert self.ask(raw).status == 200, name
            [request] = self.provider.requests()
            assert (request.method, request.target, request.body) == ("POST", "/v1/chat/completions", body), name
            assert request.values("content-length") == [str(len(body))], name
            assert request.values("transfer-encoding") == [], name
            assert request.values("host") == [urlsplit(self.provider.origin).netloc], name
            assert self.workspace.account(self.run)["calls"] == calls + 1, name


@contextmanager
def wrapped(*flags: str, provider: Recorder | None = None) -> Iterator[Door]:
    """A wrapped program that does nothing, and its port."""
    workspace = Workspace.create()
    try:
        with provider or Recorder() as recorder:
            program = str(workspace.write("idle.py", _IDLE))
            limits = flags or ("--max-cost", "0", "--max-calls", "0")
            process = workspace.start(
                *(
                    LEASHCTL,
                    "wrap",
                    "--run",
                    RUN,
                    *limits,
                    "--log-level",
                    "debug",
                    "--upstream",
                    f"{recorder.origin}/v1",
                ),
                *("--", PYTHON, program),
            )
            assert process.stdout is not None
            url = urlsplit(process.stdout.readline().strip())
            assert url.port, process.stderr and process.stderr.read()
            base = url.path.removesuffix("/v1").encode()
            yield Door(
                name="wrap",
                workspace=workspace,
                provider=recorder,
                port=url.port,
                base=base,
                token=b"",
                run=RUN,
                process=process,
            )
    finally:
        workspace.close()


@contextmanager
def served(*flags: str) -> Iterator[Door]:
    """A gateway with two tenants."""
    workspace = Workspace.create()
    try:
        with Recorder() as recorder:
            tokens = workspace.write("tokens", f"team-a: {TOKEN}\nteam-b: {OTHER_TOKEN}\n")
            tokens.chmod(0o600)
            prices = workspace.write("prices.json", PRICES)
            gateway = workspace.gateway(
                *("--auth-token-file", str(tokens), "--prices", str(prices), "--upstream", f"{recorder.origin}/v1"),
                *("--max-cost", "0", "--max-calls", "0", "--access-log", "text", *flags),
            )
            port = urlsplit(gateway.origin).port
            assert port
            token = f"X-Leash-Token: {TOKEN}\r\nX-Loop-Id: {RUN}\r\n".encode()
            yield Door(
                name="serve",
                workspace=workspace,
                provider=recorder,
                port=port,
                base=b"",
                token=token,
                run=f"team-a/{RUN}",
                process=gateway.process,
            )
    finally:
        workspace.close()


DOORS = {"wrap": wrapped, "serve": served}
