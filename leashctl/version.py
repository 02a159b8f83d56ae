"""``leashctl version``: which leash this is, and which daemon answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from leashctl import DISTRIBUTION
from leashctl.options import chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from leash.client.control import ControlClient
    from leash.client.paths import Endpoint
    from leash.v1 import runs_pb2

_EXAMPLES = """\b
Examples:
  leashctl version
  leashctl version --json

\b
Exit code: 0, also where no daemon runs; 1 where the daemon cannot be asked; 2 for a mistake in the
command line.
"""


def client_version() -> str:
    """The version of this program."""
    from importlib.metadata import version  # noqa: PLC0415 (as slow to import as it is seldom needed)

    return version(DISTRIBUTION)


@click.command("version", short_help="Show the versions of leash and its daemon.", epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@endpoint_options
def version(*, as_json: bool) -> None:
    """Show the versions of this program and of the daemon, which is not started for it."""
    client = client_version()
    endpoint = chosen_endpoint()
    info = _daemon(endpoint)
    if as_json:
        from leashctl.records import encode, instant  # noqa: PLC0415

        daemon = info and {
            "version": info.version,
            "protocol": info.protocol,
            "pid": info.pid,
            "ledger": info.ledger,
            "started_at": instant(info.started_at_unix_ns),
            "read_only": info.read_only,
        }
        click.echo(encode({"leashctl": client, "leashd": daemon}))
        return
    click.echo(f"leashctl {client}")
    if info is None:
        click.echo(f"leashd is not running at {endpoint.socket}")
        return
    click.echo(f"leashd {info.version} (pid {info.pid}, ledger {info.ledger})")
    if info.read_only:
        click.echo("leashd could not write its ledger the last time it tried: see its log, and the disk")


def _daemon(endpoint: Endpoint) -> runs_pb2.InfoResponse | None:
    from leash.client.probe import Reach, probe  # noqa: PLC0415

    if probe(endpoint.control_socket) is Reach.DEAD:
        return None
    from leashctl.asking import ask  # noqa: PLC0415

    async def look(client: ControlClient) -> runs_pb2.InfoResponse:
        return await client.info()

    return ask(endpoint, look)
