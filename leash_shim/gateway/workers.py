"""A worker as its supervisor sees it: a process, what it is told, and what becomes of it."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING, Self

import anyio
import msgspec

from leash.programs import command
from leash_shim.gateway.channel import Channel, ChannelBroken, Order, Report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.gateway.config import GatewayConfig

_MODULE = "leash_shim.gateway.worker"

# A worker takes its settings in milliseconds, and a second where they have a large price table.
_RELOAD_TIMEOUT_S = 15.0

# A worker that has closed its channel is about to exit; one that does not is helped.
_EXIT_POLL_S = 0.02
_EXIT_TIMEOUT_S = 10.0


class WorkerProcess:
    """A running worker. ``attend`` has to run beside it, and returns when it has ended.

    ``failure`` is what it said before it failed, ``was_ready`` whether it has ever served.
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self._process = process
        self._channel = channel
        self._reloading: anyio.Event | None = None
        self._reload_failure = ""
        self.started_s = anyio.current_time()
        self.ready = anyio.Event()
        self.ended = anyio.Event()
        self.failure = ""

    @classmethod
    async def start(cls, listener: socket.socket, config: GatewayConfig, environ: Mapping[str, str]) -> Self:
        """Starts a worker that serves on a socket, which stays open here too. OSError where there is no process."""
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = (theirs.fileno(), listener.fileno())
            try:
                process = subprocess.Popen(  # noqa: S603, ASYNC220 (this interpreter; it returns once it is executed)
                    command(_MODULE, *map(str, descriptors)),
                    stdin=subprocess.DEVNULL,
                    pass_fds=descriptors,
                    env=dict(environ),
                    # A terminal's Ctrl-C is the supervisor's to take.
                    process_group=0,
                )
            except OSError:
                ours.close()
                raise
        worker = cls(process, await Channel.open(ours))
        await worker._channel.send(_configured(config))
        return worker

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def was_ready(self) -> bool:
        """Whether it has ever served."""
        return self.ready.is_set()

    @property
    def is_serving(self) -> bool:
        """Whether it serves, or drains."""
        return self.ready.is_set() and not self.ended.is_set()

    def epitaph(self) -> str:
        """How it ended: its exit code or signal, and what it said."""
        code = self._process.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{how}: {self.failure}" if self.failure else how

    async def attend(self) -> None:
        """Takes what it reports, until it has ended."""
        try:
            while True:
                report = await self._channel.receive(Report)
                if report.ready:
                    self.ready.set()
                    continue
                self.failure = report.failed
                if self._reloading is not None:
                    self._reload_failure, self.failure = self.failure, ""
                    self._reloading.set()
        except ChannelBroken:
            pass
        finally:
            self._channel.close()
        await self._exit()
        self.ended.set()
        if self._reloading is not None:
            self._reloading.set()

    async def until_ready(self, timeout_s: float) -> bool:
        """Waits until it serves; False where it has not by then, or has ended."""
        with anyio.move_on_after(timeout_s):
            async with anyio.create_task_group() as group:

                async def give_up() -> None:
                    await self.ended.wait()
                    group.cancel_scope.cancel()

                group.start_soon(give_up)
                await self.ready.wait()
                group.cancel_scope.cancel()
        return self.is_serving

    async def reload(self, config: GatewayConfig) -> str:
        """Hands a worker that serves another configuration; returns why it did not take it, or nothing."""
        self._reloading, self._reload_failure = anyio.Event(), f"no answer within {_RELOAD_TIMEOUT_S:.0f} s"
        await self._channel.send(_configured(config))
        with anyio.move_on_after(_RELOAD_TIMEOUT_S):
            await self._reloading.wait()
        self._reloading = None
        # One that has ended meanwhile is replaced by one with the new configuration.
        return "" if self.ended.is_set() else self._reload_failure

    async def drain(self) -> None:
        """Tells it to take no more connections, and to leave when its calls have ended."""
        await self._channel.send(Order(drain=True))

    async def cut(self) -> None:
        """Tells it to leave at once."""
        await self._channel.send(Order(cut=True))

    def kill(self) -> None:
        """Ends it without another word."""
        if self._process.poll() is None:
            self._process.kill()

    async def _exit(self) -> None:
        with anyio.move_on_after(_EXIT_TIMEOUT_S):
            await self._until_exited()
        if self._process.poll() is None:
            self._process.kill()
            await self._until_exited()

    async def _until_exited(self) -> None:
        while self._process.poll() is None:  # noqa: ASYNC110 (it has closed its channel, and nothing else tells)
            await anyio.sleep(_EXIT_POLL_S)


def _configured(config: GatewayConfig) -> Order:
    return Order(config=msgspec.Raw(config.encode()))
