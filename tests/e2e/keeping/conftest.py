from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.raw_daemon import Place


@pytest.fixture
def place() -> Iterator[Place]:
    # pytest's own directories are too long for a socket's name.
    created = Place(Path(tempfile.mkdtemp(prefix="lk-", dir="/tmp")).resolve())
    yield created
    created.close()
