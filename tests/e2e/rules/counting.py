"""A provider that counts: it keeps which calls it was sent and which it answered, and holds answers until told.

Each call carries a number in its message, and its usage follows from that number alone, so that what the ledger has can
be compared call by call. It runs in a thread of the test, which no kill of leash's processes touches.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.harness import MODEL, wait_until

Pause = Callable[[int], float]

_NUMBER = re.compile(r"call (\d+)")


def body_of(number: int, *, streams: bool) -> dict[str, Any]:
    """The request of a call with this number."""
    return {"model": MODEL, "messages": [{"role": "user", "content": f"call {number}"}], "stream": streams}


def usage_of(number: int) -> tuple[int, int]:
    """The input and output tokens of a call: no two calls below ten million have the same."""
    return 1_000 + number, 10 + number % 7


class CountingProvider:
    """What it was sent, and what became of it, by the numbers of the calls."""

    def __init__(self, *, before_head: Pause, between_chunks: Pause, after_release: Pause) -> None:
        self.origin = ""
        self.received: list[int] = []  # requests that came whole
        self.answered: list[int] = []  # answers that were written to their end
        self._before_head = before_head
        self._between_chunks = between_chunks
        self._after_release = after_release
        self._holding = False
        self._let: set[int] = set()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        """What OPENAI_BASE_URL has to be."""
        return f"{self.origin}/v1"

    def hold(self) -> None:
        """From here on whole answers wait before their head, and streams after their first chunk."""
        self._tell(lambda: self._hold(on=True))

    def release(self, *numbers: int) -> None:
        """Lets these answers go on, or every one."""
        self._tell((lambda: self._let_go(numbers)) if numbers else lambda: self._hold(on=False))

    def until_received(self, count: int) -> None:
        wait_until(lambda: len(self.received) >= count, f"the provider has {count} requests")

    def usage(self) -> Counter[tuple[int, int]]:
        """What it would bill: the usage of every call that it was sent."""
        return Counter(usage_of(number) for number in self.received)

    def _tell(self, change: Callable[[], object]) -> None:
        assert self._loop is not None
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (change(), done.set()))
        assert done.wait(10)

    def _hold(self, *, on: bool) -> None:
        self._holding = on
        self._let_go(())

    def _let_go(self, numbers: Iterable[int]) -> None:
        self._let.update(numbers)
        self._changed.set()
        self._changed = asyncio.Event()

    async def _released(self, number: int) -> None:
        if self._holding:
            while self._holding and number not in self._let:
                await self._changed.wait()
            await asyncio.sleep(self._after_release(number))

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        server.close()
        for task in self._conversations:
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._exchange(reader, writer)
        finally:
            self._conversations.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        [length] = re.findall(rb"(?i)content-length: (\d+)", head)
        request = json.loads(await reader.readexactly(int(length)))
        [number] = map(int, _NUMBER.findall(request["messages"][0]["content"]))
        self.received.append(number)
        await asyncio.sleep(self._before_head(number))
        if request["stream"]:
            await self._stream(number, writer)
        else:
            await self._released(number)
            await self._write(writer, _whole(number))
        self.answered.append(number)

    async def _stream(self, number: int, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self._write(writer, head + _event(number, {"content": "one"}))
        await self._released(number)
        for word in ("two", "three"):
            await asyncio.sleep(self._between_chunks(number))
            await self._write(writer, _event(number, {"content": word}))
        await asyncio.sleep(self._between_chunks(number))
        await self._write(writer, _event(number, None) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if writer.is_closing():
            raise ConnectionResetError
        writer.write(data)
        await writer.drain()


def _at_once(_number: int) -> float:
    return 0.0


@contextmanager
def counting_provider(
    *, before_head: Pause = _at_once, between_chunks: Pause = _at_once, after_release: Pause = _at_once
) -> Iterator[CountingProvider]:
    """A provider that listens; the pauses are seconds, by the number of the call."""
    provider = CountingProvider(before_head=before_head, between_chunks=between_chunks, after_release=after_release)
    started, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: asyncio.run(provider.serve(started, stop)), name="provider")
    thread.start()
    assert started.wait(10)
    try:
        yield provider
    finally:
        provider._tell(stop.set)
        thread.join(10)
        assert not thread.is_alive()


def _usage(number: int) -> dict[str, int]:
    prompt, completion = usage_of(number)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _whole(number: int) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": f"{number}"}, "finish_reason": "stop"}
    body = json.dumps({"object": "chat.completion", "model": MODEL, "choices": [choice], "usage": _usage(number)})
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def _event(number: int, delta: dict[str, str] | None) -> bytes:
    """A chunk of a stream; without a delta it is the one that reports the usage."""
    event: dict[str, Any] = {"object": "chat.completion.chunk", "model": MODEL, "choices": []}
    if delta is None:
        event["usage"] = _usage(number)
    else:
        event["choices"] = [{"index": 0, "delta": delta, "finish_reason": None}]
    return _chunk(b"data: " + json.dumps(event).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
