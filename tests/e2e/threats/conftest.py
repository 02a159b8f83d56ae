"""Both doors, opened once for a file of attacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.threats.doors import DOORS, Door


@pytest.fixture(scope="module", params=DOORS)
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """The port of a wrapped program, and a gateway."""
    with DOORS[request.param]() as opened:
        yield opened
