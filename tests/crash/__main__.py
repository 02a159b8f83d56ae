"""The crash harness by one command.

``python -m tests.crash --kills 3000 --seed 1`` plays rounds of a hundred kills, each in a world of its own with the
next seed, two at a time; ``python -m tests.crash --soak 1h --seed 1`` keeps one world going, with a kill every few
seconds, and prunes it. Exit code 1 says that the audit found something; what it was, and the command that plays that
seed again, are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shlex
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.round import Result, stop_in_order
from tests.crash.soak import soak
from tests.crash.table import Tally

ROUND_KILLS = 100
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how many kills in all (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="the first round's seed (default 1)")
    parser.add_argument("--jobs", type=int, default=2, help="rounds at a time (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what it came to")
    parser.add_argument("--soak", type=_duration, metavar="DURATION", help="one world for so long, such as 1h")
    arguments = parser.parse_args()
    started_s = time.monotonic()
    stop_in_order()
    tally = Tally()
    if arguments.soak:
        result, growth = asyncio.run(soak(str(arguments.seed), arguments.soak, say=_say))
        tally.add(result)
        print(growth)
    else:
        asyncio.run(_rounds(arguments.seed, arguments.kills, arguments.jobs, tally))
    print(tally.table())
    print(f"{tally.kills} kills in {time.monotonic() - started_s:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(tally.record()))
    for result in tally.failed:
        again = f"--soak {arguments.soak}s" if arguments.soak else f"--kills {min(arguments.kills, ROUND_KILLS)}"
        print(f"\nFAILED: seed {result.seed}, evidence in {result.directory}. Again with:")
        print(f"  python -m tests.crash {again} --seed {result.seed}")
        print("\n".join(f"  {violation}" for violation in result.violations))
    return int(bool(tally.failed))


async def _rounds(seed: int, kills: int, jobs: int, tally: Tally) -> None:
    """Plays rounds until there were so many kills."""
    counts = [min(ROUND_KILLS, kills - begun) for begun in range(0, kills, ROUND_KILLS)]
    turns = asyncio.Semaphore(jobs)

    async def play(number: int, count: int) -> None:
        async with turns:
            result = await _played(seed + number, count)
        tally.add(result)
        outcome = f"{len(result.violations)} violations" if result.violations else "clean"
        _say(f"seed {seed + number}: {len(result.kills)} kills in {result.seconds:.0f} s, {outcome}")

    async with asyncio.TaskGroup() as group:
        for number, count in enumerate(counts):
            group.create_task(play(number, count))


async def _played(seed: int, count: int) -> Result:
    """Plays one round in a process of its own, since orphans are taken in by the process and not by the task."""
    with tempfile.NamedTemporaryFile(prefix="lc-result-") as file:
        command = [sys.executable, "-m", "tests.crash.round", str(seed), str(count), file.name]
        process = await asyncio.create_subprocess_exec(*command)
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        if code:
            message = f"the harness itself failed with exit code {code}: {shlex.join(command)}"
            return Result(str(seed), (), (), (message,), {}, 0.0)
        return Result.of_json(file.read().decode())


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write it as 90s, 15m or 1h")
    return float(found[1]) * _SECONDS[found[2]]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
