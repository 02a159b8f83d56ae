"""What every test of this directory runs under."""

from __future__ import annotations

import pytest

from leashd import committer, working


@pytest.fixture(autouse=True)
def _daemon_in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing rides with a later commit: to wait for real time is slow, and proves no more.
    monkeypatch.setattr(committer, "RIDE_S", 0.0)
    # So few that accounts are forgotten and read again all the time.
    monkeypatch.setattr(working, "MAX_CACHED_ACCOUNTS", 2)
