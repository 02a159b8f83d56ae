"""The bugs that can be planted (``planted/``), and for each the kills that bring it out.

``python -m tests.crash.plants PLANT FILE`` plays them with the bug in place, or with none for the plant ``none``, and
writes what it came to.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.crash.killer import Killer
from tests.crash.round import play, stop_in_order
from tests.crash.world import Shape

# The step, the role that comes to it, and who is killed there.
KILLS: dict[str, list[tuple[str, str, str]]] = {
    "answered_before_commit": [("after_decision_before_commit", "leashd", "itself")] * 4,
    "settled_twice": [("after_commit_before_answer.settle", "leashd", "itself")] * 3,
    "open_calls_forgotten": [("mid_stream", "worker", "other")] * 2,
    "hold_released_early": [("mid_stream", "worker", "itself")] * 2,
}
NONE = "none"
_SHAPE = {"workers": 1, "agents": 1, "wraps": 0, "parallel": 8, "milliseconds": (150, 700), "strict": True}


def main() -> None:
    plant, file = sys.argv[1], Path(sys.argv[2])
    wanted = KILLS.get(plant) or [kill for kills in KILLS.values() for kill in kills]
    stop_in_order()

    async def script(killer: Killer) -> None:
        for kill in wanted:
            await killer.kill_at(*kill)

    shape = Shape(**_SHAPE, plant="" if plant == NONE else plant)  # type: ignore[arg-type]
    result = asyncio.run(play(plant, script, shape=shape, person_pause_s=None))
    file.write_text(result.as_json())


if __name__ == "__main__":
    main()
