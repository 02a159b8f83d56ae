"""``leashctl report``: a page of what a run spent, or all runs since a time; one file that needs no network."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from leash.progress import progress
from leash.units import NANOSECONDS_PER_SECOND, format_duration
from leashctl.failure import Failure, say
from leashctl.new_file import STANDARD_OUTPUT, written
from leashctl.options import DURATION, RUN, chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from leash.client.keeping import KeepingClient
    from leash.client.paths import Endpoint
    from leash.v1 import types_pb2
    from leashctl.reporting.figures import Figures

_DEFAULT_SINCE = "7d"

# Entries in memory at a time: some 2 MB.
_PAGE = 2_048

# About so many bars are drawn, each of one of these widths.
_BARS = 60
_WIDTHS_S = (60, 300, 600, 1_800, 3_600, 3 * 3_600, 6 * 3_600, 86_400, 7 * 86_400, 30 * 86_400)

_EXAMPLES = """\b
Examples:
  leashctl report nightly
  leashctl report --since 7d --output week.html
  leashctl report nightly --output - > nightly.html

\b
Exit code: 0 when it is written; 1 where there is no such run, or it could not be; 2 for a mistake in the command line.
"""


@click.command(short_help="Write a page of what was spent.", epilog=_EXAMPLES)
@click.argument("run", type=RUN, required=False)
@click.option(
    "--since",
    type=DURATION,
    metavar="DURATION",
    help="What was spent so long ago or later.  [default: 7d; a run, all of it]",
)
@click.option(
    "--output",
    "-o",
    default="",
    metavar="FILE",
    help="Write to this file, - for standard output.  [default: leash-report.html, leash-report-RUN.html]",
)
@endpoint_options
def report(*, run: str | None, since: int | None, output: str) -> None:
    """Write a page of what a run spent: over time, by model, by kind of token, its dearest and slowest calls.

    Without a run it is about every run of this host that spent anything in the time. The page is one file, with no
    script in it, and asks for nothing from elsewhere.
    """
    made_at_ns = time.time_ns()
    if since == 0:
        raise click.UsageError("--since 0 leaves nothing to report: write it as 24h or 7d")
    since_ns = made_at_ns - since if since else 0
    name = output or f"leash-report{'-' + run.replace('/', '-') if run else ''}.html"
    with progress(wanted=name != STANDARD_OUTPUT) as show:
        page = _run_page(run, since_ns, made_at_ns, show) if run else _host_page(since, made_at_ns, show)
    with written(name, replace=True) as file:
        file.write(page.encode())
    if name != STANDARD_OUTPUT:
        click.echo(name)


def _run_page(run: str, since_ns: int, made_at_ns: int, show: Callable[[str], None]) -> str:
    endpoint = chosen_endpoint()
    from leash.client.keeping import KeepingClient  # noqa: PLC0415
    from leashctl.asking import ask_about, ask_with, full_name  # noqa: PLC0415
    from leashctl.reporting.figures import Figures  # noqa: PLC0415
    from leashctl.reporting.page import run_page  # noqa: PLC0415
    from leashctl.users import user_name  # noqa: PLC0415

    figures = Figures(since_ns=since_ns, bucket_ns=NANOSECONDS_PER_SECOND)

    async def read(client: KeepingClient) -> tuple[types_pb2.Account, str]:
        name = await full_name(client, run)
        account = await ask_about(endpoint, client, name, client.get(name))
        await _take(client, account, figures, account.run, show)
        return account, (await client.info()).ledger

    account, ledger = ask_with(KeepingClient, endpoint, read)
    return run_page(account, figures, owner=user_name(account.owner_uid), ledger=ledger, made_at_ns=made_at_ns)


def _host_page(since: int | None, made_at_ns: int, show: Callable[[str], None]) -> str:
    from leash.client.errors import ClientError  # noqa: PLC0415
    from leash.client.keeping import KeepingClient  # noqa: PLC0415
    from leash.units import parse_duration  # noqa: PLC0415
    from leashctl.asking import ask_with  # noqa: PLC0415
    from leashctl.daemons import daemons_to_follow  # noqa: PLC0415
    from leashctl.reporting.figures import Figures  # noqa: PLC0415
    from leashctl.reporting.page import host_page  # noqa: PLC0415
    from leashctl.users import user_name  # noqa: PLC0415

    duration_ns = since or parse_duration(_DEFAULT_SINCE)
    since_ns = made_at_ns - duration_ns
    figures = Figures(since_ns=since_ns, bucket_ns=_bucket_ns(duration_ns))
    accounts: dict[str, types_pb2.Account] = {}
    owners: dict[str, str] = {}

    async def read(client: KeepingClient, prefix: str) -> None:
        async for account in client.each_account():
            if max(account.last_call_at_unix_ns, account.created_at_unix_ns) < since_ns:
                continue
            name = f"{prefix}{account.run}"
            accounts[name], owners[name] = account, user_name(account.owner_uid)
            await _take(client, account, figures, name, show)

    endpoints = daemons_to_follow()()
    answered = 0
    for endpoint in endpoints:
        # Two ledgers may have runs of one name.
        prefix = f"{_ledger_of(endpoint)}:" if len(endpoints) > 1 else ""
        try:
            ask_with(KeepingClient, endpoint, lambda client, prefix=prefix: read(client, prefix))  # type: ignore[misc]
            answered += 1
        except (Failure, ClientError) as error:
            say(error.message if isinstance(error, Failure) else str(error))
    if not answered:
        raise Failure("no daemon could be asked: there is nothing to report")
    return host_page(
        figures, accounts, since=f"the last {format_duration(duration_ns)}", made_at_ns=made_at_ns, owners=owners
    )


def _ledger_of(endpoint: Endpoint) -> str:
    return endpoint.ledger.stem if endpoint.ledger else endpoint.socket.parent.name


async def _take(
    client: KeepingClient, account: types_pb2.Account, figures: Figures, name: str, show: Callable[[str], None]
) -> None:
    """Reads a run's journal into the figures, as far as it is about the time in question."""
    after = await _before(client, account, figures.since_ns)
    count = 0
    async for page in _pages(client, account, after):
        for entry in page:
            figures.take(name, entry)
        count += len(page)
        show(f"{name}: {count} entries read")
    figures.end_run()


async def _before(client: KeepingClient, account: types_pb2.Account, since_ns: int) -> int:
    """The sequence of an entry before the first one of the time, by halves: a long journal is not read for its end."""
    low, high = 0, account.entries
    if not since_ns or account.created_at_unix_ns >= since_ns:
        return 0
    while high - low > _PAGE // 2:
        middle = (low + high) // 2
        found = await client.journal(account.run, after_seq=middle, limit=1)
        if not found or found[0].at_unix_ns >= since_ns:
            high = middle
        else:
            low = middle
    return low


async def _pages(client: KeepingClient, account: types_pb2.Account, after: int) -> AsyncIterator[list[types_pb2.Entry]]:
    while after < account.entries:
        page = await client.journal(account.run, after_seq=after, limit=_PAGE)
        if not page:
            return
        yield page
        after = page[-1].seq


def _bucket_ns(duration_ns: int) -> int:
    wanted_s = duration_ns / NANOSECONDS_PER_SECOND / _BARS
    return next((width for width in _WIDTHS_S if width >= wanted_s), _WIDTHS_S[-1]) * NANOSECONDS_PER_SECOND
