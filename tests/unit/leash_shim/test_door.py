from __future__ import annotations

import pytest

from leash_shim.door import Denial, OneRun, Visitor

SECRET = "5ec2e7" * 5


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        (f"/{SECRET}/openai/v1/chat/completions", "/openai/v1/chat/completions"),
        (f"/{SECRET}", "/"),
        (f"/{SECRET}/", "/"),
        (f"/{SECRET}//openai", "//openai"),
        (f"/{SECRET}/../openai", "/../openai"),
        (f"/{SECRET}/{SECRET}/openai", f"/{SECRET}/openai"),
    ],
)
def test_whoever_has_the_secret_comes_in_without_it(path: str, inside: str) -> None:
    assert OneRun("a3f9", secret=SECRET).admit(path, []) == Visitor(path=inside, run="a3f9")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "/",
            "*",
            "//",
            "/openai/v1/chat/completions",
            f"/{SECRET[:-1]}/x",
            f"/{SECRET}x/x",
            f"/{SECRET.upper()}/x",
        ),
        *(
            f"//{SECRET}/x",
            f"/x/{SECRET}/x",
            f"/x/../{SECRET}/x",
            f"/./{SECRET}/x",
            f"{SECRET}/x",
            f"/%35{SECRET[1:]}/x",
        ),
        *(f"http://127.0.0.1/{SECRET}/x", f"http:/{SECRET}/x", "/\xff\x00/x"),
    ],
)
def test_everybody_else_is_turned_away_and_counted(path: str) -> None:
    door = OneRun("a3f9", secret=SECRET)
    denial = door.admit(path, [(b"x-leash-token", SECRET.encode())])
    assert isinstance(denial, Denial)
    assert (denial.status, denial.code, denial.path) == (404, "unknown_address", "")
    assert SECRET not in denial.message
    assert door.turned_away == 1


def test_a_door_without_a_secret_is_not_made() -> None:
    with pytest.raises(ValueError, match="secret"):
        OneRun("a3f9", secret="")
