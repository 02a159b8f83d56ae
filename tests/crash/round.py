"""One round: a world of its own, so many kills, the load ended in order, and the audit of what is left.

``python -m tests.crash.round SEED KILLS FILE`` plays one, and writes what it came to as JSON.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from tests.crash.auditor import Evidence, audit
from tests.crash.killer import Kill, Killer
from tests.crash.person import Person
from tests.crash.world import Shape, Stuck, World

PERSON_PAUSE_S = (1.5, 4.0)
SETTLED_S = 60.0  # for the calls of what was killed to be given up: the daemon's grace is two seconds
_PARENT_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG
_LOG_BYTES = 2_000  # of a process's errors that are shown


@dataclass(frozen=True, slots=True)
class Result:
    """What a round came to."""

    seed: str
    kills: tuple[Kill, ...]
    missed: tuple[str, ...]
    violations: tuple[str, ...]
    figures: dict[str, int]
    seconds: float
    directory: str = ""  # kept where there is something to look at

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> Result:
        record: dict[str, Any] = json.loads(text)
        kills = tuple(Kill(**{**kill, "pids": tuple(kill["pids"])}) for kill in record["kills"])
        return cls(**{
            **record,
            "kills": kills,
            "missed": tuple(record["missed"]),
            "violations": tuple(record["violations"]),
        })  # fmt: skip


Script = Callable[[Killer], Awaitable[None]]


def shape_of(seed: str) -> Shape:
    """The world that a seed has."""
    return Shape(strict=Random(f"{seed}/shape").random() < 0.5)


async def play(
    seed: str,
    script: Script,
    *,
    shape: Shape | None = None,
    person_pause_s: tuple[float, float] | None = PERSON_PAUSE_S,
    say: Callable[[str], None] = lambda _: None,
    keep: bool = False,
) -> Result:
    """Plays one round by a script of kills; violations are what the audit finds, and what did not come back."""
    started_s = time.monotonic()
    world = World.create(seed, shape or shape_of(seed))
    killer = Killer(world, Random(f"{seed}/kills"), say=say)
    person = Person(world, Random(f"{seed}/person"))
    violations: tuple[str, ...] = ()
    figures: dict[str, int] = {}
    try:
        async with killer.listening():
            people = asyncio.create_task(person.live(person_pause_s)) if person_pause_s else None
            try:
                world.start()
                await script(killer)
            finally:
                if people is not None:
                    people.cancel()
                    with suppress(asyncio.CancelledError):
                        await people
            violations = await settle_down(world)
        (world.root / "kills.jsonl").write_text("".join(f"{json.dumps(asdict(kill))}\n" for kill in killer.kills))
        found = audit(Evidence.read(world.root))
        violations, figures = found.violations + violations, dict(found.figures)
    except Stuck as stuck:
        violations = (*violations, f"{stuck}; {last_words(world.root)}")
    finally:
        keep = keep or bool(violations)
        world.close(keep=keep)
    figures |= {f"person: {act}": count for act, count in person.done.items()}
    directory = str(world.root) if keep else ""
    seconds = time.monotonic() - started_s
    return Result(seed, tuple(killer.kills), tuple(killer.missed), violations, figures, seconds, directory)


async def settle_down(world: World) -> tuple[str, ...]:
    """Ends the load in order, waits for what was killed to be given up, and exports the ledger.

    Returns what leash's own audit finds.
    """
    await world.end_load()
    deadline_s = time.monotonic() + SETTLED_S
    while time.monotonic() < deadline_s:
        code, out, _ = await world.leashctl("ps", "--all", "--json")
        if code == 0 and not any(run["open_calls"] or run["status"] == "running" for run in json.loads(out)):
            break
        await asyncio.sleep(0.2)
    # Calls that are open still are for the audit to name.
    await export(world, "journal.jsonl")
    code, out, errors = await world.leashctl("verify")
    return () if code == 0 else (f"leashctl verify: {out.decode()}{errors}",)


async def export(world: World, name: str) -> None:
    """Writes the journal and the accounts. Raises ``Stuck`` where that fails."""
    code, _, errors = await world.leashctl("export", "--output", str(world.root / name))
    if code:
        raise Stuck(f"leashctl export: {errors}")


def last_words(root: Path) -> str:
    """What the processes of a world have said last."""
    paths = (path for path in sorted([*root.glob("*.err"), *root.glob("ledger*.log")]) if path.stat().st_size)
    return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-_LOG_BYTES:]}" for path in paths)


def some_kills(count: int) -> Script:
    """The script of an ordinary round."""

    async def script(killer: Killer) -> None:
        await killer.kill_some(count)

    return script


def stop_in_order() -> None:
    """Has this process end its world when it is told to end, and when its parent has gone."""

    def stop(_number: int, _frame: object) -> NoReturn:
        # Whoever ends a group of processes ends this one twice, of which the second would cut the ending short.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)


def main() -> None:
    seed, count, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    stop_in_order()

    def say(line: str) -> None:
        print(f"seed {seed}: {line}", file=sys.stderr, flush=True)

    result = asyncio.run(play(seed, some_kills(count), say=say))
    file.write_text(result.as_json())


if __name__ == "__main__":
    main()
