"""What idle and slow-reading connections cost a gateway, and what they do to the calls of others.

    python -m tests.bench.connections [--idle 2000] [--slow 200] [--seconds 60] [--workers 2]

Of the idle connections half have never sent anything, and half are kept after a call. Each slow one has begun an
answer of four megabytes, and takes a kilobyte of it a second. Prints the memory of each process of the gateway before,
during and after, that of the kernel's TCP buffers, and the time of normal calls with and without them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import socket
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import uvloop

from tests.harness import MODEL, PYTHON, REPOSITORY, Gateway, Workspace

# Normal traffic: so many agents, each of which calls, and thinks for a moment.
AGENTS = 8
THINKING_S = 0.02

SLOW_BYTES = 1024
SLOW_INTERVAL_S = 1.0
# What a slow client's own kernel keeps for it.
SLOW_BUFFER_BYTES = 1 << 14

PROVIDER_BUFFER_BYTES = 1 << 16

# What its agent has left is read on for a while, to be metered.
SETTLED_S = 60.0

CALL = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "go on"}]}).encode()
STREAM = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "go on"}]}).encode()

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
ANSWER = json.dumps({"object": "chat.completion", "choices": [], "usage": USAGE}).encode()
CHUNK = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 8000}}]}).encode() + b"\n\n"
# Four megabytes: more than all buffers on the way, and at a slow client's pace more than an hour.
STREAM_CHUNKS = 512

_PAGE_BYTES = 4096
_MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--provide", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.provide:
        uvloop.run(provide())
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 1 << 16), most))
    workspace = Workspace.create()
    try:
        provider = workspace.start(
            PYTHON, "-m", "tests.bench.connections", "--provide", environ={"PYTHONPATH": str(REPOSITORY)}
        )
        assert provider.stdout is not None
        origin = f"http://127.0.0.1:{provider.stdout.readline().strip()}"
        gateway = workspace.gateway(
            *("--insecure", "--max-cost", "0", "--max-calls", "0", "--deadline", "0", "--upstream", origin),
            *("--workers", str(arguments.workers), "--shutdown-timeout", "2s"),
        )
        uvloop.run(measure(gateway, idle=arguments.idle, slow=arguments.slow, seconds=arguments.seconds))
        gateway.stop()
    finally:
        workspace.close()


async def provide() -> None:
    """A provider that answers at once, and streams as fast as it is taken. Prints its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A provider's own buffers are on its own host.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PROVIDER_BUFFER_BYTES)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                [length] = [
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                ]
                body = await reader.readexactly(length)
                if b'"stream": true' not in body:
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                    writer.write(b"content-length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
                    continue
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                for _ in range(STREAM_CHUNKS):
                    writer.write(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@dataclass
class Crowd:
    """The connections that are in the way."""

    address: tuple[str, int]
    taken_bytes: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def connect_idle(self, *, used: bool) -> None:
        reader, writer = await asyncio.open_connection(*self.address)
        self.writers.append(writer)
        if used:
            await call(reader, writer)

    async def connect_slow(self) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        reader, writer = await asyncio.open_connection(sock=sock, limit=SLOW_BYTES)
        self.writers.append(writer)
        writer.write(request(STREAM))
        assert b" 200 " in await reader.readline()
        self.tasks.append(asyncio.create_task(self._take(reader)))

    async def _take(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(SLOW_BYTES):
            self.taken_bytes += len(data)
            await asyncio.sleep(SLOW_INTERVAL_S)

    def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        for writer in self.writers:
            writer.transport.abort()


async def measure(gateway: Gateway, *, idle: int, slow: int, seconds: float) -> None:
    parts = urlsplit(gateway.origin)
    assert parts.hostname
    assert parts.port
    crowd = Crowd((parts.hostname, parts.port))
    async with traffic(crowd.address) as times:
        await asyncio.sleep(seconds / 4)
    alone = sorted(times)
    kernel_before = kernel_mib()
    report_memory("before", gateway)
    for number in range(idle):
        await crowd.connect_idle(used=number % 2 == 0)
    report_memory(f"with {idle} idle", gateway)
    for _ in range(slow):
        await crowd.connect_slow()
    async with traffic(crowd.address) as times:
        for _ in range(4):
            await asyncio.sleep(seconds / 4)
            report_memory(f"and {slow} slow", gateway)
    crowded = sorted(times)
    print(f"the slow ones have taken {crowd.taken_bytes / slow / 1024:.0f} KiB each" if slow else "")
    crowd.leave()
    waited_until = time.monotonic() + SETTLED_S
    while kernel_mib() > kernel_before + 5 and time.monotonic() < waited_until:  # noqa: ASYNC110 (the kernel tells nobody)
        await asyncio.sleep(1)
    report_memory("after", gateway)
    report_times("alone", alone)
    report_times("crowded", crowded)


@asynccontextmanager
async def traffic(address: tuple[str, int]) -> AsyncIterator[list[float]]:
    """Normal calls, as long as the block lasts; their times in milliseconds."""
    times: list[float] = []

    async def agent() -> None:
        reader, writer = await asyncio.open_connection(*address)
        try:
            while True:
                began = time.perf_counter()
                await call(reader, writer)
                times.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(THINKING_S)
        finally:
            writer.close()

    tasks = [asyncio.create_task(agent()) for _ in range(AGENTS)]
    try:
        yield times
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes


async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One call on a connection that is kept."""
    writer.write(request(CALL))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.partition(b"\r\n")[0], head
    assert await reader.readexactly(len(ANSWER)) == ANSWER


def request(body: bytes) -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: leash\r\ncontent-type: application/json\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def kernel_mib() -> float:
    """What TCP has in the kernel, for all of this host."""
    [fields] = [line.split() for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:")]
    return int(fields[fields.index("mem") + 1]) * _PAGE_BYTES / _MIB


def report_memory(when: str, gateway: Gateway) -> None:
    """The resident memory of each process, and what TCP has in the kernel (of this whole host)."""
    supervisor = psutil.Process(gateway.process.pid)
    children = supervisor.children()
    workers = gateway.workers()
    named = [("supervisor", supervisor)] + [("worker" if child in workers else "leashd", child) for child in children]
    shown = "  ".join(f"{name} {process.memory_info().rss / _MIB:5.1f}" for name, process in named)
    print(f"{when:<16} MiB: {shown}   TCP {kernel_mib():6.1f}", flush=True)


def report_times(name: str, times: list[float]) -> None:
    p99 = times[int(len(times) * 0.99)]
    median = statistics.median(times)
    print(f"{name:<8} {len(times):6} calls   median {median:6.2f} ms   p99 {p99:6.2f}   worst {times[-1]:7.2f}")


if __name__ == "__main__":
    main()
