"""One question to the committer, and its durable answer."""

from __future__ import annotations

import asyncio

from leashd.committer import Committer
from leashd.operations import Answer, Operation


async def asked(committer: Committer, operation: Operation) -> Answer:
    """The answer to an operation, once it is durable; a failure is an answer too."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def reply(answer: Answer) -> None:
        if not future.done():  # who asked may be gone
            future.set_result(answer)

    committer.submit(operation, reply)
    return await future
