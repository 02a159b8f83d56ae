"""``leashctl prune``: makes a ledger smaller, and forgets no dollar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from leash.progress import progress
from leash.verdict import counted
from leashctl.failure import Failure
from leashctl.options import DURATION, chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from leash.client.keeping import KeepingClient
    from leash.v1 import control_pb2

_EXAMPLES = """\b
Examples:
  leashctl prune --older-than 90d --dry-run
  leashctl export > journal.jsonl && leashctl prune --older-than 90d

\b
Exit code: 0; 1 when leash failed; 2 for a mistake in the command line.
"""


@click.command(short_help="Drop the entries of runs long finished.", epilog=_EXAMPLES)
@click.option("--older-than", type=DURATION, required=True, help="Since a run's last entry, such as 90d.")
@click.option("--dry-run", is_flag=True, help="Count what would go, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@endpoint_options
def prune(*, older_than: int, dry_run: bool, as_json: bool) -> None:
    """Replace the entries of runs that finished long ago by one checkpoint each.

    A run keeps its name, its totals, its limits and its stop, and can be opened again. What it did call by call is
    gone: `leashctl export` keeps it. The room is used for new entries; the file itself shrinks by a backup that is
    restored.
    """
    endpoint = chosen_endpoint()
    from leash.client.keeping import KeepingClient  # noqa: PLC0415
    from leashctl.asking import ask_with  # noqa: PLC0415

    with progress() as show:
        last = ask_with(KeepingClient, endpoint, lambda client: _prune(client, older_than, dry_run, show))
    if as_json:
        from leashctl.records import encode  # noqa: PLC0415

        figures = {"runs_seen": last.runs_seen, "runs_pruned": last.runs_pruned}
        click.echo(encode({"dry_run": dry_run} | figures | {"entries_removed": last.entries_removed}))
        return
    what = "would be pruned" if dry_run else "pruned"
    click.echo(
        f"{last.runs_pruned} of {counted(last.runs_seen, 'run')} {what}: {counted(last.entries_removed, 'entry')}"
    )


async def _prune(
    client: KeepingClient,
    older_than: int,
    dry_run: bool,
    show: Callable[[str], None],
) -> control_pb2.PruneResponse:
    last: control_pb2.PruneResponse | None = None
    async for last in client.prune(older_than, dry_run=dry_run):
        show(f"{last.runs_seen} runs seen, {last.runs_pruned} pruned")
    if last is None or not last.done:
        raise Failure("leashd ended while it pruned the ledger: what it had pruned stays so, try again for the rest")
    return last
