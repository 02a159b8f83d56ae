"""One daemon, one provider and one set of environments for all clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sdk.measuring import Bench


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    with Bench.open() as opened:
        yield opened
