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
  leashctl raise nightly --resume    # after a kill, a stall or a call that could not be metered

\b
Exit code: 0; 1 where the change is refused, there is no such run, or leash failed; 2 for a mistake
in the command line.
"""


@click.command("raise", short_help="Change a run's limits, and lift its stop.", epilog=_EXAMPLES)
@click.argument("run", type=RUN)
@changed_limit_options
@click.option("--resume", is_flag=True, help="Lift a kill, a stall or a blind stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@endpoint_options
def raise_(*, run: str, resume: bool, as_json: bool, **flags: Any) -> None:
    """Set limits of a run, and lift a stop that they caused. Limits that are not given stay as they are."""
    limits = Governance.from_flags(flags)
    if limits.is_empty() and not resume:
        raise click.UsageError("give at least one limit, or --resume")
    endpoint = chosen_endpoint()
    from leash.live.text import status_name  # noqa: PLC0415
    from leashctl.asking import ask, ask_about, full_name, ledger_of  # noqa: PLC0415
    from leashctl.render import limit_lines  # noqa: PLC0415

    async def change(client: ControlClient) -> tuple[types_pb2.Account, str]:
        name = await full_name(client, run)
        raising = client.raise_limits(name, limits.to_wire(), resume=resume)
        account = await ask_about(endpoint, client, name, raising)
        return account, await ledger_of(endpoint, client) if as_json else ""

    account, ledger = ask(endpoint, change)
    if as_json:
        from leashctl.records import encode, limits_record, run_record  # noqa: PLC0415
        from leashctl.users import user_name  # noqa: PLC0415

        record = run_record(account, owner=user_name(account.owner_uid), ledger=ledger)
        click.echo(encode(record | {"limits": limits_record(account.limits)}))
        return
    click.echo(f"{account.run} is {status_name(account)}; its limits are now")
    click.echo("\n".join(limit_lines(account.limits) or ["  none"]))
