"""A request that costs nothing (a model list, a file, a health check): passed through, not metered and not counted.

The rule: nothing is kept for it. When its agent leaves, the provider is cut too, since there is no usage to wait for.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from anyio import CancelScope, current_time

from leash_shim import headers, refusal
from leash_shim.upstream import UpstreamCut, UpstreamFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from leash_shim.downstream import Downstream
    from leash_shim.observer import Exchange
    from leash_shim.refusal import Answer
    from leash_shim.upstream import Upstream, UpstreamRequest


class Passage:
    """One free request under way. ``watch`` is told once the request's body is read, and may then watch the agent."""

    __slots__ = ("_downstream", "_exchange", "_scope", "_upstream", "_watch")

    def __init__(
        self, *, upstream: Upstream, downstream: Downstream, exchange: Exchange, watch: Callable[[], None]
    ) -> None:
        self._upstream = upstream
        self._downstream = downstream
        self._exchange = exchange
        self._watch = watch
        self._scope = CancelScope()

    def hung_up(self) -> None:
        """The agent has gone, or has its answer."""
        self._scope.cancel()

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body as it comes."""
        async for chunk in self._downstream.stream_body():
            yield chunk
        self._watch()

    async def live(self, request: UpstreamRequest, *, header_timeout_s: float) -> None:
        """Passes the request on, and its answer back."""
        failure: Answer | None = None
        with self._scope:
            self._scope.deadline = current_time() + header_timeout_s
            failure = await self._pass(request)
        downstream = self._downstream
        if self._scope.cancelled_caught and downstream.gone:
            self._exchange.reason = "hung_up"
        elif self._scope.cancelled_caught:
            failure = self._failed(request, f"no answer within {header_timeout_s:g} s", timed_out=True)
        if failure is not None and not downstream.started:
            self._exchange.decide("passed", failure.code)
            await downstream.answer(failure, self._request_id())

    async def _pass(self, request: UpstreamRequest) -> Answer | None:
        try:
            answer = await self._upstream.send(request)
        except UpstreamFailure as failure:
            return self._failed(request, str(failure), timed_out=failure.timed_out)
        downstream = self._downstream
        self._scope.deadline = inf
        try:
            await downstream.start(
                answer.status, headers.for_agent(answer.headers, request_id=self._request_id(), reframed=False)
            )
            while data := await answer.read():
                await downstream.write(data)
        except UpstreamCut:
            self._exchange.reason = "upstream_cut"
            return None
        finally:
            answer.close()
        if not downstream.body_read:
            await downstream.linger()
        await downstream.finish()
        return None

    def _request_id(self) -> bytes:
        return self._exchange.request_id.hex().encode("ascii")

    def _failed(self, request: UpstreamRequest, why: str, *, timed_out: bool) -> Answer:
        code = "upstream_timeout" if timed_out else "upstream_failed"
        message = f"{request.url.host}: {why}."
        return refusal.failed(504 if timed_out else 502, code, message, provider=self._exchange.provider)
