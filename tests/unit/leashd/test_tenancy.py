"""Runs by user: what a bare name stands for, and which runs a user may name."""

from __future__ import annotations

import pytest

from leashd.tenancy import OtherTenantError, RunNames, tenant_of


@pytest.mark.parametrize(
    ("uid", "name", "tenant"),
    [
        (1000, "alice", "alice"),
        (1000, "alice.b-c_d", "alice.b-c_d"),
        (1000, "", "uid-1000"),
        (1000, "EXAMPLE\\alice", "uid-1000"),
        (1000, "alice@example.com", "uid-1000"),
        (1000, "_apt", "uid-1000"),
        (1000, "a/b", "uid-1000"),
        (1000, "x" * 119, "uid-1000"),
        (1000, "uid-1001", "uid-1000"),
        (1000, "uid-", "uid-1000"),
        (1000, "uid", "uid"),
    ],
)
def test_a_user_is_a_tenant_by_name_and_no_user_is_anothers(uid: int, name: str, tenant: str) -> None:
    assert tenant_of(uid, name) == tenant


def test_a_users_own_daemon_takes_names_as_they_are() -> None:
    names = RunNames()
    names.opened("r")
    for name in ("r", "team/r", ""):
        assert names.full(name) == names.shown(name) == name


def test_a_bare_name_is_of_the_users_tenant_and_is_shown_as_it_was_given() -> None:
    names = RunNames("alice", every_tenant=False)
    assert names.full("r") == "alice/r"
    names.opened("r")
    assert names.shown("alice/r") == "r"
    assert names.shown("alice/s") == "alice/s"
    names.opened("alice/r")
    assert names.shown("alice/r") == "alice/r"
    names.opened("r")
    names.closed("r")
    assert names.shown("alice/r") == "alice/r"


@pytest.mark.parametrize("name", ["bob/r", "alic/r", "alice2/r", "/r", "Alice/r"])
def test_a_user_may_not_name_a_run_of_another_tenant(name: str) -> None:
    names = RunNames("alice", every_tenant=False)
    assert names.full("alice/r") == "alice/r"
    with pytest.raises(OtherTenantError, match="alice"):
        names.full(name)
    assert RunNames("alice", every_tenant=True).full(name) == name
