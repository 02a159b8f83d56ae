from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from leashd.core.reactions import Reactions
from leashd.reactions.table import READERS, distrust


def read(**table: Any) -> Reactions:
    return Reactions(**{READERS[key][0]: READERS[key][1](value) for key, value in table.items()})


def test_what_a_table_says() -> None:
    assert read(webhook="https://host/x", webhook_secret_file="/etc/leash/key", hook_timeout="5s") == Reactions(
        webhook="https://host/x", webhook_secret_file="/etc/leash/key", hook_timeout_ns=5 * 10**9
    )
    assert read(on_event_exec="/bin/tell 'a b'").hook == ("/bin/tell", "a b")
    assert read(on_event_exec=["/bin/tell", "a b"]).hook == ("/bin/tell", "a b")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("webhook", ""), ("webhook", 5), ("webhook", "ftp://x"), ("webhook_secret_file", "relative"),
        ("on_event_exec", ""), ("on_event_exec", "relative"), ("on_event_exec", [1]), ("on_event_exec", []),
        ("hook_timeout", "0"), ("hook_timeout", "2h"), ("hook_timeout", 5),
    ],
)  # fmt: skip
def test_what_it_may_not_say(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read(**{key: value})


def test_a_file_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    directory = tmp_path / "etc"
    directory.mkdir(mode=0o755)
    file = directory / "leashd.toml"
    file.touch(mode=0o644)
    assert distrust(file) == ""
    file.chmod(0o664)
    assert "can be written by others" in distrust(file)
    file.chmod(0o644)
    directory.chmod(0o777)
    assert f"chmod go-w {directory}" in distrust(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "leashd.toml"
    file.touch(mode=0o644)
    os.chown(file, 12345, -1)

    assert "belongs to uid 12345" in distrust(file)
