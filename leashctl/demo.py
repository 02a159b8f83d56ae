"""``leashctl demo``: the sixty-second story, with no key and no spend."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leash.names import new_run_name
from leash.programs import command, typed
from leashctl.failure import EXIT_STOPPED, Failure
from leashctl.options import chosen_endpoint, endpoint_options, named_daemon
from leashctl.plan import listen

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from leash.client.control import ControlClient
    from leash.v1 import types_pb2

# Dollars per million tokens: a call of the fake provider's 1,000 and 500 tokens costs 2.5 cents.
_PRICES = {"demo-model": {"input": 10, "output": 30}}
_BUDGET = "0.10"
_CALLS_WITHIN_BUDGET = 4

_TOLD = """
That was a loop of ten calls at 2.5 cents each, under a budget of 10 cents. The account is durable: no restart resets
it. What to type next:
"""

_EXAMPLES = """\b
Examples:
  leashctl demo

\b
Exit code: 0 when it went as told; 1 when leash failed; 2 for a mistake in the command line.
"""


@click.command("demo", short_help="See it work in a minute: no key, no spend.", epilog=_EXAMPLES)
@endpoint_options
def demo() -> None:
    """Run a loop of ten calls to a fake provider under a budget of ten cents.

    Nothing leaves this machine, and nothing is spent.
    """
    endpoint = chosen_endpoint()
    run = f"demo-{new_run_name()}"
    with tempfile.TemporaryDirectory(prefix="leash-demo-") as name:
        directory = Path(name)
        (directory / "prices.json").write_text(json.dumps(_PRICES), encoding="utf-8")
        listener = listen()
        wrapped = _wrap_command(run, directory, listener.getsockname()[1])
        click.echo(f"$ leash --max-cost {_BUDGET} --prices prices.json -- python ten_calls.py")
        code = _run_beside_provider(wrapped, _environment(os.environ), listener)
    if code != EXIT_STOPPED:
        raise Failure(f"the demo did not go as it should: wrap ended with {code}")
    from leashctl.asking import ask  # noqa: PLC0415

    async def look(client: ControlClient) -> types_pb2.Account:
        return await client.get(run)

    account = ask(endpoint, look)
    if account.calls != _CALLS_WITHIN_BUDGET or account.reason != "cost_budget":
        raise Failure(f"the demo did not go as it should: {account.calls} calls, {account.reason}")
    click.echo(_TOLD)
    click.echo("\n".join(_next_steps(run)))


def _next_steps(run: str) -> list[str]:
    """What to type next, with what it is for."""
    program = typed("leash")
    leash = " ".join((program, *_daemon_flags()))
    steps = {
        f"{leash} ps": "every run on this host",
        f"{leash} inspect {run}": "its account, its limits, its journal",
        f"{leash} raise {run} --max-cost 1": "let it go on, on purpose",
        f"{program} --max-cost 5 --prices FILE -- python agent.py": "your own agent",
    }
    size = max(map(len, steps))
    return [f"  {command:<{size}}  {purpose}" for command, purpose in steps.items()]


def _daemon_flags() -> list[str]:
    """The flags that named the daemon, for whoever goes on with it."""
    socket, db = named_daemon()
    return [*(["--socket", socket] if socket else []), *(["--db", db] if db else [])]


def _wrap_command(run: str, directory: Path, port: int) -> list[str]:
    """The command line of the wrapped program, which is a module of leash, so that it is certain to be there."""
    return command(
        *("leashctl", "wrap", *_daemon_flags()),
        *("--run", run, "--max-cost", _BUDGET, "--prices", str(directory / "prices.json")),
        *("--upstream", f"http://127.0.0.1:{port}/v1", "--"),
        *command("leashctl.ten_calls"),
    )


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would govern the demo otherwise; which daemon is meant stays."""
    daemon = ("LEASH_SOCKET", "LEASH_DB")
    return {name: value for name, value in environ.items() if not name.startswith("LEASH_") or name in daemon}


def _run_beside_provider(wrapped: list[str], environ: dict[str, str], listener: socket.socket) -> int:
    """Runs the wrapped program with the streams of this one while the fake provider serves; returns its exit code."""
    import anyio  # noqa: PLC0415

    from leashctl.fake_provider import FakeProviderSettings, serve_fake_provider  # noqa: PLC0415

    async def run() -> int:
        shutdown = anyio.Event()
        async with anyio.create_task_group() as group:

            async def serve() -> None:
                await serve_fake_provider(FakeProviderSettings(), listener, shutdown=shutdown)

            group.start_soon(serve)
            async with await anyio.open_process(wrapped, stdin=None, stdout=None, stderr=None, env=environ) as process:
                code = await process.wait()
            shutdown.set()
        return code

    return anyio.run(run, backend_options={"use_uvloop": True})
