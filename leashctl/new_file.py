"""A file that appears whole or not at all: written beside its place, synced, and only then given its name."""

from __future__ import annotations

import os
import secrets
import signal
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from leash.durable import sync
from leashctl.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD_OUTPUT = "-"


class Target(Protocol):
    """What is written into."""

    def write(self, data: bytes, /) -> object:
        """Writes all of it."""


class _Output:
    """Standard output without a buffer, which Python would wait to be rid of at its end, though nobody reads it."""

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(sys.stdout.fileno(), left) :]


@contextmanager
def written(path: str, *, replace: bool) -> Iterator[Target]:
    """Gives what to write into. On an error there is no such file, or the one that was there before.

    The file is its user's own (mode 0600). ``-`` is standard output, and a device or a pipe is written as it is.
    Raises ``Failure`` where it cannot be written, or is there already and is not to be replaced.
    """
    if path == STANDARD_OUTPUT:
        try:
            with _interrupted_at_once():
                yield _Output()
        except BrokenPipeError:
            raise  # who reads it has seen enough, and needs no message
        except OSError as error:
            raise Failure(f"the output cannot be written: {error.strerror or error}") from error
        return
    target = Path(os.path.realpath(path))  # a link stays one, and what it points to is replaced
    try:
        if _is_special(target):
            with target.open("wb") as device:
                yield device
            return
        check_free(path, replace=replace)
        with replaced(target) as file:
            yield file
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def _interrupted_at_once() -> Iterator[None]:
    """Ends a write that nobody reads with the first Ctrl-C: the event loop would only note it, and come to it never."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # it is ignored, or somebody else's
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def check_free(path: str, *, replace: bool) -> None:
    """Raises ``Failure`` for a file that is there and is not to be replaced."""
    if path != STANDARD_OUTPUT and not replace and Path(path).is_file():
        raise Failure(f"{path} exists already: name another file, or give --force to replace it")


@contextmanager
def replaced(target: Path) -> Iterator[IO[bytes]]:
    """Gives a file that takes the target's name, and the place of what has it, once it is whole. Raises OSError."""
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor has no path)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync(target.parent)


def _is_special(target: Path) -> bool:
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise Failure(f"{target} is a directory: name a file in it")
    return not stat.S_ISREG(mode)
