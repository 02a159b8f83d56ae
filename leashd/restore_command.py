"""``leashd restore``: puts a backup in the place of a ledger that no daemon has open, and loses neither of the two."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leash.durable import sync

if TYPE_CHECKING:
    from leashd.audit_process import State

_CHUNK_BYTES = 1 << 20

_EXAMPLES = """\b
Examples:
  leashd restore leash-backup.db --ledger /var/lib/leash/leash.db

\b
Exit code: 0 where the backup is in place; 1 where nothing was changed; 2 for a mistake in the
command line.
"""


@click.command(
    short_help="Put a backup in the place of a ledger.",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("backup", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--ledger", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The ledger's file.")
def restore(*, backup: Path, ledger: Path) -> None:
    """Put a backup in the place of a ledger that no daemon has open.

    The backup is verified first. The ledger that was there is kept beside it under another name. What was settled
    after the backup is not in it: its budgets are as they were then.
    """
    from leash.progress import progress  # noqa: PLC0415
    from leashd.offline import OfflineError, held  # noqa: PLC0415

    ledger = ledger.resolve()
    if ledger.exists() and ledger.samefile(backup):
        raise click.UsageError(f"{backup} is the ledger itself")
    try:
        owner = (ledger if ledger.exists() else ledger.parent).stat()
        with held(ledger, owner), _copied(backup, ledger, owner) as copy, progress() as show:
            state = _verified(copy, backup, show)
            kept = _put_in_place(copy, ledger)
    except OfflineError as error:
        click.echo(f"leashd: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"leashd: {error.filename or ledger} cannot be used: {error.strerror or error}", err=True)
        sys.exit(1)
    _tell(state, backup, ledger, kept)


@contextmanager
def _copied(backup: Path, ledger: Path, owner: os.stat_result) -> Iterator[Path]:
    """A synced copy of the backup beside the ledger, so that what is verified is what takes its place."""
    from leashd.offline import give_to  # noqa: PLC0415

    prefix = f".{ledger.name}.restore-"
    for left in ledger.parent.iterdir():
        if left.name.startswith(prefix):  # by a restore that was killed: no other is at work while the lock is held
            left.unlink()
    copy = ledger.with_name(f"{prefix}{secrets.token_hex(4)}")
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with backup.open("rb") as source, open(descriptor, "wb") as target:  # noqa: PTH123 - a descriptor has no path
            shutil.copyfileobj(source, target, _CHUNK_BYTES)
            target.flush()
            os.fsync(target.fileno())
        give_to(copy, owner)
        yield copy
    finally:
        with suppress(FileNotFoundError):  # it has the ledger's name by now
            copy.unlink()


def _verified(copy: Path, backup: Path, show: Callable[[str], None]) -> State:
    """The audit of the copy. A backup of an older leash is brought to this one's schema on the way."""
    from leash.verdict import progress_line  # noqa: PLC0415
    from leashd.audit_process import State, Way, states, verdict  # noqa: PLC0415
    from leashd.offline import OfflineError  # noqa: PLC0415

    state = State()
    for state in states(copy, Way.MIGRATING):
        show(progress_line(state.runs, state.entries, state.total_entries))
    trouble = state.trouble
    if state.difference is not None:
        trouble = "\n".join(verdict(state, backup).lines())
    if trouble:
        trouble = trouble.replace(str(copy), str(backup))
        raise OfflineError(f"{backup} is not restored, and nothing was changed: {trouble}")
    return state


def _put_in_place(copy: Path, ledger: Path) -> Path | None:
    """Gives the copy the ledger's name, and the ledger that was there another one, which is returned."""
    sync(copy)  # a migration may have written it once more
    kept = None
    if ledger.exists():
        kept = _free_name(ledger.with_name(f"{ledger.name}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S}"))
        # Linked rather than renamed: at no instant is there no ledger, for which a daemon would make an empty one.
        try:
            kept.hardlink_to(ledger)
        except OSError:  # a file system without links
            shutil.copy2(ledger, kept)
            sync(kept)
    copy.replace(ledger)
    sync(ledger.parent)
    return kept


def _free_name(path: Path) -> Path:
    """The path, or one like it that nothing has."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _tell(state: State, backup: Path, ledger: Path, kept: Path | None) -> None:
    from leash.verdict import counted  # noqa: PLC0415

    at = f"{datetime.fromtimestamp(state.as_of_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"
    holds = f"{counted(state.runs, 'run')}, {counted(state.entries, 'entry')}"
    click.echo(f"restored {ledger} from {backup}: {holds}, as of {at}")
    click.echo("what was settled after that is not in it: every budget is as it was then")
    if kept is not None:
        click.echo(f"the ledger that was there is kept as {kept}")
