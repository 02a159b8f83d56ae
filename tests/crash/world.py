"""The processes of one round: a provider that is never killed, and a gateway, wraps, agents and a daemon that are.

The rule: what was killed is started again by whoever does it in real life. Workers are the gateway's to renew, the
daemon comes back on demand, and everything else is started again here.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).parent
# What is tested is the tree that this stands in, whichever one the environment has installed.
_PATH = (HERE / "points", HERE / "planted", HERE.parents[1], HERE.parents[1] / "proto")
LEASHCTL = str(Path(sysconfig.get_path("scripts")) / "leashctl")

# A token costs an awkward part of a nanodollar, so that what is rounded, and how often, shows.
PRICES = {
    "alpha": {"input": 2.5, "output": 10.0000003, "cached_input": 1.25, "context": 8000, "max_output": 2000},
    "beta": {
        "input": 0.3333333,
        "output": 1.7,
        "cached_input": 0.0333333,
        "reasoning": 2.0000001,
        "context": 8000,
        "max_output": 2000,
    },
}

WAIT_S = 60.0  # nothing that works takes a tenth of it
AGENT_CALLS = 40  # of an agent under wrap, after which it has done its work
_SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER

# What would lead a process to the person's own daemon, provider or key.
_FOREIGN_PREFIXES = ("LEASH_", "OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_", "AZURE_", "XDG_", "PYTEST_", "PYTHON")
_FOREIGN_SUFFIXES = ("_PROXY", "_proxy")


class Stuck(Exception):  # noqa: N818 - a sentence for the person
    """What was killed did not come back; the text says what was waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large a world is."""

    workers: int = 2
    agents: int = 2
    wraps: int = 1
    parallel: int = 7
    milliseconds: tuple[int, int] = (150, 2500)
    strict: bool = True  # of the gateway's runs; those under wrap are the other way
    names: int = 0  # how many runs there are of each kind, 0 for ever new ones
    plant: str = ""
    gateway_flags: tuple[str, ...] = ()


@dataclass(slots=True)
class Part:
    """A process that is started here, and again when it was killed."""

    name: str
    role: str
    command: Callable[[], list[str]]
    lives: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass(slots=True)
class World:
    """One round's processes and files."""

    root: Path
    seed: str
    shape: Shape
    parts: list[Part] = field(default_factory=list)
    roles: dict[int, str] = field(default_factory=dict)  # of every process that was ever there, by pid
    ended: set[int] = field(default_factory=set)
    provider: subprocess.Popen[bytes] | None = None
    upstream: str = ""
    origin: str = ""

    @classmethod
    def create(cls, seed: str, shape: Shape) -> World:
        """Makes a world's directory. It is a short one, since the path of a socket has at most 107 bytes."""
        root = Path(tempfile.mkdtemp(prefix="lc-", dir="/tmp"))
        for name in ("armed", "home", "run", "state", "config"):
            (root / name).mkdir(mode=0o700)
        (root / "prices.json").write_text(json.dumps(PRICES))
        return cls(root, seed, shape)

    @property
    def environ(self) -> dict[str, str]:
        """What every process under test sees; the daemon gets what begins with PYTHON from whoever starts it."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_FOREIGN_PREFIXES) and not name.endswith(_FOREIGN_SUFFIXES)
        }
        return kept | {
            "HOME": str(self.root / "home"),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "LEASH_DB": str(self.root / "ledger.db"),
            "PYTHONPATH": os.pathsep.join(map(str, _PATH)),
            "PYTHON_LEASH_CRASH": str(self.root),
            "PYTHON_LEASH_PLANT": self.shape.plant,
            "OPENAI_API_KEY": "sk-nothing-is-spent",
        }

    def start(self) -> None:
        """Starts the provider, and whatever is to run."""
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # orphans come to this process, and are no zombies for long
        command = [sys.executable, str(HERE / "provider.py"), str(self.root), self.seed]
        with (self.root / "provider.err").open("wb") as errors:
            self.provider = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True
            )
        port = self.root / "provider.port"
        deadline_s = time.monotonic() + WAIT_S
        while not port.exists():
            if time.monotonic() > deadline_s or self.provider.poll() is not None:
                raise Stuck("the provider does not start")
            time.sleep(0.01)
        self.upstream = f"http://127.0.0.1:{port.read_text()}"
        self.origin = f"http://127.0.0.1:{_free_port()}"
        self.parts.append(Part("gateway", "gateway", self._gateway))
        for number in range(self.shape.agents):
            self.parts.append(self._agent_part(number))
        for number in range(self.shape.wraps):
            self.parts.append(self._wrap_part(number))
        self.revive()

    def revive(self) -> None:
        """Starts again what has ended, and reaps what was left behind."""
        for part in self.parts:
            if not part.is_alive:
                part.lives += 1
                with (self.root / f"{part.name}.err").open("ab") as errors:
                    part.process = subprocess.Popen(
                        part.command(),
                        env=self.environ,
                        cwd=self.root,
                        stdin=subprocess.DEVNULL,
                        stdout=errors,
                        stderr=errors,
                        start_new_session=True,
                    )
        started_here = {part.process.pid for part in self.parts if part.process is not None}
        for pid in self.roles.keys() - started_here - self.ended:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def pids(self, *roles: str) -> list[int]:
        """The live processes of these roles, the newest last."""
        alive = []
        for pid in self.roles.keys() - self.ended:
            if not _is_alive(pid, self.root):
                self.ended.add(pid)
            elif self.roles[pid] in roles:
                alive.append(pid)
        return sorted(alive, key=list(self.roles).index)

    def came(self, pid: int, role: str) -> None:
        """A process has said that it is there."""
        self.roles.pop(pid, None)  # the pid of one that has gone
        self.ended.discard(pid)
        self.roles[pid] = role

    def in_flight(self) -> int:
        """How many calls the provider is at."""
        with suppress(FileNotFoundError, struct.error):
            count: int = struct.unpack("<q", (self.root / "in_flight").read_bytes())[0]
            return count
        return 0

    async def leashctl(self, *arguments: str) -> tuple[int, bytes, str]:
        """Runs a command of leashctl to its end, as ``run`` does."""
        return await self.run(LEASHCTL, *arguments)

    async def run(self, *command: str, timeout_s: float = WAIT_S) -> tuple[int, bytes, str]:
        """Runs a program to its end: its exit code, output and errors."""
        process = await asyncio.create_subprocess_exec(
            *command,
            env=self.environ,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout_s):
                out, errors = await process.communicate()
        except (TimeoutError, asyncio.CancelledError) as ended:
            process.kill()
            await process.communicate()
            if isinstance(ended, asyncio.CancelledError):
                raise
            return -1, b"", f"{' '.join(command)}: no end within {timeout_s:.0f} s"
        assert process.returncode is not None
        return process.returncode, out, errors.decode(errors="replace")

    async def end_load(self) -> None:
        """Ends agents, wraps and the gateway as a person would, so that what they hold is delivered."""
        for roles in (("agent", "wrap"), ("gateway",)):
            ending = [part for part in self.parts if part.role in roles]
            for part in ending:
                if part.process is not None and part.role != "wrap":
                    part.process.terminate()
            for pid in self.pids("agent") if "agent" in roles else ():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            await until(partial(_have_ended, ending), f"{' and '.join(roles)} end")

    def close(self, *, keep: bool) -> None:
        """Kills whatever is left, and takes the directory away unless it is to be looked at."""
        for part in self.parts:
            if part.process is not None:
                part.process.kill()
                part.process.wait()
        if self.provider is not None:
            self.provider.kill()
            self.provider.wait()
        while left := _owned(self.root):  # what was just being started, too
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)
            time.sleep(0.01)
        if not keep:
            shutil.rmtree(self.root)

    def _gateway(self) -> list[str]:
        flags = ["--insecure", "--workers", str(self.shape.workers), "--shutdown-timeout", "10s"]
        flags += ["--max-runs", "0", "--max-cost", "0.12", "--max-calls", "40", "--hold-wait", "1s"]
        flags += ["--strict"] if self.shape.strict else []
        flags += ["--prices", "prices.json", "--upstream", self.upstream, "--upstream", f"anthropic={self.upstream}"]
        listen = self.origin.removeprefix("http://")
        return [LEASHCTL, "serve", "--listen", listen, *flags, *self.shape.gateway_flags]

    def _agent(self, part: Part, *, origin: str, calls: int) -> list[str]:
        """The command of an agent in this life of its part."""
        settings = {
            "seed": self.seed,
            "origin": origin,
            "parallel": self.shape.parallel,
            "milliseconds": self.shape.milliseconds,
            "calls": calls,
            "runs": part.name if self.shape.names else f"{part.name}-{part.lives}",
            "names": self.shape.names,
        }
        name = f"{part.name}-{part.lives}"
        return [sys.executable, str(HERE / "agent.py"), str(self.root), name, json.dumps(settings)]

    def _agent_part(self, number: int) -> Part:
        part = Part(f"agent{number}", "agent", lambda: self._agent(part, origin=self.origin, calls=0))
        return part

    def _wrap_part(self, number: int) -> Part:
        def command() -> list[str]:
            # A run is declared with the same limits whenever it is opened.
            run = f"{part.name}-{part.lives % self.shape.names if self.shape.names else part.lives}"
            random = Random(f"{self.seed}/{run}")
            flags = ["--run", run, "--prices", "prices.json", "--upstream", self.upstream, "--hold-wait", "1s"]
            flags += ["--max-cost", random.choice(("0.05", "0.2", "1"))]
            flags += ["--max-calls", random.choice(("0", "15", "60"))]
            flags += [] if self.shape.strict else ["--strict"]
            return [LEASHCTL, "wrap", *flags, "--", *self._agent(part, origin="", calls=AGENT_CALLS)]

        part = Part(f"wrap{number}", "wrap", command)
        return part


async def until(condition: Callable[[], Any], what: str, *, timeout_s: float = WAIT_S) -> None:
    """Returns once a condition holds. Raises ``Stuck``, which names what was waited for."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise Stuck(f"waited {timeout_s:.0f} s in vain: {what}")
        await asyncio.sleep(0.01)


def _have_ended(parts: list[Part]) -> bool:
    return not any(part.is_alive for part in parts)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _owned(root: Path) -> list[int]:
    """Every live process of a world."""
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_alive(entry.name, root)
    ]


def _is_alive(pid: int | str, root: Path) -> bool:
    """Whether a process of this world is there, and not only its number."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX" and str(root).encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
