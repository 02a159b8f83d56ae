"""One question to the committer from a unary call, and its failure as a gRPC status."""

from __future__ import annotations

from typing import Any

import grpc.aio

from leashd.asking import asked
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
    answer = await asked(committer, operation)
    if isinstance(answer, Failed):
        await context.abort(_STATUS[answer.code], answer.message)
    return answer
