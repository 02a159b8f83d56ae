"""The provider of the crash harness, as a process: ``python provider.py DIRECTORY SEED``. It knows nothing of leash.

The rule: what it does is in its log before a byte of it is on the wire, so that the log tells of everything that a
client can have seen. Each answer has a usage that no other answer has, by which it is known again in the ledger.
It is never killed.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import re
import struct
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

# What a prompt says of its call: its tag, how long the answer takes, and how it ends.
PROMPT = re.compile(r"call:(\S+) ms:(\d+) then:(whole|error|cut) ")

MAX_BODY_BYTES = 1 << 20  # far above any prompt of the harness
CHUNKS = 5  # of a stream, beside its head and its end
ERRORS = (400, 429, 500, 503)
LEAST_INPUT, MOST_INPUT = 100, 1000  # tokens; below what leash holds for the input of any prompt

COUNT = struct.Struct("<q")


class Gone(Exception):  # noqa: N818 - an event, not a fault
    """The client has closed the connection."""


class Log:
    """JSON lines, each written with one system call."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **record: Any) -> None:
        os.write(self._descriptor, json.dumps(record).encode() + b"\n")


class Usages:
    """Token counts, none of them given twice."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._given: set[tuple[int, int, int, int]] = set()

    def next(self, most_output: int) -> dict[str, int]:
        while True:
            read = self._random.randint(LEAST_INPUT, MOST_INPUT)
            written = self._random.randint(1, most_output)
            cached = self._random.choice((0, self._random.randint(0, read)))
            reasoning = self._random.choice((0, self._random.randint(0, written)))
            if (counts := (read, written, cached, reasoning)) not in self._given:
                self._given.add(counts)
                return dict(zip(("input", "output", "cached", "reasoning"), counts, strict=True))


class Provider:
    """Serves completions and messages; ``in_flight`` in the directory holds how many it is at."""

    def __init__(self, directory: Path, seed: str) -> None:
        self.log = Log(directory / "provider.log")
        self.usages = Usages(Random(f"{seed}/provider"))
        self._served = 0
        shown = directory / "in_flight"
        shown.write_bytes(COUNT.pack(0))
        with shown.open("r+b") as file:
            self._shown = mmap.mmap(file.fileno(), COUNT.size)

    def count(self, change: int) -> None:
        COUNT.pack_into(self._shown, 0, COUNT.unpack_from(self._shown)[0] + change)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        wire = Wire(reader, writer)
        with suppress(Gone, OSError, asyncio.IncompleteReadError):
            while (request := await wire.request()) is not None:
                await self._answer(wire, *request)
        writer.close()

    async def _answer(self, wire: Wire, path: str, body: dict[str, Any]) -> None:
        self._served += 1
        number = self._served
        found = PROMPT.search(body["messages"][0]["content"])
        assert found, body
        tag, milliseconds, then = found[1], int(found[2]), found[3]
        self.log.write(e="received", n=number, tag=tag, path=path, model=body["model"], at=time.time_ns())
        self.count(1)
        try:
            await self._play(wire, number, path, body, seconds=milliseconds / 1000, then=then)
        except (Gone, OSError):
            self.log.write(e="cut", n=number, by="client")
            raise
        finally:
            self.count(-1)

    async def _play(
        self, wire: Wire, number: int, path: str, body: dict[str, Any], *, seconds: float, then: str
    ) -> None:
        """Answers as the prompt says."""
        usage = self.usages.next(body["max_tokens"])
        form = messages if path.endswith("/messages") else completions
        parts = form(number, body, usage)
        if then == "error":
            await wire.pause(seconds)
            status = ERRORS[number % len(ERRORS)]
            self.log.write(e="usage", n=number, status=status)
            await wire.whole(status, {"error": {"message": f"answer {number} failed", "type": "made_up"}})
        elif body.get("stream"):
            await wire.begin()
            for index, part in enumerate(parts):
                last = index == len(parts) - 1
                if last and then == "cut":
                    break
                if last:
                    self.log.write(e="usage", n=number, status=200, **usage)
                await wire.chunk(part)
                if not last:
                    await wire.pause(seconds / (len(parts) - 1))
            if then == "whole":
                await wire.end()
        else:
            await wire.pause(seconds)
            if then == "whole":
                self.log.write(e="usage", n=number, status=200, **usage)
                await wire.whole(200, json.loads(parts[0]))
        if then == "cut":
            self.log.write(e="cut", n=number, by="provider")
            wire.cut()
            raise Gone
        self.log.write(e="finished", n=number)


def completions(number: int, body: dict[str, Any], usage: dict[str, int]) -> list[bytes]:
    """OpenAI's chat completions: the parts of a stream, the last of them with the usage; or one whole answer."""
    counts = {
        "prompt_tokens": usage["input"],
        "completion_tokens": usage["output"],
        "total_tokens": usage["input"] + usage["output"],
        "prompt_tokens_details": {"cached_tokens": usage["cached"]},
        "completion_tokens_details": {"reasoning_tokens": usage["reasoning"]},
    }
    head = {"id": f"call-{number}", "created": 0, "model": body["model"]}
    if not body.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": f"answer {number}"}, "finish_reason": "stop"}
        return [json.dumps(head | {"object": "chat.completion", "choices": [choice], "usage": counts}).encode()]
    head |= {"object": "chat.completion.chunk"}
    deltas = [{"index": 0, "delta": {"content": f"{number}.{part} "}, "finish_reason": None} for part in range(CHUNKS)]
    events = [head | {"choices": [delta]} for delta in deltas]
    events.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    told = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    asked = body.get("stream_options", {}).get("include_usage")
    last = b"data: " + json.dumps(head | {"choices": [], "usage": counts}).encode() + b"\n\n" if asked else b""
    return [*told, last + b"data: [DONE]\n\n"]


