"""One request to the daemon from a command that then ends: connect, ask, tell what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from leash.client.control import ControlClient
from leash.client.errors import ClientError, NotFound
from leash.client.paths import group_of, known_daemons
from leash.client.probe import Reach, probe
from leashctl.failure import Failure

if TYPE_CHECKING:
    from leash.client.paths import Endpoint

_T = TypeVar("_T")
_Client = TypeVar("_Client", bound=ControlClient)

# Where a run was not found, other daemons are asked for it; a person does not wait longer for a hint.
_HINT_TIMEOUT_S = 1.0

# Runs that are proposed where several may be meant.
_SHOWN = 8


def ask(endpoint: Endpoint, request: Callable[[ControlClient], Awaitable[_T]]) -> _T:
    """Carries out one request. Raises ``Failure`` with what the daemon, or the way to it, had against it."""
    return ask_with(ControlClient, endpoint, request)


def ask_with(kind: type[_Client], endpoint: Endpoint, request: Callable[[_Client], Awaitable[_T]]) -> _T:
    """Does as ``ask``, with a client of this kind."""
    if endpoint.ledger is not None and not endpoint.ledger.exists() and probe(endpoint.socket) is Reach.DEAD:
        # To start a daemon here would only make an empty ledger.
        raise Failure(f"there is no ledger at {endpoint.ledger}: no program has run under it yet")

    async def connect_and_ask() -> _T:
        async with kind(endpoint) as client:
            return await request(client)

    try:
        return asyncio.run(connect_and_ask())
    except ClientError as error:
        raise Failure(str(error)) from error


async def ledger_of(endpoint: Endpoint, client: ControlClient) -> str:
    """The path of the daemon's ledger, which is known where the daemon was chosen by it."""
    return str(endpoint.ledger) if endpoint.ledger else (await client.info()).ledger


async def full_name(client: ControlClient, run: str) -> str:
    """The run that a person means: the one of this name, or that of the one tenant that has a run of this name.

    Raises ``Failure`` where several tenants have one.
    """
    if "/" in run:
        return run
    names = [account.run for account in await client.list(all=True, name=run)]
    # A daemon that is older than this question answers with every run.
    candidates = [name for name in names if name == run or name.endswith(f"/{run}")]
    if run in candidates or not candidates:
        return run
    if len(candidates) > 1:
        more = f" and {len(candidates) - _SHOWN} others (`leashctl ps --all`)" if len(candidates) > _SHOWN else ""
        raise Failure(f"several tenants have a run {run}: name one of {', '.join(candidates[:_SHOWN])}{more}")
    return candidates[0]


async def ask_about(endpoint: Endpoint, client: ControlClient, run: str, request: Awaitable[_T]) -> _T:
    """Awaits a request about one run; where there is no such run, says which may have been meant."""
    try:
        return await request
    except NotFound as error:
        raise Failure(await unknown(endpoint, client, run, str(error))) from error


async def unknown(endpoint: Endpoint, client: ControlClient, run: str, message: str = "") -> str:
    """What to tell about a run that the daemon does not know."""
    import difflib  # noqa: PLC0415 (for mistakes only)

    names = [account.run for account in await client.list(all=True)]
    if run in names:
        return message  # the run is known, and what was not found is a call of it
    bare = {name.rpartition("/")[2] for name in names}
    close = difflib.get_close_matches(run, {*names, *bare}, n=3)
    close = [name for name in names if name in close or name.rpartition("/")[2] in close][:_SHOWN]
    if close:
        return f"there is no run {run}: did you mean {' or '.join(close)}?"
    for other in await asyncio.gather(*map(_names, _others(endpoint))):
        if run in other[1]:
            return f"run {run} is not in this ledger but in another: add {other[0]}"
    if client.own_only:
        group = group_of(endpoint, endpoint.control_socket)
        return f"you have no run {run} (`leashctl ps --all` lists yours); those of other users are for group {group}"
    return f"there is no run {run} (`leashctl ps --all` lists them)"


def _others(endpoint: Endpoint) -> Iterable[Endpoint]:
    return (other for other in known_daemons() if other.socket != endpoint.socket)


async def _names(endpoint: Endpoint) -> tuple[str, set[str]]:
    """The flag that chooses a daemon, and the runs that it knows; none where it cannot be asked."""
    try:
        async with asyncio.timeout(_HINT_TIMEOUT_S), ControlClient(endpoint) as client:
            names = {account.run for account in await client.list(all=True)}
            return f"--db {(await client.info()).ledger}", names
    except (ClientError, TimeoutError):
        return "", set()
