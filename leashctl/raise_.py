"""``leashctl raise``: change a run's limits on purpose, and lift its stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leash.governance import Governance
from leashctl.options import RUN, changed_limit_options, chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from leash.client.control import ControlClient
    from leash.v1 import types_pb2

_EXAMPLES = """\b
Examples:
  leashctl raise nightly --max-cost 10
  leashctl raise nightly --max-calls 0 --deadline 2h
  leashctl raise nightly --resume    after a kill, a stall or a call that could not be metered
"""


@click.command("raise", short_help="Change a run's limits, and lift its stop.", epilog=_EXAMPLES)
@click.argument("run", type=RUN)
@changed_limit_options
@click.option("--resume", is_flag=True, help="Lift a kill, a stall or a blind stop.")
@endpoint_options
def raise_(*, run: str, resume: bool, **flags: Any) -> None:
    """Set limits of a run, and lift a stop that they caused. Limits that are not given stay as they are."""
    limits = Governance.from_flags(flags)
    if limits.is_empty() and not resume:
        raise click.UsageError("give at least one limit, or --resume")
    endpoint = chosen_endpoint()
    from leashctl.asking import ask, ask_about, full_name  # noqa: PLC0415
    from leashctl.render import limit_lines, status_name  # noqa: PLC0415

    async def change(client: ControlClient) -> types_pb2.Account:
        name = await full_name(client, run)
        return await ask_about(endpoint, client, name, client.raise_limits(name, limits.to_wire(), resume=resume))

    account = ask(endpoint, change)
    click.echo(f"{account.run} is {status_name(account)}, with the limits")
    click.echo("\n".join(limit_lines(account.limits) or ["  none"]))
