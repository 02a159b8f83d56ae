"""A file appears whole or not at all, and nothing that is no file is replaced by one."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from leashctl.failure import Failure
from leashctl.new_file import written


def test_a_file_is_there_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "f"
    with written(str(target), replace=False) as file:
        file.write(b"half")
        assert not target.exists()
    assert target.read_bytes() == b"half"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, Failure("broken off")])
def test_what_breaks_off_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "f"
    target.write_text("before")

    def break_off() -> None:
        with written(str(target), replace=True) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):  # type: ignore[arg-type]
        break_off()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_text("before")
    with pytest.raises(Failure, match="exists already"), written(str(target), replace=False):
        pass
    with written(str(target), replace=True) as file:
        file.write(b"after")
    assert target.read_text() == "after"


def test_a_link_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "f", tmp_path / "link"
    target.write_text("before")
    link.symlink_to("f")
    with written(str(link), replace=True) as file:
        file.write(b"after")
    assert link.is_symlink()
    assert target.read_text() == "after"


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with written(str(pipe), replace=False) as file:
        file.write(b"through")
    reader.join()
    assert read == [b"through"]
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["", "nowhere/f"])
def test_where_no_file_can_be_that_is_said(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(Failure, match=r"is a directory|cannot be written: No such file"),
        written(str(tmp_path / name), replace=True),
    ):
        pass
