"""What the ledger has against a request that only reads, as the status of that request: one rule for every service."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio

from leashd.ending import farewell
from leashd.ledger.protocol import LedgerDamagedError, LedgerError

_Context = grpc.aio.ServicerContext[Any, Any]


class LedgerFailures(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # no generic when it runs
    """Answers with the ledger's own sentence. Without it gRPC would log where in the code it was raised."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a request, with its failures told."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler  # unknown; or a session, which reads nothing by itself
        makers = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            # A method that writes by the context itself, at its own pace, is no generator.
            is_generator = inspect.isasyncgenfunction(handler.unary_stream)
            told = self._streaming(handler.unary_stream) if is_generator else self._whole(handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(told, **makers)
        return grpc.unary_unary_rpc_method_handler(self._whole(handler.unary_unary), **makers)

    def _whole(self, handle: Callable[[Any, _Context], Awaitable[Any]]) -> Any:
        async def handled(request: Any, context: _Context) -> Any:
            try:
                return await handle(request, context)
            except LedgerError as error:
                await self._tell(error, context)

        return handled

    def _streaming(self, handle: Callable[[Any, _Context], AsyncIterator[Any]]) -> Any:
        async def handled(request: Any, context: _Context) -> AsyncIterator[Any]:
            try:
                async for response in handle(request, context):
                    yield response
            except LedgerError as error:
                await self._tell(error, context)

        return handled

    async def _tell(self, error: LedgerError, context: _Context) -> None:
        code = grpc.StatusCode.DATA_LOSS if isinstance(error, LedgerDamagedError) else grpc.StatusCode.INTERNAL
        await context.abort(code, farewell(error, self._ledger))
