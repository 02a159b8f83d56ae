"""Kills: which process, at which step, in an order that the seed decides; and the account of what was hit.

A step is armed by a file, which the first process that comes to it takes away; it then stands still until it is
answered here. What is armed and not reached in time is taken back, and counts for nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.crash.world import Stuck, World, until

SHIMS = ("worker", "wrap")
_REACH_S = 3.0  # after which a step is given up; under load most are reached in some milliseconds
_ATTEMPTS = 8  # at a kill that is asked for
_RECOVERED_S = 20.0  # the same for a step of a recovery, which comes when a daemon has been started
_FIRST_S = 0.6  # after which any shim will do; the one that was meant may just be starting
_LOAD_S = 90.0  # for calls to be under way again after everything was killed
_LATE_S = 0.5  # for what a process has to tell that has taken a file away
_HELD_S = 2.6  # how long a shim stands still after a new daemon has begun to count the grace, which is 2 s
_SERVED_S = 8.0  # less than clients wait for each other when they start a daemon
_RANDOM_S = 0.25  # a kill at a random moment waits for less than this
SAID_EVERY = 10  # kills
ENOUGH_OPEN = 2  # calls at the provider before a kill is tried


@dataclass(frozen=True, slots=True)
class Target:
    """A step of a role, and how often it comes up."""

    step: str
    role: str
    weight: int = 1
    recovers: bool = False  # it is reached only after a daemon, or a shim, was killed
    held: bool = False  # the shim stands still until a daemon that was killed meanwhile has given it up

    @property
    def name(self) -> str:
        """The named step that it belongs to."""
        return self.step.partition(".")[0]


TARGETS = (
    *(Target("before_reserve_sent", role, 2) for role in SHIMS),
    *(Target("before_forwarding", role, 2) for role in SHIMS),
    *(Target("mid_stream", role, 2) for role in SHIMS),
    *(Target("after_last_byte_before_settle", role, 2) for role in SHIMS),
    *(Target("during_settle.sent", role) for role in SHIMS),
    Target("during_settle.decided", "leashd", 2),
    Target("after_decision_before_commit", "leashd", 3),
    Target("after_commit_before_answer", "leashd", 3),
    Target("after_commit_before_answer.settle", "leashd", 2),
    Target("during_recovery.starting", "leashd", recovers=True),
    Target("during_recovery.resuming", "leashd", recovers=True),
    Target("during_recovery.ending", "leashd", recovers=True),
    Target("during_recovery.hello", "worker", recovers=True),
    Target("during_recovery.welcome", "worker", recovers=True),
    Target("during_recovery.hello", "wrap", recovers=True),
    *(Target(step, role, held=True) for step, role in (("before_forwarding", "worker"), ("mid_stream", "wrap"))),
    Target("random", ""),
)
STEPS = tuple(dict.fromkeys(target.name for target in TARGETS))

# Whom a kill hits: the process at the step, the other side of it, or more than that.
_VICTIMS = {"itself": 10, "other": 4, "agent": 4, "gateway": 1, "all": 1}


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill that was carried out."""

    step: str
    victim: str
    pids: tuple[int, ...]
    in_flight: int
    at: int


@dataclass(slots=True)
class _Reached:
    step: str
    pid: int
    role: str
    go_on: Callable[[], None]


