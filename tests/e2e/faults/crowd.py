"""Shim sessions that ask a great many things at once, where the shims of tests ask one after the other."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from leash.v1 import shim_pb2, types_pb2
from tests.e2e.raw_daemon import Shim

_BATCH = 500  # operations in a message: far below what a message may have


def ask_all(shim: Shim, operations: Iterable[shim_pb2.Operation]) -> dict[int, shim_pb2.Answer]:
    """Asks all of it and waits for every answer; by the number of the operation."""
    asked = send_all(shim, operations)
    return take_answers(shim, asked)


def send_all(shim: Shim, operations: Iterable[shim_pb2.Operation]) -> set[int]:
    """Sends all of it; the numbers of the operations."""
    numbered = []
    for operation in operations:
        shim._op_id += 1
        operation.op_id = shim._op_id
        numbered.append(operation)
    for start in range(0, len(numbered), _BATCH):
        shim._requests.put(shim_pb2.SessionRequest(operations=numbered[start : start + _BATCH]))
    return {operation.op_id for operation in numbered}


def take_answers(shim: Shim, asked: set[int], *, at_least: int = 0) -> dict[int, shim_pb2.Answer]:
    """Waits for the answers to what was asked, or for some of them."""
    answers: dict[int, shim_pb2.Answer] = {}
    while len(answers) < (at_least or len(asked)):
        answers |= {answer.op_id: answer for answer in next(shim._responses).answers if answer.op_id in asked}
    return answers


def reserves(run: str, count: int) -> list[shim_pb2.Operation]:
    """So many reserves of new calls."""
    return [
        shim_pb2.Operation(reserve=shim_pb2.Reserve(call_id=secrets.token_bytes(16), run=run, model="m", choices=1))
        for _ in range(count)
    ]


def settles(reserved: Iterable[shim_pb2.Operation]) -> list[shim_pb2.Operation]:
    """The settle of each of these reserves."""
    usage = types_pb2.Usage(input_tokens=10)
    return [
        shim_pb2.Operation(
            settle=shim_pb2.Settle(
                call_id=made.reserve.call_id, run=made.reserve.run, http_status=200, usage=usage, model="m"
            )
        )
        for made in reserved
    ]
