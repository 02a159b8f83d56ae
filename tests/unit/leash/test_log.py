"""What leash logs at which level, and what of the libraries under it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from leash.log import configure

NAMES = ("", "leash", "leash_shim", "leashctl")


@contextmanager
def configured(level: str, log_format: str = "text") -> Iterator[None]:
    """Logging as a program has it that says so at its start."""
    root = logging.getLogger()
    handlers, raises = root.handlers[:], logging.raiseExceptions
    levels = {name: logging.getLogger(name).level for name in NAMES}
    root.handlers.clear()
    try:
        configure(level=level, log_format=log_format)
        yield
    finally:
        root.handlers[:] = handlers
        logging.raiseExceptions = raises
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


@pytest.mark.parametrize("level", ["debug", "info", "warning"])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_libraries_tell_no_more_than_their_warnings(
    capsys: pytest.CaptureFixture[str], level: str, log_format: str
) -> None:
    with configured(level, log_format):
        logging.getLogger("hpack.hpack").debug("Decoded %s", (b"x-leash-token", b"a-secret"))
        logging.getLogger("hpack.hpack").info("a-secret")
        logging.getLogger("hpack.hpack").warning("odd")
        for name in ("leash_shim.flow", "leash.client.session", "leashctl.governed"):
            assert logging.getLogger(name).getEffectiveLevel() == logging.getLevelNamesMapping()[level.upper()]

    said = capsys.readouterr().err
    assert "a-secret" not in said
    assert "odd" in said


def test_a_level_above_a_warning_is_for_all() -> None:
    with configured("error"):
        for name in ("hpack", "leash_shim.flow"):
            assert logging.getLogger(name).getEffectiveLevel() == logging.ERROR
