"""What people do to runs meanwhile, by the commands that they have: kill, raise, resolve, and prune."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from tests.crash.world import World

RESOLVED_AT_ONCE = 3  # calls of one run


@dataclass(slots=True)
class Person:
    """Somebody who looks at the runs now and then, and does something about one of them."""

    world: World
    random: Random
    done: Counter[str] = field(default_factory=Counter)

    async def live(self, pause_s: tuple[float, float]) -> None:
        """Goes on until it is cancelled. A daemon that is being killed answers nothing, which is no matter."""
        while True:
            await asyncio.sleep(self.random.uniform(*pause_s))
            await self.act()

    async def act(self) -> None:
        code, out, _ = await self.world.leashctl("ps", "--all", "--json")
        if code:
            return
        runs = sorted(json.loads(out, parse_float=Decimal), key=lambda run: str(run["run"]))
        acts = {
            "kill": [run for run in runs if run["status"] == "running"],
            "raise": [run for run in runs if run["status"] in ("stopped", "killed")],
            "resolve": [run for run in runs if run["unresolved_calls"]],
        }
        for act in self.random.sample(sorted(acts), len(acts)):
            if acts[act]:
                await getattr(self, f"_{act}")(self.random.choice(acts[act]))
                return

    async def put_in_order(self) -> None:
        """Resolves every unresolved call, so that its run can be pruned, and raises every run that was stopped."""
        program = Path(__file__).with_name("caretaker.py")
        code, _, _ = await self.world.run(sys.executable, str(program), str(self.random.random()))
        self.done["put in order" if code == 0 else "put in order in vain"] += 1

    async def _kill(self, run: dict[str, Any]) -> None:
        await self._do("kill", run["run"], *self.random.choice(((), ("--now",))))

    async def _raise(self, run: dict[str, Any]) -> None:
        cost = f"{Decimal(run['max_cost']) * 2 or Decimal(1):f}"
        flags = ["--resume"] if run["status"] == "killed" else []
        await self._do("raise", run["run"], *flags, "--max-cost", cost, "--max-calls", str(run["max_calls"] * 2))

    async def _resolve(self, run: dict[str, Any]) -> None:
        code, out, _ = await self.world.leashctl("inspect", run["run"], "--json")
        if code:
            return
        for call in json.loads(out, parse_float=Decimal)["unresolved"][:RESOLVED_AT_ONCE]:
            part = self.random.choice((0, 1, 3))
            cost = f"{Decimal(call['held_cost']) * part / 3:.9f}"
            word = ("--cost", cost) if part else ("--release",)
            await self._do("resolve", run["run"], call["call"], *word)

    async def _do(self, act: str, run: str, *arguments: str) -> None:
        code, _, _ = await self.world.leashctl(act, run, *arguments)
        self.done[act if code == 0 else f"{act} in vain"] += 1
