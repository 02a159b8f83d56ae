"""Which run a person means by a name."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from leashctl.asking import full_name
from leashctl.failure import Failure


class People:
    """A daemon's answers: the runs that it names for a bare name."""

    def __init__(self, *runs: str) -> None:
        self.runs = runs
        self.asked: list[dict[str, Any]] = []

    async def list(self, **request: Any) -> list[SimpleNamespace]:
        self.asked.append(request)
        return [SimpleNamespace(run=run) for run in self.runs]


def meant(name: str, *runs: str) -> str:
    client: Any = People(*runs)
    found = asyncio.run(full_name(client, name))
    assert client.asked == ([] if "/" in name else [{"all": True, "name": name}])
    return found


@pytest.mark.parametrize(
    ("name", "runs", "run"),
    [
        ("r", ["a/r"], "a/r"),
        ("r", ["a/r", "b/r", "r"], "r"),
        ("r", [], "r"),
        ("a/r", ["a/r"], "a/r"),
        # A daemon that is older than the question names every run.
        ("r", ["a/s", "a/r", "a/x-r", "r2"], "a/r"),
    ],
)
def test_a_name_is_the_run_of_that_name_or_of_the_one_tenant_that_has_it(name: str, runs: list[str], run: str) -> None:
    assert meant(name, *runs) == run


def test_several_tenants_runs_are_told_apart_by_who_asks() -> None:
    with pytest.raises(Failure, match=r"^several tenants have a run r: name one of a/r, b/r$"):
        meant("r", "a/r", "b/r")


def test_of_very_many_some_are_named() -> None:
    with pytest.raises(Failure, match=r"t-0/r, .*, t-7/r and 92 others \(`leashctl ps --all`\)$"):
        meant("r", *(f"t-{number}/r" for number in range(100)))
