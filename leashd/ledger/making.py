"""How a ledger comes to be: whole or not at all, under a name that outlives a loss of power."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from leash.durable import sync
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import LedgerUnavailableError


def drop_readers(path: Path) -> None:
    """Takes LMDB's lock file away, for who knows that nobody serves the ledger: whoever reads it reads for nobody.

    An audit may have outlived its daemon by a moment. As long as it has that file open, LMDB believes what is in it of
    the newest commit, and where the ledger is another by now (a backup was restored), would take the wrong one: none.
    """
    with suppress(OSError):  # the directory is not to be written: whether the ledger is, LMDB tells
        path.with_name(f"{path.name}-lock").unlink(missing_ok=True)


def make_ledger(path: Path) -> None:
    """Makes an empty ledger where there is none. Raises LedgerError.

    LMDB by itself makes a file in two steps, and where the power goes between them, nothing opens what is left.
    """
    if path.exists() and path.stat().st_size:
        return
    made = path.with_name(f".{path.name}.new")
    try:
        made.unlink(missing_ok=True)  # left by one that was killed while it made it
        LmdbLedger(made, alone=True).close()
        made.replace(path)
        sync(path.parent)
    except OSError as error:
        raise LedgerUnavailableError(f"the ledger {path} cannot be made: {error.strerror or error}") from error
