"""The soak: one world that is kept going under load, killed every few seconds and pruned, and what it grows to.

The rules: half of the time the daemon, the gateway and its oldest worker are spared, since what leaks shows only in a
process that lives. A journal that is pruned cannot be audited later, so that each prune comes right after an export,
of which what is new is kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests.crash.killer import Killer
from tests.crash.person import Person
from tests.crash.round import Result, export, play
from tests.crash.world import Shape, Stuck, World

KILL_PAUSE_S = (2.0, 5.0)
PRUNE_PAUSE_S = 20.0
PRUNE_OLDER_THAN = "30s"
SAMPLE_PAUSE_S = 10.0
PHASE_S = 300.0  # half of it everything is killed, and half of it only what is not spared
SHAPE = Shape(workers=3, agents=2, wraps=1, parallel=6, names=8, gateway_flags=("--run-idle", "5s"))

_LEVEL = 1.25  # how much more the last quarter may have than the second one, beside what comes and goes with the load
_SLACK = {"rss_mb": 10.0, "descriptors": 30.0, "ledger_mb": 4.0}
_LEAST_SAMPLES = 16
_MB = 1 << 20


@dataclass(slots=True)
class Growth:
    """Samples of what may grow: by role and figure, in order of time."""

    samples: dict[str, list[float]] = field(default_factory=dict)

    def take(self, world: World) -> dict[str, float]:
        """Samples the oldest process of each role."""
        now: dict[str, float] = {}
        for role in ("leashd", "gateway", "worker"):
            if pids := world.pids(role):
                with suppress(OSError):
                    pages = int(Path(f"/proc/{pids[0]}/statm").read_text().split()[1])
                    now[f"{role} rss_mb"] = pages * os.sysconf("SC_PAGESIZE") / _MB
                    now[f"{role} descriptors"] = sum(1 for _ in Path(f"/proc/{pids[0]}/fd").iterdir())
        with suppress(OSError):
            now["ledger_mb"] = (world.root / "ledger.db").stat().st_blocks * 512 / _MB
        for name, figure in now.items():
            self.samples.setdefault(name, []).append(figure)
        return now

    def rising(self) -> tuple[str, ...]:
        """What has not levelled off: the last quarter of its samples stands above the second one."""
        rising = []
        for name, samples in self.samples.items():
            _, early, _, late = _quarters(samples)
            if len(samples) >= _LEAST_SAMPLES and late > early * _LEVEL + _SLACK[name.split()[-1]]:
                rising.append(f"{name} has not levelled off: {early:.1f} in the second quarter, {late:.1f} in the last")
        return tuple(rising)

    def __str__(self) -> str:
        rows = [f"{'figure (medians)':24}{'first':>9}{'q1':>9}{'q2':>9}{'q3':>9}{'q4':>9}{'most':>9}"]
        for name, samples in sorted(self.samples.items()):
            cells = (samples[0], *_quarters(samples), max(samples))
            rows.append(f"{name:24}" + "".join(f"{cell:9.1f}" for cell in cells))
        return "\n".join((*rows, *(self.rising() or ("everything has levelled off",))))


def _quarters(samples: list[float]) -> tuple[float, float, float, float]:
    """The medians of the quarters."""
    ends = [len(samples) * quarter // 4 for quarter in range(5)]
    first, second, third, fourth = (median(samples[a:b] or samples) for a, b in pairwise(ends))
    return first, second, third, fourth


async def soak(seed: str, seconds: float, *, say: Callable[[str], None]) -> tuple[Result, Growth]:
    """Soaks for so long; what does not level off is a violation like any other."""
    growth = Growth()

    async def script(killer: Killer) -> None:
        begun_s = time.monotonic()
        half_s = min(PHASE_S, seconds / 2) / 2

        def spared() -> frozenset[int]:
            calm = int((time.monotonic() - begun_s) / half_s) % 2
            return frozenset(_elders(killer.world)) if calm else frozenset()

        killer.spared = spared
        tasks = [asyncio.create_task(_prune(killer, say)), asyncio.create_task(_sample(killer.world, growth))]
        try:
            await killer.kill_until(begun_s + seconds, pause_s=KILL_PAUSE_S)
        finally:
            for task in tasks:
                task.cancel()
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(error, Exception):
                    raise error

    result = await play(seed, script, shape=SHAPE, say=say, keep=True)
    result = replace(result, violations=result.violations + growth.rising())
    if not result.violations:
        shutil.rmtree(result.directory)
        result = replace(result, directory="")
    return result, growth


def _elders(world: World) -> list[int]:
    return [*world.pids("leashd", "gateway"), *world.pids("worker")[:1]]


async def _sample(world: World, growth: Growth) -> None:
    with (world.root / "growth.jsonl").open("a") as file:
        while True:
            await asyncio.sleep(SAMPLE_PAUSE_S)
            file.write(json.dumps({"at": time.time(), **growth.take(world)}) + "\n")
            file.flush()


async def _prune(killer: Killer, say: Callable[[str], None]) -> None:
    """Puts the runs in order, exports, and prunes, again and again."""
    world = killer.world
    person = Person(world, killer.random)
    known: Counter[str] = Counter()  # the last entry that was kept, by run
    while True:
        await asyncio.sleep(PRUNE_PAUSE_S)
        await person.put_in_order()
        try:
            await export(world, "export.jsonl")
        except Stuck as stuck:
            say(str(stuck))  # a daemon that is just being killed; without an export there is no prune either
            continue
        _keep(world.root, known)
        code, out, errors = await world.leashctl("prune", "--older-than", PRUNE_OLDER_THAN)
        say(out.decode().strip() if code == 0 else f"leashctl prune: {errors.strip()}")


def _keep(root: Path, known: Counter[str]) -> None:
    """Adds to the journal that the auditor reads what an export has beyond it."""
    with (root / "journal-before.jsonl").open("a") as journal, (root / "export.jsonl").open() as exported:
        for line in exported:
            record = json.loads(line)
            if record["type"] == "entry" and record["seq"] > known[record["run"]]:
                known[record["run"]] = record["seq"]
                journal.write(line)
