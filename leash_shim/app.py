"""The shim as an ASGI application: decides where each request goes, and runs what is then done with it.

The rule: nothing leaves here but through a ``Call``, which is governed, or a ``Passage``, which is known to be free.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Protocol, Self

from leash_shim import headers, refusal
from leash_shim.asgi import acknowledge_lifespan
from leash_shim.downstream import BodyTooLarge, Downstream, HungUp
from leash_shim.families import reports_unasked
from leash_shim.flow import Call, Order
from leash_shim.meter import Asked, RouteKind, decoder, route
from leash_shim.mounts import MountTable
from leash_shim.passage import Passage
from leash_shim.refusal import Answer, Reader
from leash_shim.upstream import Upstream, UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from leash.v1 import shim_pb2, types_pb2
    from leash_shim.asgi import Message, Receive, Send
    from leash_shim.headers import Headers
    from leash_shim.meter import RequestFacts, Route
    from leash_shim.mounts import Target
    from leash_shim.settings import ShimSettings

log = logging.getLogger(__name__)

_CALL_ID_BYTES = 16

# A few bytes may stand for two hundred times as many, so that a compressed request is looked at in slices of this size.
_DECODE_SLICE_BYTES = 1 << 16

# Who leaves sooner is noticed then; a call that is over sooner needs no task beside its own, which costs a tenth of it.
_WATCH_AFTER_S = 0.02


class RunResolver(Protocol):
    """Says which run a request belongs to."""

    async def resolve(self, request_headers: Headers) -> str | Answer:
        """The run's name, opened for reserves, or the answer to a request that belongs to none."""
        ...


class SingleRun:
    """Every request belongs to the one run of a wrapped program."""

    __slots__ = ("_run",)

    def __init__(self, run: str) -> None:
        self._run = run

    async def resolve(self, request_headers: Headers) -> str:
        """The run, whatever the headers."""
        del request_headers
        return self._run


