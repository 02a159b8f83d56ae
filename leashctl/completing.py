"""What may stand where a person presses Tab, beyond what click knows by itself.

The rule: a completion starts no daemon, prints nothing, and is given up before anybody would wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import click
    from click.shell_completion import CompletionItem

    from leash.client.keeping import KeepingClient
    from leash.v1 import types_pb2

    Items = list[CompletionItem[str]]

# The shell completes what is there by then. A daemon that is well answers in some milliseconds.
_PATIENCE_S = 0.5
# More than a person looks through; whoever has more types another letter. The latest are proposed.
_MOST = 100

# The kind of completion that the scripts pass on to another program's own: its value is how many words of that
# program's command line stand before the one that is completed.
PROGRAM = "program"


def complete_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """The runs of the daemon that is meant, finished ones too."""

    async def collect(client: KeepingClient, accounts: list[types_pb2.Account]) -> None:
        async for account in client.each_account():
            if _is_meant(account.run, incomplete):
                accounts.append(account)  # noqa: PERF401 (what has come by the end of the patience counts)

    return _runs(ctx, param, incomplete, collect)


def complete_live_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """The runs that are not finished."""

    async def collect(client: KeepingClient, accounts: list[types_pb2.Account]) -> None:
        accounts += [account for account in await client.list() if _is_meant(account.run, incomplete)]

    return _runs(ctx, param, incomplete, collect)


def complete_unresolved_calls(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """The unresolved calls of the run that the command line names."""
    del param
    run = ctx.params.get("run")
    if not run:
        return []
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    from leash.live.text import printable  # noqa: PLC0415
    from leash.names import short_call  # noqa: PLC0415
    from leash.units import format_dollars  # noqa: PLC0415

    async def collect(client: KeepingClient, calls: list[types_pb2.UnresolvedCall]) -> None:
        from leashctl.asking import full_name  # noqa: PLC0415

        calls += (await client.get(await full_name(client, run))).unresolved

    found: list[types_pb2.UnresolvedCall] = _ask(ctx, collect)
    # The model is what the agent has written: on more than one line it would be proposals of its own to a shell.
    return [
        CompletionItem(
            short_call(call.call_id),
            help=f"{printable(call.model) or '-'}, {format_dollars(call.held_nanodollars)} held",
        )
        for call in found
        if short_call(call.call_id).startswith(incomplete)
    ]


def complete_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Whatever file the shell proposes."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    del ctx, param
    return [CompletionItem(incomplete, type="file")]


def complete_program(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """What the shell would propose for the command line of the wrapped program."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    del incomplete
    return [CompletionItem(f"{len(ctx.params.get(param.name or '') or ())}", type=PROGRAM)]


def _runs(
    ctx: click.Context,
    param: click.Parameter,
    incomplete: str,
    collect: Callable[[KeepingClient, list[types_pb2.Account]], Awaitable[None]],
) -> Items:
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    from leash.live.text import status_name  # noqa: PLC0415
    from leash.units import format_dollars  # noqa: PLC0415

    given = ctx.params.get(param.name or "")
    taken = given if param.nargs == -1 and given else ()
    accounts: list[types_pb2.Account] = _ask(ctx, collect)
    accounts.sort(key=lambda account: account.last_call_at_unix_ns or account.created_at_unix_ns, reverse=True)
    items: dict[str, CompletionItem[str]] = {}
    for account in accounts[:_MOST]:
        name = account.run if account.run.startswith(incomplete) else account.run.rpartition("/")[2]
        if name not in taken:
            spent = format_dollars(account.total_cost_nanodollars)
            items.setdefault(name, CompletionItem(name, help=f"{status_name(account)}, {spent}"))
    return list(items.values())


def _is_meant(run: str, incomplete: str) -> bool:
    """Whether a run, with its tenant or without, begins so."""
    return run.startswith(incomplete) or run.rpartition("/")[2].startswith(incomplete)


def _ask(ctx: click.Context, collect: Callable[[KeepingClient, list[Any]], Awaitable[None]]) -> list[Any]:
    """What the daemon says in time; nothing where there is none, or it has something against being asked."""
    from contextlib import suppress  # noqa: PLC0415
    from dataclasses import replace  # noqa: PLC0415

    from leash.client.probe import Reach, probe  # noqa: PLC0415
    from leashctl.failure import Failure  # noqa: PLC0415
    from leashctl.options import chosen_endpoint  # noqa: PLC0415

    try:
        with ctx.scope(cleanup=False):
            # As one that a person named: such a daemon is not started where it does not run.
            endpoint = replace(chosen_endpoint(), origin="socket")
    except Failure:
        return []
    if all(probe(socket) is not Reach.ANSWERS for socket in (endpoint.control_socket, endpoint.socket)):
        return []
    import asyncio  # noqa: PLC0415

    from leash.client.errors import ClientError  # noqa: PLC0415
    from leash.client.keeping import KeepingClient  # noqa: PLC0415

    answered: list[Any] = []

    async def ask() -> None:
        async with asyncio.timeout(_PATIENCE_S), KeepingClient(endpoint) as client:
            await collect(client, answered)

    with suppress(ClientError, Failure, TimeoutError, OSError):
        asyncio.run(ask())
    return answered  # also where it broke off
