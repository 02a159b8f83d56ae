"""How many connections a limit of open files is enough for."""

from __future__ import annotations

import resource

import pytest

from leash_shim.gateway.descriptors import connections_allowed

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "wanted", "allowed", "raised"),
    [
        ((1024, 1 << 20), 1000, 1000, 2064),
        ((4096, 4096), 1000, 1000, None),
        ((1024, 1024), 1000, 480, None),
        ((256, 1024), 1000, 480, 1024),
        ((1024, INFINITE), 1000, 1000, 2064),
        ((INFINITE, INFINITE), 1000, 1000, None),
        ((1024, INFINITE), 0, 0, 65536),
        ((1024, 1024), 0, 480, None),
        ((16, 16), 1000, 1, None),
    ],
)
def test_the_limit_is_raised_as_far_as_it_has_to_be(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], wanted: int, allowed: int, raised: int | None
) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limit: set_to.append(limit))
    assert connections_allowed(wanted) == allowed
    assert set_to == ([] if raised is None else [(raised, limits[1])])
