"""How the daemon ends where its ledger fails it: with one sentence that says what to do, and no trace of the code."""

from __future__ import annotations

from pathlib import Path

from leashd.ledger.protocol import LedgerDamagedError, LedgerError


def ledger_failure(error: BaseException) -> LedgerError | None:
    """The ledger's own error, where that and nothing else is what a task group has ended with."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, LedgerError) else None


def farewell(error: LedgerError, ledger: Path) -> str:
    """What to say of it."""
    if not isinstance(error, LedgerDamagedError):
        return str(error)
    return (
        f"the ledger {ledger} is damaged: {error}. No call is decided on it: `leashd verify --ledger {ledger}` says "
        f"what is wrong, and `leashd restore BACKUP --ledger {ledger}` puts a backup in its place"
    )