@dataclass(slots=True)
class Killer:
    """The controller of one world."""

    world: World
    random: Random
    kills: list[Kill] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    say: Callable[[str], None] = lambda _: None
    spared: Callable[[], frozenset[int]] = frozenset  # pids that are not killed for now
    _reached: asyncio.Queue[_Reached] = field(default_factory=asyncio.Queue)
    _recovered: int = 0  # the daemon that has taken up its ledger last
    _deck: list[Target] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hears what the processes say, for as long as it is entered."""
        server = await asyncio.start_unix_server(self._hear, self.world.root / "controller")
        try:
            yield
        finally:
            server.close()

    async def kill_some(self, count: int) -> None:
        """Carries out so many kills. Raises ``Stuck`` where the world does not come back."""
        wanted = len(self.kills) + count
        while len(self.kills) < wanted:
            await self._kill_next()

    async def kill_until(self, until_s: float, *, pause_s: tuple[float, float]) -> None:
        """Kills until then, with pauses. Raises as ``kill_some`` does."""
        while time.monotonic() < until_s:
            await asyncio.sleep(self.random.uniform(*pause_s))
            await self._kill_next()

    async def _kill_next(self) -> None:
        target = self._drawn()
        if (target.recovers or target.held) and self.spared():
            return
        await self._calls_open()
        await self._kill_at(target, self._victim())

    async def kill_at(self, step: str, role: str, victim: str = "itself") -> bool:
        """One kill, at a step and of a victim that are given; whether the step was reached, in several attempts."""
        before = len(self.kills)
        target = next(target for target in TARGETS if (target.step, target.role) == (step, role))
        for _ in range(_ATTEMPTS):
            await self._calls_open()
            await self._kill_at(target, victim)
            if len(self.kills) > before:
                return True
        return False

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told = json.loads(await reader.readline() or b"{}")

        def go_on() -> None:
            with suppress(OSError):
                writer.write(b"go on\n")
                writer.close()

        if told.get("event") == "step":
            self._reached.put_nowait(_Reached(told["step"], told["pid"], told["role"], go_on))
            return
        if told.get("event") == "started":
            self.world.came(told["pid"], told["role"])
        elif told.get("event") == "recovered":
            self._recovered = told["pid"]
        go_on()

    async def _calls_open(self) -> None:
        """Waits until what was killed is there again, with calls under way."""

        def loaded() -> bool:
            self.world.revive()
            return self.world.in_flight() >= ENOUGH_OPEN and bool(self.world.pids("leashd"))

        await until(loaded, "calls are under way again", timeout_s=_LOAD_S)

    def _drawn(self) -> Target:
        if not self._deck:
            self._deck = [target for target in TARGETS for _ in range(target.weight)]
            self.random.shuffle(self._deck)
        return self._deck.pop()

    def _victim(self) -> str:
        return self.random.choices(list(_VICTIMS), list(_VICTIMS.values()))[0]

    async def _kill_at(self, target: Target, victim: str) -> None:
        if target.step == "random":
            await asyncio.sleep(self.random.random() * _RANDOM_S)
            self._kill(target.step, self.random.choice((*SHIMS, "leashd", "agent", "gateway", "all")), None)
            return
        while not self._reached.empty():
            self._reached.get_nowait().go_on()  # one that came too late for its kill
        armed = [self._armed(target.step, target.role)]
        armed[0].touch()
        if target.recovers:
            await self._bring_about(target)
        reached = await self._awaited(armed, target)
        if reached is None:
            self._miss(target, "not reached")
            return
        # While a daemon starts, the calls may all have ended that were open when the one before was killed.
        if not self.world.in_flight() and not target.recovers:
            self._miss(target, "no call open")
            reached.go_on()
            return
        self._kill(reached.step, "other" if target.held else victim, reached)
        if target.held:
            await self._given_up()
        reached.go_on()

    def _miss(self, target: Target, why: str) -> None:
        """Puts a target back: its turn comes again, so that each step gets its share on a slow machine as well."""
        self.missed.append(f"{target.step}@{target.role}: {why}")
        self._deck.insert(self.random.randint(0, len(self._deck)), target)

    async def _bring_about(self, target: Target) -> None:
        """A recovery begins with a kill of its own, which counts as one at a random moment."""
        if target.step == "during_recovery.ending":
            # It is the daemon that stays, and a shim whose calls it gives up.
            self._kill("random", self.random.choice(SHIMS), None)
        else:
            self._kill("random", "leashd", None)
        self.world.revive()

    async def _given_up(self) -> None:
        """Waits until another daemon has given up what belongs to a shim that stands still."""

        def served() -> bool:
            return self._recovered in self.world.pids("leashd")

        # One that stands still while it has the lock for starting a daemon keeps everybody else from it, so that there
        # may be none before it goes on.
        with suppress(Stuck):
            await until(served, "another daemon serves", timeout_s=_SERVED_S)
            await asyncio.sleep(_HELD_S)

    def _armed(self, step: str, role: str) -> Path:
        return self.world.root / "armed" / f"{step}@{role}"

    async def _awaited(self, armed: list[Path], target: Target) -> _Reached | None:
        """The process that has come to the step that is armed; None where none has in time."""
        if (reached := await self._next(_FIRST_S)) is None:
            if target.role in SHIMS:
                armed += [self._armed(target.step, role) for role in SHIMS if role != target.role]
                armed[-1].touch()
            reached = await self._next(_RECOVERED_S if target.recovers else _REACH_S)
        taken = 0
        for path in armed:
            try:
                path.unlink()
            except FileNotFoundError:
                taken += 1
        if taken > (reached is not None):
            # It was taken just now, so that it is told at once; or by one that was killed before it could tell.
            late = await self._next(_LATE_S)
            if reached is not None and late is not None:
                late.go_on()
            reached = reached or late
        return reached

    async def _next(self, timeout_s: float) -> _Reached | None:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._reached.get()
        except TimeoutError:
            return None

    def _kill(self, step: str, victim: str, reached: _Reached | None) -> None:
        """Kills, without another look at anything in between."""
        world = self.world
        spared = self.spared()
        pids = [pid for pid in self._pids(victim, reached) if pid not in spared]
        if spared and (not pids or victim in ("gateway", "all")):
            victim, pids = "agent", self._pids("agent", reached)
        if not pids:
            self.missed.append(f"{step}: no {victim}")
            return
        in_flight, at = world.in_flight(), time.time_ns()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kills.append(Kill(step, self._named(victim, reached), tuple(pids), in_flight, at))
        if len(self.kills) % SAID_EVERY == 0:
            self.say(f"{len(self.kills)} kills, the last of {self.kills[-1].victim} at {step}")

    def _pids(self, victim: str, reached: _Reached | None) -> list[int]:
        pids = self.world.pids
        if victim == "all":
            return pids("leashd", "gateway", "worker", "wrap", "agent")
        if victim == "gateway":
            return pids("gateway", "worker")
        if victim == "itself":
            assert reached is not None
            return [reached.pid]
        if victim == "other":
            assert reached is not None
            victim = self.random.choice(SHIMS) if reached.role == "leashd" else "leashd"
        found = pids(victim)
        return [found[-1] if victim == "leashd" else self.random.choice(found)] if found else []

    @staticmethod
    def _named(victim: str, reached: _Reached | None) -> str:
        if victim in ("itself", "other"):
            assert reached is not None
            is_daemon = (reached.role == "leashd") == (victim == "itself")
            return "leashd" if is_daemon else "shim"
        return "shim" if victim in SHIMS or victim == "gateway" else victim
