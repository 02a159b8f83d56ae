"""Real processes in a place of their own: what the end-to-end tests and the benches start, and how it ends.

Nothing outlives a workspace: its processes are ended, then the daemons of its ledgers, and what is left is an error.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).parents[1]
LEASHCTL = str(Path(sysconfig.get_path("scripts")) / "leashctl")
PYTHON = sys.executable

# A call of the fake provider's 1,000 prompt and 500 completion tokens at these prices costs 2.5 cents.
MODEL = "demo-model"
PRICES = {MODEL: {"input": 10, "output": 30}}

# Long enough for a machine that does other things as well; nothing that works takes a tenth of it.
WAIT_S = 30.0
_POLL_S = 0.02

# What would lead a test to the person's own daemon, provider or key.
_FOREIGN_PREFIXES = ("LEASH_", "OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_", "AZURE_", "XDG_")
_FOREIGN_SUFFIXES = ("_PROXY", "_proxy")
_MARK = "XDG_STATE_HOME"  # passed on to every process, the daemon included


def wait_until(condition: Callable[[], object], what: str, *, timeout_s: float = WAIT_S) -> None:
    """Return once ``condition`` holds. TimeoutError names ``what`` was waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s in vain: {what}")
        time.sleep(_POLL_S)


@dataclass(frozen=True, slots=True)
class FakeProvider:
    """A running ``leashctl fake-provider``."""

    origin: str
    process: subprocess.Popen[str]

    @property
    def base_url(self) -> str:
        """What OPENAI_BASE_URL has to be."""
        return f"{self.origin}/v1"

    def served(self) -> int:
        """How many completions it was asked for since it started."""
        with urllib.request.urlopen(f"{self.origin}/_stats", timeout=WAIT_S) as answer:
            served: int = json.load(answer)["served"]
            return served


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running ``leashctl serve``; ``admin`` is empty where it has no admin listener."""

    origin: str
    admin: str
    process: subprocess.Popen[str]

    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "leash_shim.gateway.worker" in _command(child)]

    def stop(self) -> str:
        """Ends it as systemd would; returns what it had left to say. AssertionError unless it exits with 0."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=WAIT_S)
        assert self.process.returncode == 0, said
        return said


@dataclass(slots=True)
class Workspace:
    """A home, a runtime directory, a ledger and the processes of one test."""

    root: Path
    environ: dict[str, str]
    ledger: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @classmethod
    def create(cls) -> Workspace:
        """Make a workspace. Its root is short, since the path of a socket has at most 107 bytes."""
        root = Path(tempfile.mkdtemp(prefix="lt-", dir="/tmp"))
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_FOREIGN_PREFIXES) and not name.endswith(_FOREIGN_SUFFIXES)
        }
        for name in ("home", "run", "state", "config"):
            (root / name).mkdir(mode=0o700)
        environ |= {
            "HOME": str(root / "home"),
            "XDG_RUNTIME_DIR": str(root / "run"),
            "XDG_STATE_HOME": str(root / "state"),
            "XDG_CONFIG_HOME": str(root / "config"),
            "OPENAI_API_KEY": "sk-nothing-is-spent",
        }
        return cls(root, environ, root / "state" / "leash" / "leash.db")

    def write(self, name: str, content: str | dict[str, Any]) -> Path:
        """Put a file into the workspace, a dict as JSON."""
        path = self.root / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def start(self, *command: str, environ: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a process with pipes for its three streams."""
        process = subprocess.Popen(
            command,
            env=self.environ | (environ or {}),
            cwd=self.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(
        self, *command: str, environ: dict[str, str] | None = None, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a process to its end, with nothing on its standard input."""
        process = self.start(*command, environ=environ)
        out, err = process.communicate(timeout=timeout_s)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def leashctl(
        self, *arguments: str, environ: dict[str, str] | None = None, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run leashctl to its end."""
        return self.run(LEASHCTL, *arguments, environ=environ, timeout_s=timeout_s)

    def account(self, run: str, *flags: str) -> dict[str, Any]:
        """What ``leashctl inspect RUN --json`` says."""
        answer = self.leashctl("inspect", run, "--json", *flags)
        assert answer.returncode == 0, answer.stderr
        account: dict[str, Any] = json.loads(answer.stdout)
        return account

    def listed(self, run: str) -> dict[str, Any]:
        """What ``leashctl ps --json`` says of a run of this workspace; the host may have others of that name."""
        answer = self.leashctl("ps", "--json")
        assert answer.returncode == 0, answer.stderr
        [row] = [row for row in json.loads(answer.stdout) if (row["run"], row["ledger"]) == (run, str(self.ledger))]
        return dict(row)

    def fake_provider(self, *arguments: str) -> FakeProvider:
        """Start a fake provider on a free port; returns once it listens."""
        process = self.start(LEASHCTL, "fake-provider", "--listen", "127.0.0.1:0", *arguments)
        assert process.stderr is not None
        announced = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", announced)
        assert found, announced + process.stderr.read()
        return FakeProvider(found[0], process)

    def gateway(self, *flags: str, admin: bool = False, environ: dict[str, str] | None = None) -> Gateway:
        """Start a gateway on a free port; returns once it says where it listens."""
        more = ("--admin", "127.0.0.1:0") if admin else ()
        process = self.start(LEASHCTL, "serve", "--listen", "127.0.0.1:0", *more, *flags, environ=environ)
        assert process.stderr is not None
        said = ""
        while line := process.stderr.readline():
            said += line
            if found := re.search(r"gateway on (https?://\S+?)[,;\s](?:.*admin on (http://\S+))?", line):
                return Gateway(found[1], found[2] or "", process)
        raise AssertionError(f"the gateway did not start: {said}")

    def daemon_pids(self) -> list[int]:
        """The live daemons of this workspace's ledgers, from the pid on the first line beside each ledger."""
        pids = []
        for path in self.root.rglob("*.pid"):
            first_line = path.read_text(encoding="ascii").partition("\n")[0].strip()
            if first_line.isdecimal() and self._owns(int(first_line)):
                pids.append(int(first_line))
        return pids

    def stop_daemons(self) -> None:
        """End the daemons of this workspace as an administrator would, and wait until they are gone."""
        pids = self.daemon_pids()
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(self._owns(pid) for pid in pids), "leashd ends after SIGTERM")

    def close(self) -> None:
        """End everything that was started here. AssertionError names what outlived its starter, or did not end."""
        try:
            for process in self.processes:
                _end(process)
            for pid in self.daemon_pids():
                os.kill(pid, signal.SIGTERM)
            with suppress(TimeoutError):
                wait_until(lambda: not self._left(), "everything ends", timeout_s=10)
            left = self._left()
            names = [f"{process.pid} {_command(process)}" for process in left]
            for process in left:
                process.kill()
            assert not names, f"processes were left behind: {names}"
        finally:
            shutil.rmtree(self.root)

    def _left(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._owns(process.pid)]

    def _owns(self, pid: int) -> bool:
        try:
            process = psutil.Process(pid)
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == self.environ[_MARK]
        except psutil.Error:
            return False


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "?"
