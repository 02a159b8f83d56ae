"""``leashctl kill``: stop runs for good."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from leashctl.completing import complete_live_runs
from leashctl.failure import EXIT_FAILED, Failure, say
from leashctl.options import RUN, chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from leash.client.control import ControlClient
    from leash.v1 import control_pb2

_EXAMPLES = """\b
Examples:
  leashctl kill nightly           # from its next call on
  leashctl kill nightly --now     # with the calls in flight and the whole process tree
  leashctl kill team-a/nightly    # a tenant's run; the tenant may be left out where only one has it
  leashctl kill --all

\b
Exit code: 0; 1 where a run is not known (the others are killed), or leash failed; 2 for a mistake
in the command line.
"""


@click.command(short_help="Stop runs for good.", epilog=_EXAMPLES)
@click.argument("runs", type=RUN, nargs=-1, metavar="[RUN]...", shell_complete=complete_live_runs)
@click.option("--all", "kill_all", is_flag=True, help="Every run that is not finished.")
@click.option("--now", is_flag=True, help="Abort calls in flight, and end the process tree of a wrapped program.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@endpoint_options
def kill(*, runs: tuple[str, ...], kill_all: bool, now: bool, as_json: bool) -> None:
    """Stop runs for good: the next call of each is refused, until somebody raises it with --resume."""
    if bool(runs) == kill_all:
        raise click.UsageError("name the runs to kill, or give --all")
    endpoint = chosen_endpoint()
    from leashctl.asking import ask, full_name, unknown  # noqa: PLC0415

    async def end(client: ControlClient) -> tuple[control_pb2.KillResponse, dict[str, str]]:
        names, left = [], {}
        for run in runs:
            try:
                names.append(await full_name(client, run))
            except Failure as several:
                left[run] = several.message  # the others are killed none the less
        response = await client.kill(names, all=kill_all, now=now)
        return response, left | {run: await unknown(endpoint, client, run) for run in response.unknown}

    response, left = ask(endpoint, end)
    if as_json:
        from leashctl.records import encode  # noqa: PLC0415

        already = {"already_killed": list(response.already_stopped)}
        click.echo(encode({"killed": list(response.killed)} | already | {"unknown": list(left)}))
    else:
        _tell(response, kill_all=kill_all)
    for why in left.values():
        say(why)
    if left:
        sys.exit(EXIT_FAILED)


def _tell(response: control_pb2.KillResponse, *, kill_all: bool) -> None:
    for run in response.killed:
        click.echo(f"killed {run}")
    for run in response.already_stopped:
        click.echo(f"{run} was killed already")
    if kill_all and not response.killed and not response.already_stopped:
        click.echo("no run to kill")
