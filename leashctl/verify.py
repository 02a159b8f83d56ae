"""``leashctl verify``: has the daemon refold its ledger, and tells the first difference."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from leash.progress import progress
from leash.verdict import Difference, Verdict, progress_line
from leashctl.failure import EXIT_FAILED, Failure
from leashctl.options import RUN, chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from leash.client.keeping import KeepingClient
    from leash.v1 import control_pb2

_EXAMPLES = """\b
Examples:
  leashctl verify
  leashctl verify nightly
  leashctl verify --db ./project.db --json

\b
Exit code: 0 where the ledger is whole; 1 where it is not, or leash failed; 2 for a mistake in the
command line.
"""


@click.command(short_help="Refold the ledger and compare.", epilog=_EXAMPLES)
@click.argument("run", type=RUN, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@endpoint_options
def verify(*, run: str | None, as_json: bool) -> None:
    """Refold every run from its journal, or one, and compare with what the ledger says of it; calls go on meanwhile.

    Where they differ it names the first difference. For a ledger whose daemon does not start there is
    `leashd verify --ledger PATH`.
    """
    endpoint = chosen_endpoint()
    from leash.client.keeping import KeepingClient  # noqa: PLC0415
    from leashctl.asking import ask_about, ask_with, full_name, ledger_of  # noqa: PLC0415

    async def look(client: KeepingClient, show: Callable[[str], None]) -> Verdict:
        name = await full_name(client, run) if run else ""
        ledger = await ledger_of(endpoint, client)
        return await ask_about(endpoint, client, name, _verdict(client, name, ledger, show))

    with progress() as show:
        verdict = ask_with(KeepingClient, endpoint, lambda client: look(client, show))
    if as_json:
        from leashctl.records import encode  # noqa: PLC0415

        click.echo(encode(verdict.record()))
    else:
        click.echo("\n".join(verdict.lines()))
    if verdict.difference is not None:
        sys.exit(EXIT_FAILED)


async def _verdict(client: KeepingClient, run: str, ledger: str, show: Callable[[str], None]) -> Verdict:
    last: control_pb2.VerifyResponse | None = None
    async for last in client.verify(run):
        show(progress_line(last.runs, last.entries, last.total_entries))
    if last is None or not last.done:
        raise Failure("leashd ended while it verified the ledger: try again")
    found = last.difference
    difference = None
    if last.HasField("difference"):
        difference = Difference(
            what=found.what, run=found.run, seq=found.seq, stored=found.stored, refolded=found.refolded
        )
    return Verdict(ledger=ledger, runs=last.runs, entries=last.entries, difference=difference)
