"""``leashctl ps``: every run of every daemon on this host that may be asked."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from leashctl.failure import EXIT_FAILED, say
from leashctl.options import chosen_endpoint, endpoint_options, named_daemon

if TYPE_CHECKING:
    from leash.client.paths import Endpoint
    from leash.v1 import types_pb2

# A daemon that does not answer a list in this time is stuck, and must not hold up the others.
_TIMEOUT_S = 3.0

_EXAMPLES = """\b
Examples:
  leashctl ps
  leashctl ps --all --json | jq '.[] | select(.total_cost > 1)'
  leashctl ps --db ./project.db

\b
Exit code: 0, also where there is no run; 1 where no daemon could be asked; 2 for a mistake in the
command line.
"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The runs of one daemon, with the path of its ledger; or why it could not be asked.

    ``own_only`` where it shows this user's own alone.
    """

    accounts: list[types_pb2.Account]
    ledger: str
    trouble: str = ""
    own_only: bool = False


@click.command(short_help="List the runs on this host.", epilog=_EXAMPLES)
@click.option("--all", "show_all", is_flag=True, help="Finished runs as well.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
@endpoint_options
def ps(*, show_all: bool, as_json: bool) -> None:
    """List the runs on this host: those that run, and those that were stopped or killed."""
    endpoints = _endpoints()
    fleets = _ask_all(endpoints, show_all=show_all) if endpoints else []
    for fleet in fleets:
        if fleet.trouble:
            say(fleet.trouble)
    answered = [fleet for fleet in fleets if not fleet.trouble]
    if as_json:
        _print_json(answered)
    elif any(fleet.accounts for fleet in answered):
        _print_table(answered)
    elif not fleets:
        say("no run yet: start one with `leash --max-cost 5 -- COMMAND`, or see `leashctl demo`")
    elif answered:
        whose = "no run of yours" if all(fleet.own_only for fleet in answered) else "no run"
        more = "" if show_all else " (`leashctl ps --all` lists the finished ones)"
        say(f"{whose} is running or stopped{more}")
    if fleets and not answered:
        sys.exit(EXIT_FAILED)


def _endpoints() -> list[Endpoint]:
    """The daemons to ask: the one that was named, or else all that are known. None whose ledger does not exist."""
    from leash.client.paths import known_daemons  # noqa: PLC0415

    named = any(named_daemon())
    if not named and not os.environ.get("LEASH_SOCKET") and not os.environ.get("LEASH_DB"):
        return known_daemons()
    from leash.client.probe import Reach, probe  # noqa: PLC0415

    endpoint = chosen_endpoint()
    empty = endpoint.ledger is not None and not endpoint.ledger.exists() and probe(endpoint.socket) is Reach.DEAD
    return [] if empty else [endpoint]


def _ask_all(endpoints: list[Endpoint], *, show_all: bool) -> list[Fleet]:
    import asyncio  # noqa: PLC0415

    from leash.client.control import ControlClient  # noqa: PLC0415
    from leash.client.errors import ClientError  # noqa: PLC0415

    async def ask(endpoint: Endpoint) -> Fleet:
        try:
            # A daemon that is started first has its own, longer bound.
            async with ControlClient(endpoint) as client, asyncio.timeout(_TIMEOUT_S):
                accounts = await client.list(all=show_all)
                ledger = str(endpoint.ledger) if endpoint.ledger else (await client.info()).ledger
                return Fleet(accounts, ledger, own_only=client.own_only)
        except ClientError as error:
            return Fleet([], "", str(error))
        except TimeoutError:
            return Fleet([], "", f"leashd at {endpoint.control_socket} has not answered for {_TIMEOUT_S:.0f} s")

    async def ask_each() -> list[Fleet]:
        return await asyncio.gather(*map(ask, endpoints))

    return asyncio.run(ask_each())


def _print_json(fleets: list[Fleet]) -> None:
    from leashctl.records import encode, run_record  # noqa: PLC0415
    from leashctl.users import user_name  # noqa: PLC0415

    click.echo(
        encode(
            [
                run_record(account, owner=user_name(account.owner_uid), ledger=fleet.ledger)
                for fleet in fleets
                for account in fleet.accounts
            ]
        )
    )


def _print_table(fleets: list[Fleet]) -> None:
    from leashctl.render import RUN_COLUMNS, run_row, table  # noqa: PLC0415
    from leashctl.terminal import colours, width  # noqa: PLC0415
    from leashctl.users import user_name  # noqa: PLC0415

    columns = [*RUN_COLUMNS, "COMMAND"]
    if len(fleets) > 1:
        columns[-1:] = ["OWNER", "LEDGER", "COMMAND"]
    now_ns = time.time_ns()
    rows = []
    for fleet in fleets:
        for account in fleet.accounts:
            live = None
            if account.pid:
                from leash.live.processes import ProcessGauge  # noqa: PLC0415 (only where a wrapped run is live)

                live = ProcessGauge().look_at(account.pid)
            row = run_row(account, live, now_ns=now_ns)
            if len(fleets) > 1:
                row += [user_name(account.owner_uid), fleet.ledger]
            rows.append([*row, live.command if live else "-"])
    click.echo("\n".join(table(columns, rows, width=width(), colour=colours())))
