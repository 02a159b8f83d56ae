"""The flags that say what is told outside of a run: a webhook, a command. ``wrap`` and ``serve`` share them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from leash.reactions import Reactions, check_secret, check_webhook, parse_command, parse_hook_timeout
from leashctl.failure import say
from leashctl.options import Flag, Parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash.client.paths import Endpoint

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DEFAULT_HOOK_TIMEOUT = "30s"
_MOST_SECRET_BYTES = 4_096

# Others may read it, as the mode has it.
_OF_OTHERS = 0o077


def reaction_options(command: _Command) -> _Command:
    """Adds what is told outside of a run that is opened."""
    options = (
        click.option(
            "--webhook",
            cls=Flag,
            type=Parsed("url", check_webhook),
            metavar="URL",
            help="Post what happens to a run there, signed; '' for nowhere any more.",
        ),
        click.option(
            "--webhook-secret-file",
            cls=Flag,
            type=click.Path(dir_okay=False),
            help="The key that signs webhooks.  [default: the daemon's own, see `leashctl reactions secret`]",
        ),
        click.option(
            "--on-event-exec",
            cls=Flag,
            type=Parsed("command", parse_command),
            metavar="COMMAND",
            help="Run this when something happens to a run, without a shell; '' for nothing any more.",
        ),
        click.option(
            "--hook-timeout",
            cls=Flag,
            type=Parsed("duration", parse_hook_timeout),
            default=_DEFAULT_HOOK_TIMEOUT,
            show_default=True,
            help="How long that may take.",
        ),
        click.option(
            "--reactions-db",
            cls=Flag,
            type=click.Path(),
            metavar="PATH",
            help="Not needed: what is still to be told is kept in the ledger.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def chosen_reactions(flags: Mapping[str, Any], endpoint: Endpoint) -> Reactions:
    """What the flags say is to be told outside. Usage errors."""
    if flags["reactions_db"]:
        say(
            "--reactions-db is not needed: what is still to be told is kept in the ledger, in the same transaction as "
            "the stop itself (`leashctl reactions ls` shows it)"
        )
    secret_file = flags["webhook_secret_file"] or ""
    if secret_file and not flags["webhook"]:
        raise click.UsageError("--webhook-secret-file goes with --webhook")
    reactions = Reactions(
        webhook=flags["webhook"],
        webhook_secret_file=_checked_secret(secret_file) if secret_file else "",
        hook=None if flags["on_event_exec"] is None else _found(flags["on_event_exec"]),
        hook_timeout=flags["hook_timeout"],
    )
    if endpoint.origin == "system" and not reactions.is_empty():
        raise click.UsageError(
            "the leashd of this host takes webhooks and hooks only from its own configuration, since it would run them "
            "with its own rights: leave --webhook and --on-event-exec out, or use a daemon of your own (--db PATH)"
        )
    return reactions


def _checked_secret(name: str) -> str:
    """The path of a file with a key, from the root on: it is read by the daemon, each time anew."""
    path = Path(name).absolute()
    try:
        with path.open("rb") as file:
            check_secret(file.read(_MOST_SECRET_BYTES).decode())
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise click.UsageError(f"--webhook-secret-file: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise click.UsageError(f"--webhook-secret-file: {path}: {error}") from error
    if mode & _OF_OTHERS:
        say(f"warning: {path} can be read by others: chmod 600 {path}")
    return str(path)


def _found(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command with its program's whole path, since it is run elsewhere and later."""
    if not command:
        return command
    program = shutil.which(command[0])
    if program is None:
        raise click.UsageError(f"--on-event-exec: {command[0]} is no program that can be run")
    return (os.path.abspath(program), *command[1:])  # noqa: PTH100 (".." goes, links stay)
