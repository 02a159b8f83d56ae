"""The command line of leashd: without a command's name it serves; the others look after a ledger that is not served."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from leash.sockets import control_socket_for
from leash.units import NANOSECONDS_PER_SECOND, parse_duration
from leashd import __version__
from leashd.access import ADMIN_GROUP, GROUP, USER_ACCESS, AccessError, system_access
from leashd.logs import LEVELS, configure

_EXAMPLES = """\b
Examples:
  leashd --ledger ~/.local/state/leash/leash.db --socket /run/user/1000/leash/leashd.sock
  leashd --ledger /var/lib/leash/leash.db --socket /run/leash/leashd.sock --system --log-format json
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
        if not args or (args[0].startswith("-") and args[0] not in _OWN_FLAGS):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; an interruption exits as one, and not as a difference that was found."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(128 + signal.SIGINT)

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
    asked and exit with 0.
    """


@click.command(name="leashd", epilog=_EXAMPLES, context_settings=_CONTEXT)
@click.option("--ledger", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The ledger's file.")
@click.option("--socket", required=True, type=click.Path(path_type=Path), help="Where shims connect.")
@click.option(
    "--control-socket",
    type=click.Path(path_type=Path),
    help="Where people connect; by default control.sock beside leashd.sock, or NAME-control.sock beside NAME.sock.",
    show_default=False,
)
@click.option("--idle-exit", type=_Duration(), default="0", help="Leave after so long without a client; 0 stays.")
@click.option("--system", is_flag=True, help="Serve every user of this host, each her own runs.")
@click.option("--group", help=f"With --system: who may open runs.  [default: {GROUP}]", show_default=False)
@click.option(
    "--admin-group",
    help=f"With --system: who may see, kill and raise every run.  [default: {ADMIN_GROUP}]",
    show_default=False,
)
@click.option("--log-level", type=click.Choice(LEVELS), default="info")
@click.option("--log-format", type=click.Choice(("text", "json")), default="text")
@click.version_option(__version__, prog_name="leashd")
def serve(  # noqa: PLR0913 - one for each option
    *,
    ledger: Path,
    socket: Path,
    control_socket: Path | None,
    idle_exit: float,
    system: bool,
    group: str | None,
    admin_group: str | None,
    log_level: str,
    log_format: str,
) -> None:
    """Own the ledger, decide every call, and serve."""
    if not system and (group or admin_group):
        raise click.UsageError("--group and --admin-group go with --system: else the sockets are their user's own")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever starts it on demand may have signals blocked
    os.umask(0o077)  # the ledger is its user's own, and a socket is until it is given to others
    configure(level=log_level, log_format=log_format)
    # gRPC's handlers of a fork are for children that use it; the daemon's are other programs.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import anyio  # noqa: PLC0415 - after --help and --version, which need none of it

    from leashd import daemon  # noqa: PLC0415
    from leashd.ledger.protocol import LedgerError  # noqa: PLC0415
    from leashd.lock import LedgerLockedError  # noqa: PLC0415

    socket = socket.absolute()
    try:
        settings = daemon.DaemonSettings(
            ledger=ledger.resolve(),
            socket=socket,
            control_socket=control_socket.absolute() if control_socket else control_socket_for(socket),
            idle_exit_s=idle_exit,
            system=system,
            access=system_access(group or GROUP, admin_group or ADMIN_GROUP) if system else USER_ACCESS,
        )
        anyio.run(daemon.serve, settings, backend_options={"use_uvloop": True})
    except (AccessError, daemon.DaemonError, LedgerError, LedgerLockedError, ValueError) as error:
        click.echo(f"leashd: {error}", err=True)
        sys.exit(1)
