from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.leashd.desk import Desk, Shim


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """An engine over a new ledger."""
    created = Desk(tmp_path / "leash.db")
    yield created
    created.ledger.close()


@pytest.fixture
def shim(desk: Desk) -> Shim:
    """A shim session that has the run ``r`` open, without limits."""
    shim = desk.session()
    shim.open()
    return shim
