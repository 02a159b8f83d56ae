"""Planted: what was asked is answered before it is committed, as if an fsync could be hurried on with."""

import asyncio
from types import ModuleType
from typing import Any


def _patch(module: ModuleType) -> None:
    original = module.Committer._commit

    async def commit(self: Any, writer: Any, now_ns: int, operations: int) -> None:
        batch, outbound = self.engine.take()
        for reply, answer in outbound.answers:
            reply(answer)
        outbound.answers.clear()
        await asyncio.sleep(0.01)  # the answers are on their way
        self.engine.take = lambda: (batch, outbound)
        try:
            await original(self, writer, now_ns, operations)
        finally:
            del self.engine.take

    module.Committer._commit = commit


PATCHES = {"leashd": {"leashd.committer": _patch}}
