"""``leashctl inspect``: one run's account, limits and journal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from leashctl.options import RUN, chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from leash.client.control import ControlClient
    from leash.v1 import types_pb2

# A screenful; the whole journal of a long run is asked for on purpose.
_SHOWN_ENTRIES = 20

_EXAMPLES = """\b
Examples:
  leashctl inspect nightly
  leashctl inspect nightly --entries 0
  leashctl inspect nightly --json | jq '.entries[] | select(.kind == "settled") | .cost'

\b
Exit code: 0; 1 where there is no such run, or leash failed; 2 for a mistake in the command line.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("run", type=RUN)
@click.option(
    "--entries",
    type=click.IntRange(min=0),
    default=None,
    help=f"Show the last so many journal entries, 0 for all.  [default: {_SHOWN_ENTRIES}; all with --json]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@endpoint_options
def inspect(*, run: str, entries: int | None, as_json: bool) -> None:
    """Show a run's account, limits and journal."""
    endpoint = chosen_endpoint()
    from leashctl.asking import ask, ask_about, full_name, ledger_of  # noqa: PLC0415
    from leashctl.users import user_name  # noqa: PLC0415

    most = entries if entries is not None else 0 if as_json else _SHOWN_ENTRIES

    async def look(client: ControlClient) -> tuple[types_pb2.Account, list[types_pb2.Entry], str]:
        name = await full_name(client, run)
        account = await ask_about(endpoint, client, name, client.get(name))
        after_seq = max(account.entries - most, 0) if most else 0
        return account, await client.journal(name, after_seq=after_seq), await ledger_of(endpoint, client)

    account, journal, ledger = ask(endpoint, look)
    owner = user_name(account.owner_uid)
    if as_json:
        from leashctl.records import encode, inspected_record  # noqa: PLC0415

        click.echo(encode(inspected_record(account, journal, owner=owner, ledger=ledger)))
        return
    click.echo("\n".join(_page(account, journal, owner=owner, ledger=ledger)))


def _page(account: types_pb2.Account, journal: list[types_pb2.Entry], *, owner: str, ledger: str) -> list[str]:
    from leashctl.render import (  # noqa: PLC0415
        ENTRY_COLUMNS,
        UNRESOLVED_COLUMNS,
        account_lines,
        entry_row,
        limit_lines,
        table,
        unresolved_row,
    )
    from leashctl.terminal import width  # noqa: PLC0415

    now_ns = time.time_ns()
    lines = account_lines(account, ledger=ledger, owner=owner, now_ns=now_ns)
    lines += ["", "limits", *(limit_lines(account.limits) or ["  none"])]
    if account.unresolved:
        rows = [unresolved_row(call, now_ns=now_ns) for call in account.unresolved]
        lines += ["", f"unresolved: close each with `leashctl resolve {account.run} CALL --cost X | --release`"]
        lines += [f"  {line}" for line in table(UNRESOLVED_COLUMNS, rows)]
    shown = f"the last {len(journal)} of {account.entries} entries" if len(journal) < account.entries else "all entries"
    rows = [entry_row(entry, at=_local_time(entry.at_unix_ns), actor=_actor(entry)) for entry in journal]
    lines += ["", f"journal: {shown}"]
    lines += [f"  {line}" for line in table(ENTRY_COLUMNS, rows, width=max(width() - 2, 0))]
    return lines


def _actor(entry: types_pb2.Entry) -> str:
    from leashctl.users import user_name  # noqa: PLC0415

    return user_name(entry.actor_uid) if entry.HasField("actor_uid") else ""


def _local_time(unix_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_ns // 10**9))
