from __future__ import annotations

import pytest

from leash import protocol
from leash.protocol import common_protocol, mismatch


@pytest.fixture(autouse=True)
def _speaks_three_to_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "OLDEST_PROTOCOL", 3)
    monkeypatch.setattr(protocol, "NEWEST_PROTOCOL", 5)


@pytest.mark.parametrize(
    ("oldest", "newest", "common"),
    [(5, 5, 5), (3, 3, 3), (4, 9, 5), (1, 4, 4), (1, 9, 5), (5, 6, 5), (6, 6, None), (6, 9, None), (1, 2, None)],
)
def test_the_newest_that_both_speak(oldest: int, newest: int, common: int | None) -> None:
    assert common_protocol(oldest, newest) == common


def test_an_older_client_is_told_to_upgrade_and_a_newer_one_to_replace_the_daemon() -> None:
    older = mismatch(client="0.1", oldest=1, newest=2, daemon="0.5", pid=7)
    assert older == (
        "leashd 0.5 (pid 7) speaks protocols 3 to 5, and this leash 0.1 speaks protocols 1 to 2: upgrade this leash, "
        "which is the older one"
    )
    newer = mismatch(client="0.9", oldest=6, newest=6, daemon="0.5", pid=7)
    assert "speaks protocol 6: leashd is the older one. Upgrade it, and `kill 7`" in newer
