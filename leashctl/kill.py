"""``leashctl kill``: stop runs for good."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from leashctl.failure import EXIT_FAILED, Failure, say
from leashctl.options import RUN, chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from leash.client.control import ControlClient
    from leash.v1 import control_pb2

_EXAMPLES = """\b
Examples:
  leashctl kill nightly          from its next call on
  leashctl kill nightly --now    with the calls in flight and the whole process tree
  leashctl kill team-a/nightly   a tenant's run; without the tenant where only one has it
  leashctl kill --all
"""


@click.command(short_help="Stop runs for good.", epilog=_EXAMPLES)
@click.argument("runs", type=RUN, nargs=-1, metavar="[RUN]...")
@click.option("--all", "kill_all", is_flag=True, help="Every run that is not finished.")
@click.option("--now", is_flag=True, help="Abort calls in flight, and end the process tree of a wrapped program.")
@endpoint_options
def kill(*, runs: tuple[str, ...], kill_all: bool, now: bool) -> None:
    """Stop runs for good: the next call of each is refused, until somebody raises it with --resume."""
    if bool(runs) == kill_all:
        raise click.UsageError("name the runs to kill, or give --all")
    endpoint = chosen_endpoint()
    from leashctl.asking import ask, full_name, unknown  # noqa: PLC0415

    async def end(client: ControlClient) -> tuple[control_pb2.KillResponse, list[str]]:
        names, hints = [], []
        for run in runs:
            try:
                names.append(await full_name(client, run))
            except Failure as several:
                hints.append(several.message)  # the others are killed none the less
        response = await client.kill(names, all=kill_all, now=now)
        return response, hints + [await unknown(endpoint, client, run) for run in response.unknown]

    response, hints = ask(endpoint, end)
    for run in response.killed:
        click.echo(f"killed {run}")
    for run in response.already_stopped:
        click.echo(f"{run} was killed already")
    for hint in hints:
        say(hint)
    if kill_all and not response.killed and not response.already_stopped:
        click.echo("no run to kill")
    if hints:
        sys.exit(EXIT_FAILED)
