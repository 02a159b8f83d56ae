"""The command line of leashd: without a command's name it serves; the others look after a ledger that is not served."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leash.sockets import SYSTEM_LEDGER, SYSTEM_SOCKET
from leash.units import NANOSECONDS_PER_SECOND, parse_duration
from leashd import __version__
from leashd.access import ADMIN_GROUP, GROUP, AccessError
from leashd.logs import FORMATS, LEVELS, configure

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from leashd.daemon import DaemonSettings

_EXAMPLES = """\b
Examples:
  leashd --system
  leashd --system --check-config
  leashd --ledger ~/.local/state/leash/leash.db --socket /run/user/1000/leash/leashd.sock
  leashd --config leashd.toml --log-level debug
  leashd verify --ledger /var/lib/leash/leash.db
  leashd restore leash-backup.db --ledger /var/lib/leash/leash.db
"""

# What to do with a ledger that no daemon serves: the module and the command in it, imported when it is asked for.
_OFFLINE: dict[str, tuple[str, str]] = {
    "verify": ("verify_command", "verify"),
    "restore": ("restore_command", "restore"),
}

# What the group answers by itself.
_OWN_FLAGS = frozenset(("-h", "--help", "--version"))

_CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True}


class _ServesByDefault(click.Group):
    """A group whose command is ``serve`` where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts ``serve`` before flags that are not the group's own."""
        if not args and ctx.resilient_parsing:  # a shell completes what comes first: a flag of serve, or a command
            return super().parse_args(ctx, args)
        if not args or (args[0].startswith("-") and args[0] not in _OWN_FLAGS):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; an interruption exits as one, and not as a difference that was found."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(128 + signal.SIGINT)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What a shell completes first: the commands, and the flags of serving."""
        items = super().shell_complete(ctx, incomplete)
        flags = serve.shell_complete(click.Context(serve, parent=ctx), incomplete)
        return list({item.value: item for item in (*items, *flags)}.values())

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands other than the one that is implied."""
        del ctx
        return list(_OFFLINE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        del ctx
        if cmd_name == "serve":
            return serve
        if cmd_name not in _OFFLINE:
            return None
        module, name = _OFFLINE[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"leashd.{module}"), name)
        return command

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What follows the program's name."""
        del ctx
        return ["OPTIONS", "|", "COMMAND", "[ARGS]..."]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of serving, and then the commands."""
        serve.format_options(serve.make_context("leashd", [], resilient_parsing=True), formatter)
        self.format_commands(ctx, formatter)


class _Duration(click.ParamType[float]):
    """A duration such as 90s or 10m, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds that a text stands for."""
        try:
            return parse_duration(str(value)) / NANOSECONDS_PER_SECOND
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group(cls=_ServesByDefault, epilog=_EXAMPLES, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="leashd")
def main() -> None:
    """Own the ledger, decide every call, and serve shims and people on two Unix sockets.

    It runs in the foreground, logs to stderr, and is ready once its sockets answer. SIGTERM makes it commit what was
    asked and exit with 0. SIGHUP makes it read its configuration again. A flag wins over its LEASH_ variable, and both
    over the configuration file.
    """


@click.command(name="leashd", epilog=_EXAMPLES, context_settings=_CONTEXT)
@click.option(
    "--config",
    "config_path",
    envvar="LEASH_CONFIG",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file; else with --system /etc/leash/leashd.toml where it is there, else none.",
    show_default=False,
)
@click.option("--check-config", is_flag=True, help="Say whether the configuration can be used, and exit with 0 or 2.")
@click.option(
    "--ledger",
    envvar="LEASH_LEDGER",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The ledger's file.  [default with --system: {SYSTEM_LEDGER}]",
    show_default=False,
)
@click.option(
    "--socket",
    envvar="LEASH_SOCKET",
    type=click.Path(path_type=Path),
    help=f"Where shims connect.  [default with --system: {SYSTEM_SOCKET}]",
    show_default=False,
)
@click.option(
    "--control-socket",
    envvar="LEASH_CONTROL_SOCKET",
    type=click.Path(path_type=Path),
    help="Where people connect; by default control.sock beside leashd.sock, or NAME-control.sock beside NAME.sock.",
    show_default=False,
)
@click.option(
    "--idle-exit",
    envvar="LEASH_IDLE_EXIT",
    type=_Duration(),
    default="0",
    help="Leave after so long without a client; 0 stays.",
)
@click.option("--system", is_flag=True, help="Serve every user of this host, each her own runs.")
@click.option(
    "--group",
    envvar="LEASH_GROUP",
    help=f"With --system: who may open runs.  [default: {GROUP}]",
    show_default=False,
)
@click.option(
    "--admin-group",
    envvar="LEASH_ADMIN_GROUP",
    help=f"With --system: who may see, kill and raise every run.  [default: {ADMIN_GROUP}]",
    show_default=False,
)
@click.option(
    "--log-level",
    envvar="LEASH_LOG_LEVEL",
    type=click.Choice(LEVELS),
    help="Log from here.  [default: info]",
    show_default=False,
)
@click.option(
    "--log-format",
    envvar="LEASH_LOG_FORMAT",
    type=click.Choice(FORMATS),
    help="Log as this.  [default: journal where stderr is the systemd journal, else text]",
    show_default=False,
)
@click.version_option(__version__, prog_name="leashd")
def serve(*, config_path: Path | None, check_config: bool, system: bool, idle_exit: float, **flags: Any) -> None:
    """Own the ledger, decide every call, and serve."""
    from leashd.command_line import CommandLine  # noqa: PLC0415 - after --help and --version, which need none of it
    from leashd.config import ConfigError  # noqa: PLC0415

    command_line = CommandLine(config_path=config_path, system=system, idle_exit_s=idle_exit, flags=flags)
    try:
        config = command_line.config()
        if check_config:
            command_line.access(config)
            click.echo(f"{config.path}: can be used" if config.path else "no configuration file: it needs none")
            return
        settings = command_line.settings(config)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"leashd: {problem}", err=True)
        sys.exit(2)
    except AccessError as error:
        click.echo(f"leashd: {error}", err=True)
        sys.exit(2 if check_config else 1)
    _serve(settings)


def _serve(settings: DaemonSettings) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever starts it on demand may have signals blocked
    os.umask(0o077)  # the ledger is its user's own, and a socket is until it is given to others
    configure(level=settings.config.log_level or "info", log_format=settings.config.log_format)
    # gRPC's handlers of a fork are for children that use it; the daemon's are other programs.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import anyio  # noqa: PLC0415 - after --help and --version, which need none of it

    from leashd import daemon  # noqa: PLC0415
    from leashd.ledger.protocol import LedgerError  # noqa: PLC0415
    from leashd.lock import LedgerLockedError  # noqa: PLC0415

    try:
        anyio.run(daemon.serve, settings, backend_options={"use_uvloop": True})
    except (daemon.DaemonError, LedgerError, LedgerLockedError, ValueError) as error:
        click.echo(f"leashd: {error}", err=True)
        sys.exit(1)
