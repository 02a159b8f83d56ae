"""The named steps of the crash harness, put into processes under test from outside: the product has no hook for them.

A process that comes to an armed step takes its file away, which only one can, tells the controller, and stands still
right there until it is answered, or killed. Where nothing is armed a step costs one system call.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

DIRECTORY = Path(os.environ["PYTHON_LEASH_CRASH"])
PLANT = os.environ.get("PYTHON_LEASH_PLANT", "")

Patch = Callable[[ModuleType], None]

_TAG = re.compile(rb"call:(\S+) ")


def role_of(command: Sequence[str]) -> str:
    """What a process is, by its command line; empty for one that is none of the parts under test."""
    words = [word.rsplit("/", 1)[-1] for word in command]
    if "leash_shim.gateway.worker" in words:
        return "worker"
    if "leashctl" in words:
        return {"serve": "gateway", "wrap": "wrap"}.get(next(iter(words[words.index("leashctl") + 1 :]), ""), "")
    return "leashd" if "leashd" in words and "--ledger" in words and "--socket" in words else ""


ROLE = role_of(Path("/proc/self/cmdline").read_bytes().decode().split("\0"))


def tell(**what: object) -> None:
    """Tells the controller, and waits for its answer, or its end."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(DIRECTORY / "controller"))
            connection.sendall(json.dumps(what | {"pid": os.getpid(), "role": ROLE}).encode() + b"\n")
            connection.recv(16)
        except OSError:
            return  # the controller has gone, and with it whoever would kill


class Step:
    """One place where a process can be made to stand still."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._armed = str(DIRECTORY / "armed" / f"{name}@{ROLE}")

    def __call__(self) -> None:
        try:
            os.unlink(self._armed)  # noqa: PTH108 - of all ways the cheapest
        except FileNotFoundError:
            return
        tell(event="step", step=self._name)


def before(owner: Any, name: str, act: Callable[..., object]) -> None:
    """Has ``act`` called with a method's arguments before it."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        act(*arguments, **named)
        return original(*arguments, **named)

    setattr(owner, name, wrapped)


def around(owner: Any, name: str, made: Callable[[Any], Any]) -> None:
    """Replaces a method by what is made of it."""
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(made(original)))


# The shims


def _link(module: ModuleType) -> None:
    sending, settling = Step("before_reserve_sent"), Step("during_settle.sent")
    greeting, greeted = Step("during_recovery.hello"), Step("during_recovery.welcome")

    def write(original: Any) -> Any:
        async def written(self: Any, request: Any) -> None:
            kinds = {operation.WhichOneof("kind") for operation in request.operations}
            if "reserve" in kinds:
                sending()
            await original(self, request)
            if "settle" in kinds:
                settling()

        return written

    def greet(original: Any) -> Any:
        async def greeted_again(self: Any, hello: Any) -> None:
            resumes = bool(hello.hello.held_calls)
            if resumes:
                greeting()
            await original(self, hello)
            if resumes:
                greeted()

        return greeted_again

    around(module.Link, "write", write)
    around(module.Link, "_greet", greet)


def _upstream(module: ModuleType) -> None:
    forwarding, reading = Step("before_forwarding"), Step("mid_stream")
    before(module.Upstream, "send", lambda *_: forwarding())

    def read(original: Any) -> Any:
        async def taken(self: Any) -> bytes:
            data: bytes = await original(self)
            if data and not self.ended:
                reading()
            return data

        return taken

    around(module.UpstreamAnswer, "read", read)


def _flow(module: ModuleType) -> None:
    settling = Step("after_last_byte_before_settle")
    before(module.Call, "_settle", lambda *_: settling())
    links = os.open(DIRECTORY / "links.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def link(original: Any) -> Any:
        # Which call of the ledger is which request at the provider, before anybody can be asked for anything.
        def made(self: Any, *arguments: Any, **named: Any) -> None:
            original(self, *arguments, **named)
            found = _TAG.search(self._order.request.payload._value)
            assert found
            record = {"call": self.call_id.hex(), "tag": found[1].decode(), "run": self.run, "pid": os.getpid()}
            os.write(links, json.dumps(record).encode() + b"\n")

        return made

    around(module.Call, "__init__", link)


def _supervisor(module: ModuleType) -> None:
    # Workers that are killed all the time are to come back all the time.
    module._MIN_BACKOFF_S, module._MAX_BACKOFF_S = 0.02, 0.1  # type: ignore[attr-defined]


# The daemon


def _ledger(module: ModuleType) -> None:
    deciding, settling = Step("after_decision_before_commit"), Step("during_settle.decided")
    reserved, settled = Step("after_commit_before_answer"), Step("after_commit_before_answer.settle")

    def commit(original: Any) -> Any:
        def committed(self: Any, batch: Any) -> Any:
            kinds = {type(entry.event).__name__ for _, entry in batch.entries}
            if "Reserved" in kinds:
                deciding()
            if "Settled" in kinds:
                settling()
            result = original(self, batch)
            if "Reserved" in kinds:
                reserved()
            if "Settled" in kinds:
                settled()
            return result

        return committed

    around(module.LmdbLedger, "commit", commit)


def _engine(module: ModuleType) -> None:
    starting, resuming, ending = (Step(f"during_recovery.{name}") for name in ("starting", "resuming", "ending"))

    def resumed(original: Any) -> Any:
        def hello(self: Any, operation: Any, *others: Any) -> Any:
            answer = original(self, operation, *others)
            if operation.held_calls:
                resuming()
            return answer

        return hello

    before(module.Engine, "_recover_sessions", lambda *_, **__: starting())
    before(module.Engine, "_end_session", lambda *_, **__: ending())
    around(module.Engine, "_hello", resumed)


def _committer(module: ModuleType) -> None:
    # From here on the grace of those who do not come back is running out.
    before(module.Committer, "run", lambda *_: tell(event="recovered"))


SHIM: dict[str, Patch] = {"leash.client.link": _link, "leash_shim.upstream": _upstream, "leash_shim.flow": _flow}
PATCHES: dict[str, dict[str, Patch]] = {
    "worker": SHIM,
    "wrap": SHIM,
    "gateway": {"leash_shim.gateway.supervisor": _supervisor},
    "leashd": {"leashd.ledger.lmdb_ledger": _ledger, "leashd.engine": _engine, "leashd.committer": _committer},
}


class _Patching(Loader):
    """Loads a module as its own loader does, and patches it then."""

    def __init__(self, loader: Loader, patches: Sequence[Patch]) -> None:
        self._loader = loader
        self._patches = patches

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        for patch in self._patches:
            patch(module)


class _Finder(MetaPathFinder):
    """Finds the modules that are to be patched, by the finders after it."""

    def __init__(self, patches: dict[str, list[Patch]]) -> None:
        self._patches = patches

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        patches = self._patches.pop(name, None)  # so that those after it are asked
        if patches is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Patching(spec.loader, patches)
        return spec


def install() -> None:
    """Puts the steps into this process, if it is one under test, and tells the controller that it is there."""
    if not ROLE:
        return
    patches = {name: [patch] for name, patch in PATCHES[ROLE].items()}
    if PLANT:
        planted = importlib.import_module(PLANT)  # it stands on the path beside this one
        for name, patch in planted.PATCHES.get(ROLE, {}).items():
            patches.setdefault(name, []).append(patch)
    sys.meta_path.insert(0, _Finder(patches))
    tell(event="started")
