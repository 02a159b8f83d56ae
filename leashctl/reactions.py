"""``leashctl reactions``: what is still to be told outside, and what was given up."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from leash.units import format_duration
from leash.verdict import counted
from leashctl.failure import Failure
from leashctl.options import RUN, chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from leash.client.notices import NoticesClient
    from leash.v1 import control_pb2

_T = TypeVar("_T")

_EXAMPLES = """\b
Examples:
  leashctl reactions ls
  leashctl reactions ls --dead --json
  leashctl reactions retry --all
  leashctl reactions retry evt_3fa1c2 --run nightly
  leashctl reactions drop --run nightly
  leashctl reactions secret

\b
Exit code: 0; 1 where there is no such notice, or leash failed; 2 for a mistake in the command line.
"""

_COLUMNS = ["ID", "RUN", "EVENT", "REASON", "BY", "TO", "STATUS", "ATTEMPTS", "NEXT", "ERROR"]
_SHOWN_ID = 16  # characters: two of thousands of notices seldom begin with the same


@click.group("reactions", short_help="See and settle what is to be told outside.", epilog=_EXAMPLES)
def reactions() -> None:
    """See, retry and drop what webhooks and hooks have not been told yet.

    What cannot be delivered is tried for a day, and is given up then.
    """


def _filter_options(command: Any) -> Any:
    """Adds which notices are meant."""
    command = click.option("--run", type=RUN, help="Those of this run.")(command)
    return click.option("--dead", is_flag=True, help="Only those that were given up.")(command)


@reactions.command("ls", short_help="List what is still to be told.", epilog=_EXAMPLES)
@_filter_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
@endpoint_options
def list_(*, run: str | None, dead: bool, as_json: bool) -> None:
    """List what webhooks and hooks have not been told yet, and what was given up."""
    notices = _ask_each(run=run or "", dead=dead)
    if as_json:
        from leashctl.records import encode, notice_record  # noqa: PLC0415

        click.echo(encode([notice_record(notice) for notice in notices]))
        return
    if not notices:
        click.echo("nothing was given up" if dead else "everything was told")
        return
    from leashctl.render import table  # noqa: PLC0415
    from leashctl.terminal import colours, width  # noqa: PLC0415

    now_ns = time.time_ns()
    rows = [_row(notice, now_ns) for notice in notices]
    click.echo("\n".join(table(_COLUMNS, rows, width=width(), colour=colours())))


@reactions.command("retry", short_help="Try to tell at once.", epilog=_EXAMPLES)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_filter_options
@click.option("--all", "every", is_flag=True, help="Each of them.")
@endpoint_options
def retry(*, ids: tuple[str, ...], run: str | None, dead: bool, every: bool) -> None:
    """Try to tell at once what waits for its next attempt, or was given up. An ID may be cut short."""
    _check_chosen(ids, run=run, every=every)

    async def ask(client: NoticesClient) -> int:
        return await client.retry(run=run or "", ids=ids, dead=dead)

    _say_changed(_ask(ask), ids, "tried again")


@reactions.command("drop", short_help="Tell it no more.", epilog=_EXAMPLES)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_filter_options
@click.option("--all", "every", is_flag=True, help="Each of them.")
@endpoint_options
def drop(*, ids: tuple[str, ...], run: str | None, dead: bool, every: bool) -> None:
    """Take away what was not told yet, or was given up: nobody is told of it any more. An ID may be cut short."""
    _check_chosen(ids, run=run, every=every)

    async def ask(client: NoticesClient) -> int:
        return await client.drop(run=run or "", ids=ids, dead=dead)

    _say_changed(_ask(ask), ids, "dropped")


@reactions.command("secret", short_help="Show the key that signs webhooks.", epilog=_EXAMPLES)
@endpoint_options
def secret() -> None:
    """Show the daemon's own key, with which a receiver checks who has sent a webhook; it is made once."""

    async def ask(client: NoticesClient) -> str:
        return await client.webhook_secret()

    click.echo(_ask(ask))


def _check_chosen(ids: tuple[str, ...], *, run: str | None, every: bool) -> None:
    if every == bool(ids or run):
        raise click.UsageError("name what is meant by IDs or --run, or give --all")


def _say_changed(notices: int, ids: tuple[str, ...], what: str) -> None:
    if ids and not notices:
        raise Failure("there is no such notice: `leashctl reactions ls` lists them")
    click.echo(f"{counted(notices, 'notice')} {what}")


def _ask_each(*, run: str, dead: bool) -> list[control_pb2.Notice]:
    async def ask(client: NoticesClient) -> list[control_pb2.Notice]:
        return [notice async for notice in client.notices(run=run, dead=dead)]

    return _ask(ask)


def _ask(request: Callable[[NoticesClient], Awaitable[_T]]) -> _T:
    endpoint = chosen_endpoint()
    from leash.client.notices import NoticesClient  # noqa: PLC0415
    from leashctl.asking import ask_with  # noqa: PLC0415

    return ask_with(NoticesClient, endpoint, request)


def _row(notice: control_pb2.Notice, now_ns: int) -> list[str]:
    waits_ns = notice.next_attempt_at_unix_ns - now_ns
    due = "-" if notice.dead else "now" if waits_ns <= 0 else f"in {format_duration(waits_ns)}"
    return [
        notice.id[:_SHOWN_ID],
        notice.run,
        notice.event,
        notice.reason or "-",
        notice.target,
        notice.place or "-",
        "given up" if notice.dead else "waits",
        str(notice.attempts),
        due,
        notice.last_error or "-",
    ]
