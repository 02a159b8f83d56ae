"""One question to the committer from a unary call, and its failure as a gRPC status."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from leashd.committer import Committer
from leashd.operations import Answer, Failed, FailureCode, Operation

_STATUS = {
    FailureCode.UNKNOWN: grpc.StatusCode.NOT_FOUND,
    FailureCode.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    FailureCode.AMBIGUOUS: grpc.StatusCode.INVALID_ARGUMENT,
    FailureCode.CANNOT_RAISE: grpc.StatusCode.FAILED_PRECONDITION,
    FailureCode.BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    FailureCode.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


async def ask(committer: Committer, operation: Operation, context: grpc.aio.ServicerContext[Any, Any]) -> Answer:
    """The durable answer to an operation; a failure ends the call with its status and message."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def reply(answer: Answer) -> None:
        if not future.done():  # the client may have hung up
            future.set_result(answer)

    committer.submit(operation, reply)
    answer = await future
    if isinstance(answer, Failed):
        await context.abort(_STATUS[answer.code], answer.message)
    return answer
