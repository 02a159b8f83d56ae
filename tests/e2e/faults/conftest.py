"""What every test of a fault may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.faults.site import Site
from tests.harness import Workspace


@pytest.fixture
def site(workspace: Workspace) -> Iterator[Site]:
    """A place for a daemon, a gateway and a provider, which the workspace ends."""
    created = Site(workspace)
    yield created
    created.close()