def messages(number: int, body: dict[str, Any], usage: dict[str, int]) -> list[bytes]:
    """Anthropic's messages: the parts of a stream, the last of them with the usage of the output; or one answer."""
    counts = {
        "input_tokens": usage["input"] - usage["cached"],
        "cache_read_input_tokens": usage["cached"],
        "output_tokens": usage["output"],
        "output_tokens_details": {"thinking_tokens": usage["reasoning"]},
    }
    message = {"id": f"call-{number}", "type": "message", "role": "assistant", "model": body["model"]}
    if not body.get("stream"):
        content = [{"type": "text", "text": f"answer {number}"}]
        return [json.dumps(message | {"content": content, "stop_reason": "end_turn", "usage": counts}).encode()]
    begun = {**counts, "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 0}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message | {"content": [], "usage": begun}},
        block,
    ]
    for part in range(CHUNKS):
        delta = {"type": "text_delta", "text": f"{number}.{part} "}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    told = [_event(event) for event in events]
    end: list[dict[str, Any]] = [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": counts},
        {"type": "message_stop"},
    ]
    return [*told, b"".join(map(_event, end))]


def _event(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


class Wire:
    """HTTP/1.1 on one connection, as far as it is needed; what the client does meanwhile is noticed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._next: asyncio.Task[bytes] | None = None

    async def request(self) -> tuple[str, dict[str, Any]] | None:
        """The path and the body of the next request, once it is there whole; None at the connection's end."""
        first = await self._next if self._next is not None else await self._reader.read(1)
        self._next = None
        if not first:
            return None
        head = (first + await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        size = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
        assert size, head
        assert int(size[1]) < MAX_BODY_BYTES
        body: dict[str, Any] = json.loads(await self._reader.readexactly(int(size[1])))
        # From here on a byte, or the end, says that the client has done with this request.
        self._next = asyncio.create_task(self._reader.read(1))
        return head.split()[1], body

    async def pause(self, seconds: float) -> None:
        """Waits; Gone where the client leaves."""
        assert self._next is not None
        await asyncio.wait({self._next}, timeout=seconds)
        if self._next.done() and not (self._next.exception() is None and self._next.result()):
            raise Gone

    async def whole(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} Told\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        await self._write(head.encode() + data)

    async def begin(self) -> None:
        head = "HTTP/1.1 200 Told\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        await self._write(head.encode())

    async def chunk(self, data: bytes) -> None:
        await self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> None:
        await self._write(b"0\r\n\r\n")

    def cut(self) -> None:
        self._writer.transport.abort()

    async def _write(self, data: bytes) -> None:
        await self.pause(0)
        self._writer.write(data)
        await self._writer.drain()


async def listen(directory: Path, seed: str) -> AsyncIterator[None]:
    """Serves for as long as it is iterated."""
    provider = Provider(directory, seed)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    told = directory / "provider.port.new"
    told.write_text(str(port))
    told.rename(directory / "provider.port")
    async with server:
        yield
        await server.serve_forever()


async def main() -> None:
    async for _ in listen(Path(sys.argv[1]), sys.argv[2]):
        pass


if __name__ == "__main__":
    asyncio.run(main())
