"""Whatever crashes and fails: each notice is told at least once, in order within its run and way, with one id."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from leashd.activity import Activity
from leashd.core.events import Raised, Stopped
from leashd.core.outbox import LONGEST_PAUSE_NS, Failure
from leashd.core.reactions import Reactions, Target
from leashd.operations import Kill, Raise
from leashd.reactions import deliverer as module
from leashd.reactions.deliverer import Deliverer
from tests.property.daemon import CrashError, Fault
from tests.property.direct import Stage, stage
from tests.property.seeds import seeds

RUNS = ("a", "b", "c")
MOVES = 60  # of each seed
BOTH = Reactions(webhook="http://endpoint/", hook=("/hook",))
Told = tuple[int, str, str]  # sequence, kind, id

pytestmark = pytest.mark.anyio


@dataclass
class World:
    """What receives, and what it received: by run and way, in order."""

    random: Random
    told: dict[tuple[str, Target], list[Told]] = field(default_factory=lambda: defaultdict(list))
    is_healthy: bool = False

    async def take(self, notice: Any, target: Target) -> Failure | None:
        await self._waits()
        fate = 1.0 if self.is_healthy else self.random.random()
        if fate < 0.25:
            return Failure("down")
        self.told[notice.run, target].append((notice.seq, notice.kind.label, notice.id))
        await self._waits()
        if fate < 0.35:
            return Failure("it took the notice, and its answer was lost")
        if fate < 0.4:
            raise RuntimeError("a bug, on purpose")
        return None

    async def _waits(self) -> None:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)


class _Deliverer(Deliverer):
    """The real one, but for what it does in the world."""

    world: World

    async def _post(self, pending: Any, _reactions: Reactions) -> Failure | None:
        return await self.world.take(pending.notice, Target.WEBHOOK)


@asynccontextmanager
async def delivering(scene: Stage, world: World) -> AsyncIterator[_Deliverer]:
    """A deliverer for one life of the daemon."""
    daemon = scene.daemon
    daemon.engine.working.standing = BOTH
    deliverer = _Deliverer(daemon.committer, daemon.ledger, Activity(), world.random)
    deliverer.world = world
    task = asyncio.create_task(deliverer.run())
    try:
        yield deliverer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("seed", seeds())
async def test_each_is_told_in_order_with_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    random = Random(seed)
    world = World(random)
    monkeypatch.setattr(module, "UNWRITTEN_PAUSE_S", 0.0)

    async def hook(_command: Any, *, timeout_s: float, variables: dict[str, str]) -> Failure | None:
        del timeout_s
        run = variables["LEASH_RUN"]
        [pending] = [
            pending
            for key, pending in scene.daemon.ledger.outbox(dead=False)
            if key.target is Target.HOOK and pending.notice.id == variables["LEASH_EVENT_ID"]
        ]
        assert pending.notice.run == run
        return await world.take(pending.notice, Target.HOOK)

    monkeypatch.setattr(module, "run_hook", hook)
    async with stage(tmp_path) as scene:
        shim = await scene.talk(b"session1")
        for run in RUNS:
            shim.open(run)
        await scene.daemon.flush()
        moves = 0
        while moves < MOVES:
            async with delivering(scene, world) as deliverer:
                while moves < MOVES:
                    moves += 1
                    if not await move(scene, deliverer, random):
                        break
            if moves < MOVES:
                await crash(scene)
        world.is_healthy = True
        await settle(scene, world)
        for run in RUNS:
            check(scene, world, run, seed)


async def move(scene: Stage, deliverer: _Deliverer, random: Random) -> bool:
    """One thing that happens; False where the daemon is dead by it."""
    run = random.choice(RUNS)
    act = random.choices(("kill", "raise", "time", "turns", "fault", "crash"), (5, 5, 4, 6, 2, 1))[0]
    daemon = scene.daemon
    if act == "kill":
        daemon.submit(Kill(runs=(run,), now=False, actor_uid=0), lambda _: None)
    elif act == "raise":
        daemon.submit(Raise(run=run, given={}, resume=True, actor_uid=0), lambda _: None)
    elif act == "time":
        scene.clock.at_ns += random.choice((1, 10**9, LONGEST_PAUSE_NS))
        deliverer._changed.set()
    elif act == "turns":
        for _ in range(random.randrange(30)):
            await asyncio.sleep(0)
    elif act == "fault":
        daemon.ledger.fault = random.choice((Fault.FAIL, Fault.CRASH_BEFORE, Fault.CRASH_AFTER))
    else:
        return False
    return bool(await daemon.flush()) if random.random() < 0.7 else True


async def settle(scene: Stage, world: World) -> None:
    """Lets everything be told."""
    scene.daemon.ledger.fault = None
    await crash(scene)
    async with delivering(scene, world) as deliverer:
        for _ in range(500):
            if not any(scene.daemon.ledger.outbox(dead=False)):
                return
            scene.clock.at_ns += LONGEST_PAUSE_NS
            deliverer._changed.set()
            for _ in range(50):
                await asyncio.sleep(0)
            await scene.daemon.flush()
    raise AssertionError("something is never told")


async def crash(scene: Stage) -> None:
    """Another life, whether or not the one before has ended over a commit by now."""
    task = scene.daemon._task
    if not task.done():
        await scene.daemon.flush()  # a commit that is under way may end it by a planted fault yet
    if task.done():
        assert isinstance(task.exception(), CrashError)
    await scene.daemon.crash()


def check(scene: Stage, world: World, run: str, seed: int) -> None:
    """What was told of a run is what its journal has to tell."""
    journal = [stored.entry for stored in scene.daemon.ledger.journal(scene.account(run).number)]
    wanted = [
        (entry.seq, "killed" if isinstance(entry.event, Stopped) else "raised")
        for entry in journal
        if isinstance(entry.event, Stopped | Raised)
    ]
    assert not any(True for _ in scene.daemon.ledger.outbox(dead=True)), f"seed {seed}: one was given up"
    for target in Target:
        told = world.told[run, target]
        firsts = list(dict.fromkeys(told))
        named = [(seq, kind) for seq, kind, _ in firsts if kind in ("killed", "raised")]
        assert named == wanted, f"seed {seed}, {run}, {target.label}"
        assert len({identity for _, _, identity in firsts}) == len(firsts)
