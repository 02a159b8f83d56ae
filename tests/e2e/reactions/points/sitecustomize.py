"""Ends a leashd with kill -9 at a named step between a stop and its delivery. The product has no hook for it.

A step is armed by a file of its name, which the process takes away, so that it dies there once.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

DIRECTORY = os.environ.get("PYTHON_REACTION_STEPS", "")


def step(name: str) -> None:
    try:
        Path(DIRECTORY, name).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def soon(name: str) -> None:
    """The same some milliseconds later, in the midst of what goes on then."""
    asyncio.get_running_loop().call_later(0.1, step, name)


def _ledger(module: Any) -> None:
    original = module.LmdbLedger.commit

    def commit(self: Any, batch: Any) -> None:
        stops = any(type(entry.event).__name__ == "Stopped" for _, entry in batch.entries)
        settled = {key.target.label for key, pending in batch.outbox.items() if pending is None}
        steps = ["stop"] * stops + [f"{label}_recorded" for label in settled]
        for name in steps:
            step(f"before_{name}_is_committed")
        original(self, batch)
        for name in steps:
            step(f"after_{name}_is_committed")

    module.LmdbLedger.commit = commit


def _deliverer(module: Any) -> None:
    take, record = module.Deliverer._take, module.Deliverer._record

    def taken(self: Any, changes: Any) -> None:
        if any(pending is not None and pending.notice.kind.label == "stopped" for pending in changes.values()):
            step("before_it_is_queued")
        take(self, changes)
        step("after_it_is_queued")

    async def recorded(self: Any, key: Any, after: Any) -> None:
        step(f"after_{key.target.label}")
        await record(self, key, after)

    run_hook = module.run_hook

    async def hooked(*arguments: Any, **named: Any) -> Any:
        step("before_hook")
        soon("during_hook")
        return await run_hook(*arguments, **named)

    module.Deliverer._take, module.Deliverer._record, module.run_hook = taken, recorded, hooked


def _webhook(module: Any) -> None:
    send = module.WebhookSender.send

    async def sent(self: Any, *arguments: Any, **named: Any) -> Any:
        step("before_webhook")
        soon("during_webhook")
        return await send(self, *arguments, **named)

    module.WebhookSender.send = sent


PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "leashd.ledger.lmdb_ledger": _ledger,
    "leashd.reactions.deliverer": _deliverer,
    "leashd.reactions.webhook": _webhook,
}


class _Patching(Loader):
    def __init__(self, loader: Loader, patch: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._patch = patch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._patch(module)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        patch = PATCHES.pop(name, None)
        spec = importlib.util.find_spec(name) if patch is not None else None
        if spec is not None and spec.loader is not None and patch is not None:
            spec.loader = _Patching(spec.loader, patch)
        return spec


def _is_daemon(command: Sequence[str]) -> bool:
    return "leashd" in command and "--ledger" in command


if DIRECTORY and _is_daemon(Path("/proc/self/cmdline").read_text().split("\0")):
    sys.meta_path.insert(0, _Finder())
