"""A ledger in the hands of a command, while no daemon may open it; whatever is made beside it stays its owner's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leashd.lock import LedgerLock, LedgerLockedError


class OfflineError(Exception):
    """The command cannot have the ledger; the message says what to do."""


@contextmanager
def taken(ledger: Path) -> Iterator[None]:
    """Holds the daemon's lock on a ledger that exists. Raises OfflineError."""
    if not ledger.is_file():
        raise OfflineError(f"there is no ledger at {ledger}")
    with held(ledger, ledger.stat()):
        yield


@contextmanager
def held(ledger: Path, owner: os.stat_result) -> Iterator[None]:
    """Holds the daemon's lock on a ledger, which need not exist, and leaves nothing behind that was not there."""
    is_new = not lock_path(ledger).exists()
    try:
        lock = LedgerLock(ledger)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise OfflineError(f"{ledger} cannot be used: {error.strerror or error}") from error
        yield  # nothing on a read-only file system can be open for writing
        return
    try:
        lock.acquire()
    except LedgerLockedError as error:
        lock.release(remove=False)
        raise OfflineError(
            f"a leashd (pid {error.pid}) has {ledger} open: `leashctl verify` asks it, and for a restore it has to end"
        ) from error
    try:
        if is_new:
            give_to(lock_path(ledger), owner)
        yield
    finally:
        lock.release(remove=is_new)


def lock_path(ledger: Path) -> Path:
    """The file of the daemon's lock."""
    return ledger.with_name(f"{ledger.name}.pid")


def give_to(path: Path, owner: os.stat_result) -> None:
    """Makes a file that an administrator's command has made belong to the owner of the ledger."""
    if os.geteuid() == 0 and (owner.st_uid, owner.st_gid) != (0, 0):
        # Not through a link, which the owner of the directory may have put there meanwhile.
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
