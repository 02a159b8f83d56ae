from __future__ import annotations

import re

import pytest

from leash.names import check_run_name, new_run_name, short_call


@pytest.mark.parametrize("name", ["a", "0", "a3f9", "nightly-2026.01_02", "A" * 118, "alice/nightly", "a/" + "b" * 118])
def test_a_well_formed_name_is_returned(name: str) -> None:
    assert check_run_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", ".a", "_a", "a b", "a\n", "a/b/c", "/a", "a/", "../a", "a/.b", "é", "A" * 119, "a/" + "b" * 119, "٣"],
)
def test_a_malformed_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ValueError, match="up to 118 letters, digits, dots, dashes and underscores"):
        check_run_name(name)


def test_an_error_does_not_repeat_a_whole_file() -> None:
    with pytest.raises(ValueError, match="no name for a run") as error:
        check_run_name("?" * 100_000)
    assert len(str(error.value)) < 400


def test_new_names_are_eight_hex_digits_and_differ() -> None:
    names = {new_run_name() for _ in range(200)}
    assert len(names) == 200
    assert all(re.fullmatch("[0-9a-f]{8}", name) and check_run_name(name) for name in names)


def test_a_call_is_shown_by_its_first_eight_digits() -> None:
    assert short_call(bytes.fromhex("0123456789abcdef0123456789abcdef")) == "01234567"
