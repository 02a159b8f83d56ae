"""One worker of a gateway, as a process: ``python -m leash_shim.gateway.worker CHANNEL LISTENER``, both descriptors.

The rule: it obeys its channel and no signal, since a terminal and systemd send theirs to the whole group, while it is
the supervisor that knows what comes first. When the channel ends, so does the worker, with its calls in order.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from leash.client.errors import ClientError
from leash.client.session import ShimSession
from leash.log import configure
from leash_shim.app import ShimApp
from leash_shim.gateway.channel import Channel, ChannelBroken, Order, Report
from leash_shim.gateway.config import METRICS_DIRECTORY, GatewayConfig
from leash_shim.gateway.door import GatewayDoor
from leash_shim.gateway.tls import pem_context
from leash_shim.hall import Patience
from leash_shim.observer import Observer, Observers
from leash_shim.server import ServerOptions, serve
from leash_shim.settings import ShimSettings

if TYPE_CHECKING:
    import ssl

    from leash.v1 import shim_pb2
    from leash_shim.gateway.metrics import GatewayMetrics

log = logging.getLogger(__name__)

# A client that has just been answered sends its next request within this, and is then told to connect anew.
_LINGER_S = 2.0

# What a worker holds of all requests at a time: some of the largest, or very many of the usual size.
_LEAST_HELD_BYTES = 256 << 20
_HELD_BODIES = 4

# What the supervisor decides, and a terminal or a service manager must not.
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

# What is loaded by then lives as long as the process: the collector need not look at it again and again. Of what comes
# later nearly all goes when its last reference does, so that it need not look often.
_GC_THRESHOLDS = (10_000, 10, 10)


class Worker:
    """A worker with its first configuration. ``live`` is its whole life."""

    def __init__(self, channel: Channel, listener: socket.socket, config: GatewayConfig) -> None:
        self._channel = channel
        self._listener = listener
        self._config = config
        self._tls: ssl.SSLContext | None = _tls(config)
        self._shutdown = anyio.Event()
        self._serving = anyio.CancelScope()

    async def live(self) -> None:
        """Serves until it is told to leave, and closes what it has open. Raises ``ClientError`` without a daemon."""
        config = self._config
        session = ShimSession(config.endpoint, client_version=config.client_version)
        metrics = _metrics(session)
        async with session, GatewayDoor(config, session) as door:
            settings = ShimSettings(
                upstreams=config.upstreams,
                session=session,
                inject=config.inject,
                max_body_bytes=config.max_body_bytes,
                header_timeout_s=config.upstream_header_timeout_s or float("inf"),
                refusal_status=config.refusal_status,
                body_timeout_s=config.idle_timeout_s,
                max_held_bytes=max(_LEAST_HELD_BYTES, _HELD_BODIES * config.max_body_bytes),
            )
            async with ShimApp(settings, door=door, observer=_observer(config, metrics)) as app:

                def take_push(push: shim_pb2.Push) -> None:
                    app.on_push(push)
                    if metrics is not None:
                        metrics.pushed(push)

                session.on_push = take_push
                async with anyio.create_task_group() as group:
                    group.start_soon(self._obey, door)
                    await self._serve(app)
                    group.cancel_scope.cancel()

    async def _serve(self, app: ShimApp) -> None:
        config = self._config

        def leave() -> None:
            app.leaving = True

        options = ServerOptions(
            patience=Patience(
                header_s=config.header_timeout_s or float("inf"), idle_s=config.idle_timeout_s or float("inf")
            ),
            max_connections=config.max_connections,
            linger_s=min(_LINGER_S, config.shutdown_timeout_s),
            tls=self._context if self._tls is not None else None,
        )
        with self._serving:
            await serve(
                app,
                self._listener,
                shutdown=self._shutdown,
                drain_s=config.shutdown_timeout_s,
                options=options,
                leave=leave,
                cut=app.cut,
            )

    def _context(self) -> ssl.SSLContext:
        assert self._tls is not None, "TLS is there from the start, or never"
        return self._tls

    async def _obey(self, door: GatewayDoor) -> None:
        """Says that it serves, and does what it is told."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        await self._channel.send(Report(ready=True))
        with suppress(ChannelBroken):
            while True:
                order = await self._channel.receive(Order)
                if order.cut:
                    self._shutdown.set()
                    self._serving.cancel()
                elif order.drain:
                    self._shutdown.set()
                else:
                    await self._reload(order, door)
        if not self._shutdown.is_set():
            log.error("the gateway's supervisor has gone: this worker ends when its calls have ended")
        self._shutdown.set()

    async def _reload(self, order: Order, door: GatewayDoor) -> None:
        config = GatewayConfig.decode(bytes(order.config))
        try:
            tls = _tls(config)
        except ValueError as error:
            await self._channel.send(Report(failed=str(error)))
            return
        self._tls = tls
        door.reload(config)
        await self._channel.send(Report(reloaded=True))


def _tls(config: GatewayConfig) -> ssl.SSLContext | None:
    return pem_context(config.tls_cert, config.tls_key) if config.tls_cert else None


def _metrics(session: ShimSession) -> GatewayMetrics | None:
    if METRICS_DIRECTORY not in os.environ:
        return None
    from leash_shim.gateway.metrics import GatewayMetrics  # noqa: PLC0415 (it needs that variable, and memory)

    metrics = GatewayMetrics()
    metrics.watch_session(session)
    return metrics


def _observer(config: GatewayConfig, metrics: GatewayMetrics | None) -> Observer:
    observers: list[Observer] = [] if metrics is None else [metrics]
    if config.access_log != "off":
        from leash_shim.gateway.access import AccessLog  # noqa: PLC0415 (only where it is wanted)

        observers.append(AccessLog(config.access_log, sys.stdout))
    return observers[0] if len(observers) == 1 else Observers(*observers)


async def work(channel_descriptor: int, listener_descriptor: int) -> int:
    """The life of a worker with these descriptors; its exit code."""
    channel = await Channel.open(socket.socket(fileno=channel_descriptor))
    try:
        order = await channel.receive(Order)
    except ChannelBroken:
        return 1
    try:
        config = GatewayConfig.decode(bytes(order.config))
        configure(level=config.log_level, log_format=config.log_format)
        await Worker(channel, socket.socket(fileno=listener_descriptor), config).live()
    except (ClientError, ValueError) as error:
        await channel.send(Report(failed=str(error)))
        return 1
    return 0


def main() -> None:
    """Works, and exits."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    channel, listener = map(int, sys.argv[1:])
    sys.exit(anyio.run(work, channel, listener, backend_options={"use_uvloop": True}))


if __name__ == "__main__":
    main()
