"""The shim as an ASGI application: decides where each request goes, and runs what is then done with it.

The rule: nothing leaves here but through a ``Call``, which is governed, or a ``Passage``, which is known to be free.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

from leash_shim import headers, refusal
from leash_shim.door import Denial, Visitor
from leash_shim.downstream import BodyTimeout, BodyTooLarge, Downstream, HungUp
from leash_shim.flow import Call, Order
from leash_shim.held_bodies import BodiesFull, HeldBodies
from leash_shim.meter import RouteKind, route
from leash_shim.mounts import MountTable
from leash_shim.observer import Exchange, Observer
from leash_shim.orders import read_order
from leash_shim.passage import Passage
from leash_shim.refusal import Answer
from leash_shim.request_head import fault
from leash_shim.trouble import where
from leash_shim.upstream import Upstream, UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from leash.v1 import shim_pb2, types_pb2
    from leash_shim.asgi import Message, Receive, Send
    from leash_shim.door import Door
    from leash_shim.headers import Headers
    from leash_shim.held_bodies import HeldBody
    from leash_shim.meter import Route
    from leash_shim.mounts import Target
    from leash_shim.settings import ShimSettings

log = logging.getLogger(__name__)

_CALL_ID_BYTES = 16

# What others call a request, as far as it can stand in a log as it is.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)

# RFC 9110 section 15.5.2.
_UNAUTHORIZED = 401

# Bodies go to their providers within a second or so.
_BUSY_RETRY_SECONDS = 1

# Who leaves sooner is noticed then; a call that is over sooner needs no task beside its own, which costs a tenth of it.
_WATCH_AFTER_S = 0.02


class ShimApp:
    """The ASGI application. Also an async context manager, which must be entered before it serves.

    ``on_push`` is for whoever owns the session to call with each push of the daemon. ``seen`` counts the requests that
    came, by what they are. While it is ``leaving``, each answer tells its agent to come back on another connection.
    """

    def __init__(self, settings: ShimSettings, *, door: Door, observer: Observer | None = None) -> None:
        self._settings = settings
        self._door = door
        self._observer = observer or Observer()
        self._held = HeldBodies(settings.max_held_bytes)
        self.leaving = False
        self.seen: Counter[RouteKind] = Counter()
        self._mounts = MountTable(settings.upstreams)
        self._upstream = Upstream()
        # One for all watchers, and asyncio's: anyio's costs four times as much for each.
        self._group: asyncio.TaskGroup | None = None
        self._watchers: set[asyncio.Task[None]] = set()
        self._calls: dict[str, set[Call]] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._cutting = False

    async def __aenter__(self) -> Self:
        """Opens the client for the providers and the group that watches the agents."""
        await self._upstream.__aenter__()
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cuts what is still under way, and closes both."""
        self.cut()
        for watcher in self._watchers:
            watcher.cancel()
        try:
            if self._group is not None:
                await self._group.__aexit__(kind, error, trace)
        finally:
            self._group = None
            await self._upstream.__aexit__(None, None, None)

    @property
    def calls_under_way(self) -> int:
        """How many calls are not closed yet, those that are read on for an agent that has gone among them."""
        return sum(map(len, self._calls.values()))

    def on_push(self, push: shim_pb2.Push) -> None:
        """Takes what the daemon tells unasked: a kill at once aborts the calls in flight of its run."""
        if push.WhichOneof("kind") == "run_stopped" and push.run_stopped.now:
            self.abort(push.run_stopped.run, push.run_stopped.reason)

    def abort(self, run: str, reason: types_pb2.Reason.ValueType) -> None:
        """Cuts the calls in flight of a run, towards the provider and the agent."""
        for call in list(self._calls.get(run, ())):
            call.abort(reason)

    def cut(self) -> None:
        """Ends what is under way, for good: calls are voided or abandoned, connections are closed."""
        self._cutting = True
        for task in self._serving:
            task.cancel()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        match scope["type"]:
            case "http":
                # HTTP/2 tells it of the connection, and has no such header.
                closes = self._is_leaving if scope["http_version"].startswith("1") else None
                await self._follow(scope, Downstream(receive, send, closes=closes))
            case "websocket":
                await self._refuse_websocket(scope, receive, send)

    async def _follow(self, scope: Message, downstream: Downstream) -> None:
        """Serves one request, and ends quietly when it is cut: the server closes what is then not finished."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        exchange = _exchange(scope)
        self._observer.began(exchange)
        try:
            await self._serve(scope, downstream, exchange)
        except asyncio.CancelledError:
            exchange.decide(exchange.decision or "failed", "cut")
            if not self._cutting:
                raise
        finally:
            self._serving.discard(task)
            exchange.status, exchange.ended_ns = downstream.status, time.monotonic_ns()
            exchange.received_bytes, exchange.sent_bytes = downstream.received_bytes, downstream.sent_bytes
            self._observer.ended(exchange)

    async def _serve(self, scope: Message, downstream: Downstream, exchange: Exchange) -> None:
        """Serves one request. Whatever goes wrong in leash itself ends here, and shows no word of the request."""
        try:
            answer = await self._dispatch(scope, downstream, exchange)
        except HungUp:
            exchange.decide("denied", "hung_up")
            return
        except Exception as error:  # noqa: BLE001 - the server's own handler would log what the error quotes
            log.error("a request failed: %s", where(error))  # noqa: TRY400 - for the same reason
            answer = refusal.failed(502, "internal", "leash failed inside; its log says where")
        if answer is not None:
            exchange.decide("denied" if answer.blames_request else "failed", answer.code)
            if not downstream.started:
                await downstream.answer(answer, exchange.request_id.hex().encode("ascii"))

    async def _dispatch(self, scope: Message, downstream: Downstream, exchange: Exchange) -> Answer | None:
        """Serves one request, or returns the answer to one that goes nowhere."""
        code, message = fault(scope)
        if code:
            return refusal.failed(400, code, message)
        request_headers: Headers = scope["headers"]
        visitor = self._admitted(scope, exchange)
        located = self._locate(scope["method"], visitor.path, request_headers)
        provider = "" if located is None else located[1].provider
        if isinstance(visitor, Denial):
            return refusal.denied(visitor, provider)
        if located is None:
            return refusal.failed(400, "bad_path", "no provider has such a path, or it may be read in two ways")
        target, way = located
        exchange.provider = provider
        self.seen[way.kind] += 1
        if way.kind is RouteKind.FREE:
            exchange.decide("passed")
            await self._pass_through(scope, downstream, target, exchange)
            return None
        held = self._held.share()
        try:
            order = await self._order(scope, downstream, exchange, located=located, held=held)
            return order if isinstance(order, Answer) else await self._call(visitor, order, downstream, exchange)
        finally:
            held.release()

    def _admitted(self, scope: Message, exchange: Exchange) -> Visitor | Denial:
        """The visitor that a request is, or why it may not come in."""
        visitor = self._door.admit(scope["raw_path"].decode("latin-1"), scope["headers"])
        if isinstance(visitor, Visitor):
            exchange.run = visitor.run
        elif visitor.status == _UNAUTHORIZED:
            # A token that was put into the path in a way that leash does not read stands there still.
            return visitor
        # What begins otherwise is a whole URL, in which a password may stand.
        exchange.path = visitor.path if visitor.path.startswith("/") else ""
        return visitor

    async def _order(
        self,
        scope: Message,
        downstream: Downstream,
        exchange: Exchange,
        *,
        located: tuple[Target, Route],
        held: HeldBody,
    ) -> Order | Answer:
        """What is asked for, or the answer to a request that is not read whole."""
        provider = exchange.provider
        try:
            return await read_order(
                scope, downstream, settings=self._settings, located=located, run=exchange.run, held=held
            )
        except BodyTooLarge:
            message = f"the request is above {self._settings.max_body_bytes} bytes (--max-body-bytes)"
            return refusal.failed(413, "body_too_large", message, provider=provider)
        except BodyTimeout:
            message = f"nothing of the request's body came for {self._settings.body_timeout_s:g} s"
            return refusal.failed(400, "body_timeout", message, provider=provider)
        except BodiesFull:
            message = "leash holds as much of other requests as it may: try again"
            return refusal.failed(503, "busy", message, retry_after_seconds=_BUSY_RETRY_SECONDS, provider=provider)

    async def _call(self, visitor: Visitor, order: Order, downstream: Downstream, exchange: Exchange) -> Answer | None:
        """Lives a call in its run, or returns the answer where that cannot be opened."""
        denial = await self._door.enter(visitor)
        if denial is not None:
            return refusal.denied(denial, exchange.provider)
        call = Call(
            exchange,
            order,
            settings=self._settings,
            upstream=self._upstream,
            downstream=downstream,
            observer=self._observer,
        )
        try:
            await self._govern(call, downstream)
        finally:
            self._door.leave(visitor)
        return None

    def _locate(self, method: str, path: str, request_headers: Headers) -> tuple[Target, Route] | None:
        """Where a request goes, and what it is there; None for a path that is refused."""
        if not path.startswith("/"):
            return None
        target = self._mounts.mounted(path)
        way = route(method, path if target is None else target.path, {name for name, _ in request_headers})
        if way.kind is RouteKind.BAD_PATH:
            self.seen[way.kind] += 1
            return None
        if target is None:
            target = self._mounts.unmounted(path, way.provider)
        return None if target is None else (target, way)

    async def _govern(self, call: Call, downstream: Downstream) -> None:
        calls = self._calls.setdefault(call.run, set())
        calls.add(call)
        watch = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._watch, downstream, call.hung_up)
        try:
            await call.live()
        finally:
            watch.cancel()
            calls.discard(call)
            if not calls:
                self._calls.pop(call.run, None)

    async def _pass_through(self, scope: Message, downstream: Downstream, target: Target, exchange: Exchange) -> None:
        request_headers: Headers = scope["headers"]
        length = headers.first(request_headers, b"content-length")
        size = int(length) if length.isdecimal() else None
        has_body = await downstream.has_body() if size is None else size > 0

        def watch() -> None:
            self._watch(downstream, passage.hung_up)

        passage = Passage(
            upstream=self._upstream,
            downstream=downstream,
            exchange=exchange,
            watch=watch,
        )
        if not has_body:
            await downstream.drop_body()
            watch()
        request = UpstreamRequest(
            method=scope["method"],
            target=target,
            query=scope["query_string"].decode("latin-1"),
            headers=headers.for_upstream(request_headers, identity=False),
            body=passage.body() if has_body else None,
            size=size,
        )
        await passage.live(request, header_timeout_s=self._settings.header_timeout_s)

    def _watch(self, downstream: Downstream, hung_up: Callable[[], None]) -> None:
        """Listens for the agent's leaving, beside what is done for it. Ends by itself with the exchange."""
        if self._group is None:
            raise RuntimeError("the shim is not open")
        watcher = self._group.create_task(_watch_agent(downstream, hung_up))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _refuse_websocket(self, scope: Message, receive: Receive, send: Send) -> None:
        """No wire format over WebSocket is metered: the upgrade is refused."""
        self.seen[RouteKind.UNMETERABLE] += 1
        exchange = _exchange(scope)
        self._observer.began(exchange)
        visitor = self._admitted(scope, exchange)
        if isinstance(visitor, Denial):
            answer = refusal.denied(visitor, "")
        else:
            answer = refusal.websocket(headers.first(scope["headers"], b"user-agent"))
        exchange.decide("denied", answer.code)
        try:
            await receive()
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1008})
                return
            answer_headers = [*answer.headers, (b"x-request-id", exchange.request_id.hex().encode("ascii"))]
            exchange.status, exchange.sent_bytes = answer.status, len(answer.body)
            await send(
                {"type": "websocket.http.response.start", "status": answer.status, "headers": answer_headers},
            )
            await send({"type": "websocket.http.response.body", "body": answer.body, "more_body": False})
        finally:
            exchange.ended_ns = time.monotonic_ns()
            self._observer.ended(exchange)

    def _is_leaving(self) -> bool:
        return self.leaving


def _exchange(scope: Message) -> Exchange:
    """One request as its head tells it; its path is known once what is addressed to leash is taken off."""
    client = scope.get("client")
    named = headers.first(scope["headers"], b"x-request-id")
    return Exchange(
        request_id=secrets.token_bytes(_CALL_ID_BYTES),
        method=scope.get("method", "GET"),
        path="",
        client=client[0] if client else "",
        client_request_id=named if _REQUEST_ID.fullmatch(named) else "",
    )


async def _watch_agent(downstream: Downstream, hung_up: Callable[[], None]) -> None:
    await downstream.until_gone()
    hung_up()
