"""``leashctl resolve``: close a call whose outcome at the provider is not known, by a person's word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from leash.names import short_call
from leash.units import format_exact_dollars
from leashctl.completing import complete_unresolved_calls
from leashctl.options import DOLLARS, RUN, Parsed, chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from leash.client.control import ControlClient
    from leash.v1 import control_pb2

_EXAMPLES = """\b
Examples:
  leashctl inspect nightly                         # lists the unresolved calls
  leashctl resolve nightly 3fa1c2d4 --cost 0.12
  leashctl resolve nightly 3fa1c2d4 --release      # it never reached the provider

\b
Exit code: 0; 1 where there is no such call, or leash failed; 2 for a mistake in the command line.
"""


def _parse_call(text: str) -> bytes:
    """The bytes of a call's id, or of its beginning. Raises ``ValueError``."""
    try:
        prefix = bytes.fromhex(text)
    except ValueError:
        prefix = b""
    if not 1 <= len(prefix) <= 16:
        raise ValueError(f"{text!r} is no call: give an even number of the hex digits that its id begins with")
    return prefix


@click.command(short_help="Close a call whose outcome is not known.", epilog=_EXAMPLES)
@click.argument("run", type=RUN)
@click.argument("call", type=Parsed("call", _parse_call), shell_complete=complete_unresolved_calls)
@click.option("--cost", type=DOLLARS, help="What the provider charged for it.")
@click.option("--release", is_flag=True, help="It cost nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@endpoint_options
def resolve(*, run: str, call: bytes, cost: int | None, release: bool, as_json: bool) -> None:
    """Close an unresolved call, so that its hold no longer counts against the budget."""
    if (cost is None) != release:
        raise click.UsageError("give either --cost or --release")
    endpoint = chosen_endpoint()
    from leashctl.asking import ask, ask_about, full_name  # noqa: PLC0415

    async def close(client: ControlClient) -> control_pb2.ResolveResponse:
        name = await full_name(client, run)
        return await ask_about(endpoint, client, name, client.resolve(name, call, cost))

    response = ask(endpoint, close)
    account = response.account
    if as_json:
        from leash.units import dollars_number  # noqa: PLC0415
        from leashctl.records import encode  # noqa: PLC0415

        outcome_record = {"cost": dollars_number(cost or 0), "released": release}
        left_record = {"unresolved_calls": account.unresolved_calls}
        click.echo(encode({"run": account.run, "call": response.call_id.hex()} | outcome_record | left_record))
        return
    outcome = "released" if cost is None else f"resolved at {format_exact_dollars(cost)}"
    left = f"{account.unresolved_calls} unresolved left" if account.unresolved_calls else "none is left unresolved"
    click.echo(f"call {short_call(response.call_id)} of {account.run} {outcome}, {left}")
