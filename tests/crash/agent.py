"""An agent of the crash harness, as a process: ``python agent.py DIRECTORY NAME JSON``. It knows nothing of leash.

It keeps several calls going at a time, in runs of its own and in runs that it shares, until it is told to end, is
killed, or its wrap has gone. A run that was refused for good is left for the next one, and tried again now and then.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

CALL_TIMEOUT_S = 20.0  # more than leash waits for anything here; a call that takes longer is given up
LEAVE_S = 4.0  # for the calls under way at the end
SHARED_S = 5.0  # how long one shared run is in use
MAX_STOPPED = 20  # runs that were refused for good and are remembered
PAUSE_S = 0.05  # after a refusal that may pass, or a gateway that does not answer

MODELS = ("alpha", "beta")
PADDING = "lorem ipsum " * 6


class Agent:
    """All calls of one process."""

    def __init__(self, directory: Path, name: str, settings: dict[str, Any]) -> None:
        self._name = name
        self._settings = settings
        self._random = Random(f"{settings['seed']}/{name}")
        self._log = os.open(directory / "agents.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._number = 0
        self._runs: dict[int, int] = {}  # for each of its own runs, how many it has used up before it
        self._stopped: list[str] = []
        self._leaving = asyncio.Event()
        self._parent = os.getppid()

    async def live(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._leaving.set)
        tasks = [asyncio.create_task(self._go_on(lane)) for lane in range(self._settings["parallel"])]
        while not self._leaving.is_set() and os.getppid() == self._parent:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), 0.25)
            if self._settings["calls"] and self._number >= self._settings["calls"]:
                break
        self._leaving.set()
        _, left = await asyncio.wait(tasks, timeout=LEAVE_S)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _go_on(self, lane: int) -> None:
        while not self._leaving.is_set():
            run, own = self._run(lane)
            outcome = await self._call(run)
            if own and outcome == "stopped":
                self._stopped = [*self._stopped[-MAX_STOPPED:], run]
                self._runs[lane % 3] = self._runs.get(lane % 3, 0) + 1
            if outcome != "whole":
                await asyncio.sleep(PAUSE_S)

    def _run(self, lane: int) -> tuple[str, bool]:
        """The run of the next call, and whether it is one of its own that goes on."""
        random = self._random
        if self._stopped and random.random() < 0.05:
            return random.choice(self._stopped), False
        if random.random() < 0.25:
            return f"shared-{self._again(int(time.monotonic() / SHARED_S))}", False
        return f"{self._settings['runs']}-{lane % 3}-{self._again(self._runs.get(lane % 3, 0))}", True

    def _again(self, number: int) -> int:
        """A run's number, from the beginning again where there are only so many."""
        names: int = self._settings["names"]
        return number % names if names else number

    async def _call(self, run: str) -> str:
        """Makes one call; how it ended."""
        random = self._random
        self._number += 1
        tag = f"{self._name}.{self._number}"
        then = random.choices(("whole", "error", "cut"), (90, 6, 4))[0]
        leaves = random.choices(("", "half", "waiting", "reading"), (74, 4, 11, 11))[0]
        least, most = self._settings["milliseconds"]
        milliseconds = random.randint(least, random.choice((least * 4, most)))
        path, body = self._request(f"call:{tag} ms:{milliseconds} then:{then} {PADDING}", random)
        request = self._told(path, run, body)
        end = ""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                end = await self._exchange(request, leaves, seconds=milliseconds / 1000)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            end = f"lost:{type(error).__name__}"
        finally:
            record = {"tag": tag, "run": run, "leaves": leaves, "end": end or "cut"}
            os.write(self._log, json.dumps(record).encode() + b"\n")
        return end.partition(":")[0]

    def _request(self, prompt: str, random: Random) -> tuple[str, dict[str, Any]]:
        path = random.choice(("chat/completions", "messages"))
        body = {
            "model": random.choice(MODELS),
            "max_tokens": random.randint(50, 400),
            "messages": [{"role": "user", "content": prompt}],
        }
        return path, body | ({"stream": True} if random.random() < 0.65 else {})

    def _told(self, path: str, run: str, body: dict[str, Any]) -> bytes:
        """The bytes of a request; the address is in the variables that a wrap sets, or what it was told."""
        name = "ANTHROPIC_BASE_URL" if path == "messages" else "OPENAI_BASE_URL"
        base = self._settings["origin"] or os.environ[name]
        prefix = urlsplit(base).path.rstrip("/")
        if not prefix.endswith("/v1"):
            prefix += "/v1"
        data = json.dumps(body).encode()
        head = [f"POST {prefix}/{path} HTTP/1.1", f"host: {urlsplit(base).netloc}", f"content-length: {len(data)}"]
        head += ["content-type: application/json", "connection: close"]
        if self._settings["origin"]:
            head.append(f"x-loop-id: {run}")
            # A run asks for the same limits whoever names it.
            limits = Random(run)
            if limits.random() < 0.5:
                head.append(f"x-leash-max-cost: {limits.choice(('0.03', '0.06'))}")
            if limits.random() < 0.3:
                head.append(f"x-leash-max-calls: {limits.randint(3, 12)}")
        return "\r\n".join([*head, "", ""]).encode() + data

    async def _exchange(self, request: bytes, leaves: str, *, seconds: float) -> str:
        base = urlsplit(self._settings["origin"] or os.environ["OPENAI_BASE_URL"])
        reader, writer = await asyncio.open_connection(base.hostname, base.port)
        try:
            if leaves == "half":
                writer.write(request[:-20])
                await writer.drain()
                await asyncio.sleep(0.01)
                return "left"
            writer.write(request)
            await writer.drain()
            if leaves == "waiting":
                await asyncio.sleep(self._random.random() * seconds)
                return "left"
            head = await reader.readuntil(b"\r\n\r\n")
            if leaves == "reading":
                await reader.read(64)
                return "left"
            return self._end(head.decode("latin-1"), await reader.read())
        finally:
            writer.transport.abort()

    def _end(self, head: str, body: bytes) -> str:
        """How an answer that has come to its end has ended."""
        status = int(head.split()[1])
        if status == 200:
            size = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
            whole = len(body) == int(size[1]) if size else body.endswith(b"0\r\n\r\n")
            return "whole" if whole else "lost:short"
        found = re.search(rb'"(?:code|type)": *"([a-z_]+)"[^{]*"run"', body)
        if b"leash_boundary" in body:
            transient = "retry-after" in head.lower()
            return f"{'waits' if transient else 'stopped'}:{found[1].decode() if found else status}"
        return f"failed:{status}"


def announce(directory: Path, name: str) -> None:
    """Tells the controller that this process is there."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.connect(str(directory / "controller"))
        told = {"event": "started", "role": "agent", "pid": os.getpid(), "name": name}
        connection.sendall(json.dumps(told).encode() + b"\n")
        connection.recv(16)


def main() -> None:
    directory, name = Path(sys.argv[1]), sys.argv[2]
    announce(directory, name)

    async def live() -> None:
        await Agent(directory, name, json.loads(sys.argv[3])).live()

    asyncio.run(live())


if __name__ == "__main__":
    main()
