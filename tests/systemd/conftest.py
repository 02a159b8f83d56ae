"""Machines with a real systemd, one for each file of tests, and each process that runs some of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systemd.machine import Machine, why_not


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine in which leash is installed, without its services until a test installs those."""
    if reason := why_not():
        pytest.skip(reason)
    booted = Machine.booted()
    yield booted
    booted.close()
