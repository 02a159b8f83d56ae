"""``leashctl backup``: a consistent copy of a ledger that is in use."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from leash.progress import progress
from leashctl.completing import complete_file
from leashctl.failure import Failure, say
from leashctl.new_file import STANDARD_OUTPUT, Target, check_free, written
from leashctl.options import chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from leash.client.keeping import KeepingClient

_KILOBYTE = 1_000
_MEGABYTE = 1_000_000

_EXAMPLES = """\b
Examples:
  leashctl backup leash-backup.db
  leashctl backup - | zstd > leash-backup.db.zst
  leashd verify --ledger leash-backup.db

\b
Exit code: 0 where the copy is whole; 1 where there is none; 2 for a mistake in the command line.
"""


@click.command(short_help="Copy a ledger that is in use.", epilog=_EXAMPLES)
@click.argument("file", shell_complete=complete_file)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@endpoint_options
def backup(*, file: str, force: bool) -> None:
    """Copy the ledger to FILE, or to standard output where that is -, as it is at this moment; calls go on meanwhile.

    FILE appears once it is whole, readable for you alone. It is a ledger itself: `leashd verify` checks it,
    `leashctl restore` puts it back.
    """
    endpoint = chosen_endpoint()
    if file == STANDARD_OUTPUT and sys.stdout.isatty():
        raise click.UsageError("a ledger is nothing for a terminal: name a file, or redirect the output")
    check_free(file, replace=force)
    from leash.client.keeping import KeepingClient  # noqa: PLC0415
    from leashctl.asking import ask_with  # noqa: PLC0415

    with written(file, replace=force) as target, progress() as show:
        copied_bytes = ask_with(KeepingClient, endpoint, lambda client: _copy(client, target, show))
    if file != STANDARD_OUTPUT:
        say(f"{file} is a copy of the ledger, of {_size(copied_bytes)}")


async def _copy(client: KeepingClient, target: Target, show: Callable[[str], None]) -> int:
    copied_bytes = 0
    async for piece in client.backup():
        target.write(piece.data)
        copied_bytes += len(piece.data)
        show(f"{_size(copied_bytes)} of at most {_size(piece.total_bytes)} copied")
    if not copied_bytes:
        raise Failure("leashd sent nothing: try again")
    return copied_bytes


def _size(size_bytes: int) -> str:
    if size_bytes < _MEGABYTE:
        return f"{size_bytes / _KILOBYTE:.0f} kB"
    return f"{size_bytes / _MEGABYTE:.1f} MB"
