"""The commands by name. A command's module is imported when it is asked for, so that start-up stays small."""

from __future__ import annotations

import importlib
import signal
from typing import TYPE_CHECKING, Any

import click

from leashctl import DISTRIBUTION
from leashctl.completing import PROGRAM
from leashctl.options import endpoint_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# What each command is: its module and the command in it. In the order in which they are listed.
_COMMANDS: dict[str, tuple[str, str]] = {
    "wrap": ("wrap", "wrap"),
    "serve": ("serve", "serve"),
    "ps": ("ps", "ps"),
    "inspect": ("inspect", "inspect"),
    "top": ("top", "top"),
    "watch": ("watch", "watch"),
    "report": ("report", "report"),
    "kill": ("kill", "kill"),
    "raise": ("raise_", "raise_"),
    "resolve": ("resolve", "resolve"),
    "verify": ("verify", "verify"),
    "export": ("export", "export"),
    "backup": ("backup", "backup"),
    "restore": ("restore", "restore"),
    "prune": ("prune", "prune"),
    "reactions": ("reactions", "reactions"),
    "prices": ("prices", "prices"),
    "demo": ("demo", "demo"),
    "fake-provider": ("fake_provider_command", "fake_provider"),
    "gen-token": ("gen_token", "gen_token"),
    "healthcheck": ("healthcheck", "healthcheck"),
    "install-systemd": ("install_systemd", "install_systemd"),
    "completion": ("completion", "completion"),
    "version": ("version", "version"),
}

# What the group answers by itself.
_OWN_FLAGS = frozenset(("-h", "--help", "--version"))

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

_EXAMPLES = """\b
Examples:
  leashctl demo
  leashctl wrap --max-cost 5 -- python agent.py
  leashctl serve --auth-token-file tokens --max-cost 20
  leashctl ps
  leashctl top

\b
Exit codes: 0 when it is done, 1 when leash failed or what was asked for is not there, 2 for a mistake in
the command line. `wrap` ends as its program does, or with 3 when the run was stopped. Each command's help
has its own.
"""

_ALIAS_EXAMPLES = """\b
Examples:
  leash demo
  leash --max-cost 5 -- python agent.py    # `leash wrap --help` lists the flags
  leash ps

\b
Exit codes: those of the command; `leash wrap --help` has those of a wrapped program.
"""


class Commands(click.Group):
    """A group whose commands are imported late, and whose failures are one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"leashctl.{module}"), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; an interruption exits as one."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(128 + signal.SIGINT)


class Alias(Commands):
    """The same with ``wrap`` implied: what begins with no command of its own is a program to wrap, or its flags."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts ``wrap`` before arguments that name no command."""
        position = _after_own_options(args)
        first = args[position] if position < len(args) else ""
        if first and first not in _COMMANDS and first not in _OWN_FLAGS:
            args = [*args[:position], "wrap", *args[position:]]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What the group completes, and what ``wrap`` would: its flags, or a program."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 (only where Tab was pressed)

        items = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            wrap = self.get_command(ctx, "wrap")
            assert wrap is not None, "it is listed"
            flags = wrap.shell_complete(click.Context(wrap, parent=ctx, info_name="wrap"), incomplete)
            return list({item.value: item for item in (*items, *flags)}.values())
        return items or [CompletionItem("0", type=PROGRAM)]


def _after_own_options(args: list[str]) -> int:
    """Where the options that stand before a command end."""
    position = 0
    while position < len(args) and args[position].partition("=")[0] in ("--socket", "--db"):
        position += 1 if "=" in args[position] else 2
    return position


@click.group(cls=Commands, context_settings=_CONTEXT, epilog=_EXAMPLES)
@endpoint_options
@click.version_option(package_name=DISTRIBUTION, message="%(prog)s %(version)s")
def leashctl() -> None:
    """Govern what AI agents spend: a budget for each run, kept across any crash."""


@click.group(cls=Alias, context_settings=_CONTEXT, epilog=_ALIAS_EXAMPLES)
@endpoint_options
@click.version_option(package_name=DISTRIBUTION, message="%(prog)s %(version)s")
def leash() -> None:
    """Govern what AI agents spend: `leash [FLAGS] -- COMMAND…` runs a program under a budget."""
