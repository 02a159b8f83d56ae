"""The six invariants over random lives of the real engine, committer and ledger.

Each test's id is its seed: run it again by its id, or by LEASH_PROPERTY_SEED. LEASH_PROPERTY_EXAMPLES sets how many
seeds each kind of world gets, LEASH_PROPERTY_STEPS how long each lives.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.property.life import Life
from tests.property.profiles import PROFILES
from tests.property.seeds import STEPS, seeds
from tests.property.world import World


@pytest.mark.anyio
@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("profile", PROFILES)
async def test_every_invariant_holds_in_a_random_life(tmp_path: Path, profile: str, seed: int) -> None:
    world = World(tmp_path, seed, PROFILES[profile])
    try:
        await Life(world).live(STEPS)
    except BaseException as error:
        error.add_note(f"seed {seed} of {profile!r}; what happened:\n" + "\n".join(world.story))
        raise
    finally:
        await world.daemon.close()