class ShimApp:
    """The ASGI application. Also an async context manager, which must be entered before it serves.

    ``on_push`` is for whoever owns the session to call with each push of the daemon. ``seen`` counts the requests that
    came, by what they are.
    """

    def __init__(self, settings: ShimSettings, *, resolver: RunResolver | None = None) -> None:
        self._settings = settings
        self._resolver = resolver or SingleRun(settings.run)
        self.seen: Counter[RouteKind] = Counter()
        self._mounts = MountTable(settings.upstreams)
        self._upstream = Upstream()
        # One for all watchers, and asyncio's: anyio's costs four times as much for each.
        self._group: asyncio.TaskGroup | None = None
        self._watchers: set[asyncio.Task[None]] = set()
        self._calls: dict[str, set[Call]] = {}
        self._exchanges: set[asyncio.Task[None]] = set()
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
        for exchange in self._exchanges:
            exchange.cancel()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        match scope["type"]:
            case "http":
                await self._follow(scope, Downstream(receive, send))
            case "websocket":
                self.seen[RouteKind.UNMETERABLE] += 1
                await _refuse_websocket(scope, receive, send)
            case "lifespan":
                await acknowledge_lifespan(receive, send)

    async def _follow(self, scope: Message, downstream: Downstream) -> None:
        """Serves one request, and ends quietly when it is cut: the server closes what is then not finished."""
        exchange = asyncio.current_task()
        assert exchange is not None
        self._exchanges.add(exchange)
        try:
            await self._serve(scope, downstream)
        except asyncio.CancelledError:
            if not self._cutting:
                raise
        finally:
            self._exchanges.discard(exchange)

    async def _serve(self, scope: Message, downstream: Downstream) -> None:
        """Serves one request. Whatever goes wrong in leash itself ends here, and shows no word of the request."""
        request_id = secrets.token_bytes(_CALL_ID_BYTES)
        try:
            answer = await self._dispatch(scope, downstream, request_id)
        except HungUp:
            return
        except Exception as error:  # noqa: BLE001 - the server's own handler would log what the error quotes
            log.error("a request failed: %s", _where(error))  # noqa: TRY400 - for the same reason
            answer = refusal.failed(502, "internal", "leash failed inside; its log says where")
        if answer is not None and not downstream.started:
            await downstream.answer(answer, request_id.hex().encode("ascii"))

    async def _dispatch(self, scope: Message, downstream: Downstream, request_id: bytes) -> Answer | None:
        """Serves one request, or returns the answer to one that goes nowhere."""
        path = scope["raw_path"].decode("latin-1")
        request_headers: Headers = scope["headers"]
        located = self._locate(scope["method"], path, request_headers)
        if located is None:
            return refusal.failed(400, "bad_path", "no provider has such a path, or it may be read in two ways")
        target, way = located
        if way.kind is RouteKind.FREE:
            await self._pass_through(scope, downstream, target, request_id)
            return None
        run = await self._resolver.resolve(request_headers)
        if isinstance(run, Answer):
            return run
        try:
            order = await self._read_order(scope, downstream, target=target, way=way, run=run)
        except BodyTooLarge:
            limit = self._settings.max_body_bytes
            message = f"the request is above {limit} bytes (--max-body-bytes)"
            return refusal.failed(413, "body_too_large", message, provider=way.provider)
        call = Call(request_id, order, settings=self._settings, upstream=self._upstream, downstream=downstream)
        await self._govern(call, downstream)
        return None

    def _locate(self, method: str, path: str, request_headers: Headers) -> tuple[Target, Route] | None:
        """Where a request goes, and what it is there; None for a path that is refused."""
        if not path.startswith("/"):
            return None
        target = self._mounts.mounted(path)
        way = route(method, path if target is None else target.path, {name for name, _ in request_headers})
        self.seen[way.kind] += 1
        if way.kind is RouteKind.BAD_PATH:
            return None
        if target is None:
            target = self._mounts.unmounted(path, way.provider)
        return None if target is None else (target, way)

    async def _read_order(
        self, scope: Message, downstream: Downstream, *, target: Target, way: Route, run: str
    ) -> Order:
        """What a request that is governed asks for. BodyTooLarge and HungUp as for its body."""
        request_headers: Headers = scope["headers"]
        length = headers.first(request_headers, b"content-length")
        body = await downstream.read_body(
            self._settings.max_body_bytes, announced=int(length) if length.isdecimal() else 0
        )
        wire_format, why, hides = way.format, way.why, False
        facts: RequestFacts | None = None
        if wire_format is not None:
            content_type = headers.first(request_headers, b"content-type")
            encoding = headers.joined(request_headers, b"content-encoding")
            plain = _decoded(body, encoding, max_bytes=self._settings.max_body_bytes)
            facts = wire_format.read_request(Asked(plain, target.path, content_type))
            why = facts.unmeterable
            if why:
                wire_format = facts = None
            elif encoding in ("", "identity"):
                inject = self._settings.inject and not reports_unasked(target.origin)
                prepared = wire_format.prepare(body, inject=inject)
                body, hides = prepared.body, prepared.hides_usage_chunk
        request = UpstreamRequest(
            method=scope["method"],
            target=target,
            query=scope["query_string"].decode("latin-1"),
            headers=headers.for_upstream(request_headers, identity=hides),
            body=body,
        )
        return Order(
            run=run,
            request=request,
            wire_format=wire_format,
            facts=facts,
            why=why,
            hides_usage_chunk=hides,
            reader=Reader(
                user_agent=headers.first(request_headers, b"user-agent"),
                provider=way.provider,
                chosen_status=self._settings.refusal_status,
            ),
        )

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

    async def _pass_through(self, scope: Message, downstream: Downstream, target: Target, request_id: bytes) -> None:
        request_headers: Headers = scope["headers"]
        length = headers.first(request_headers, b"content-length")
        has_body = (length.isdecimal() and int(length) > 0) or headers.first(
            request_headers, b"transfer-encoding"
        ) != ""

        def watch() -> None:
            self._watch(downstream, passage.hung_up)

        passage = Passage(
            upstream=self._upstream,
            downstream=downstream,
            request_id=request_id.hex().encode("ascii"),
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
            size=int(length) if length.isdecimal() else None,
        )
        await passage.live(request, header_timeout_s=self._settings.header_timeout_s)

    def _watch(self, downstream: Downstream, hung_up: Callable[[], None]) -> None:
        """Listens for the agent's leaving, beside what is done for it. Ends by itself with the exchange."""
        if self._group is None:
            raise RuntimeError("the shim is not open")
        watcher = self._group.create_task(_watch_agent(downstream, hung_up))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)


def _decoded(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """A request's body to be read; empty, so that nothing is known, where it cannot be decoded within ``max_bytes``."""
    if not encoding:
        return body
    decode = decoder(encoding)
    if decode is None:
        return b""
    pieces, size = [], 0
    for start in range(0, len(body), _DECODE_SLICE_BYTES):
        pieces.append(decode.feed(body[start : start + _DECODE_SLICE_BYTES]))
        size += len(pieces[-1])
        if size > max_bytes:
            return b""
    pieces.append(decode.finish())
    return b"" if decode.broken else b"".join(pieces)


async def _watch_agent(downstream: Downstream, hung_up: Callable[[], None]) -> None:
    await downstream.until_gone()
    hung_up()


async def _refuse_websocket(scope: Message, receive: Receive, send: Send) -> None:
    """No wire format over WebSocket is metered: the upgrade is refused."""
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    answer = refusal.websocket(headers.first(scope["headers"], b"user-agent"))
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": list(answer.headers)})
    await send({"type": "websocket.http.response.body", "body": answer.body, "more_body": False})


def _where(error: Exception) -> str:
    """The kind of an error and where it was raised, without its text, which may quote a header or a body."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
