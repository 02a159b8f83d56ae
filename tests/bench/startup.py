"""What wrapping costs: ``leashctl wrap -- true`` beside ``true``, with the daemon warm and cold, and ``leashctl ps``.

    python -m tests.bench.startup [--rounds 10]

Each figure is wall time of a whole process, in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from collections.abc import Callable

from tests.harness import LEASHCTL, Workspace

WRAP_TRUE = (LEASHCTL, "wrap", "--", "true")

# What is aimed at, in milliseconds on two cores.
AIM_WARM_MS = 300
AIM_COLD_MS = 1000
AIM_PS_MS = 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    workspace = Workspace.create()
    try:
        bare = measured(workspace, "true", rounds=rounds)
        workspace.run(*WRAP_TRUE)  # the daemon is up, and every module compiled
        warm = measured(workspace, *WRAP_TRUE, rounds=rounds)
        listed = measured(workspace, LEASHCTL, "ps", rounds=rounds)
        cold = measured(workspace, *WRAP_TRUE, rounds=rounds, before=workspace.stop_daemons)
    finally:
        workspace.close()
    base = statistics.median(bare)
    report("true", bare)
    report("wrap -- true, warm daemon", warm)
    report("wrap -- true, cold daemon", cold)
    report("ps", listed)
    print(f"added, warm: {statistics.median(warm) - base:.0f} ms (aim: under {AIM_WARM_MS})")
    print(f"added, cold: {statistics.median(cold) - base:.0f} ms (aim: under {AIM_COLD_MS})")
    print(f"ps:          {statistics.median(listed):.0f} ms (aim: under {AIM_PS_MS})")


def measured(workspace: Workspace, *command: str, rounds: int, before: Callable[[], None] | None = None) -> list[float]:
    """The times of a command, in milliseconds, with ``before`` run before each and not counted."""
    times = []
    for _ in range(rounds):
        if before is not None:
            before()
        started = time.perf_counter()
        subprocess.run(
            command,
            check=True,
            env=workspace.environ,
            cwd=workspace.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        times.append((time.perf_counter() - started) * 1000)
    return times


def report(name: str, times: list[float]) -> None:
    print(f"{name:<28} median {statistics.median(times):6.0f} ms   best {min(times):6.0f}   worst {max(times):6.0f}")


if __name__ == "__main__":
    main()
