"""What every test of this directory runs under."""

from __future__ import annotations

import pytest

from leashd import committer, engine, working


@pytest.fixture(autouse=True)
def _daemon_in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing rides with a later commit: to wait for real time is slow, and proves no more.
    monkeypatch.setattr(committer, "RIDE_S", 0.0)
    # A seed's life must not depend on how fast the machine is.
    monkeypatch.setattr(committer, "BATCH_S", float("inf"))
    # So few that a session which is lost mostly ends over several batches.
    monkeypatch.setattr(engine, "ENDED_IN_A_BATCH", 2)
    # So few that accounts are forgotten and read again all the time.
    monkeypatch.setattr(working, "MAX_CACHED_ACCOUNTS", 2)
