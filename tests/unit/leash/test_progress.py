"""A line of progress is for a terminal alone, and is gone at the end."""

from __future__ import annotations

import io
import sys

import pytest

from leash.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_the_state_and_then_an_empty_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress() as show:
        show("1 of 3")
        show("2 of 3")  # too soon to be seen
    assert terminal.getvalue() == "\r\x1b[K1 of 3\r\x1b[K"


def test_nothing_is_cleared_where_nothing_was_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress():
        pass
    with progress(wanted=False) as show:
        show("unseen")
    assert terminal.getvalue() == ""


def test_a_file_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    with progress() as show:
        show("1 of 3")
    assert file.getvalue() == ""


def test_a_terminal_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Terminal):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    with progress() as show:
        show("1 of 3")
