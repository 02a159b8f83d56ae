"""The command line of leashd."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from leash.sockets import control_socket_for
from leash.units import NANOSECONDS_PER_SECOND, parse_duration
from leashd import __version__
from leashd.logs import LEVELS, configure

_EXAMPLES = """\b
Examples:
  leashd --ledger ~/.local/state/leash/leash.db --socket /run/user/1000/leash/leashd.sock
  leashd --ledger /var/lib/leash/leash.db --socket /run/leash/leashd.sock --log-format json
"""


class _Duration(click.ParamType[float]):
    """A duration such as 90s or 10m, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds that a text stands for."""
        try:
            return parse_duration(str(value)) / NANOSECONDS_PER_SECOND
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--ledger", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The ledger's file.")
@click.option("--socket", required=True, type=click.Path(path_type=Path), help="Where shims connect.")
@click.option(
    "--control-socket",
    type=click.Path(path_type=Path),
    help="Where people connect; by default control.sock beside leashd.sock, or NAME-control.sock beside NAME.sock.",
    show_default=False,
)
@click.option("--idle-exit", type=_Duration(), default="0", help="Leave after so long without a client; 0 stays.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info")
@click.option("--log-format", type=click.Choice(("text", "json")), default="text")
@click.version_option(__version__, prog_name="leashd")
def main(  # noqa: PLR0913 - one for each option
    *,
    ledger: Path,
    socket: Path,
    control_socket: Path | None,
    idle_exit: float,
    log_level: str,
    log_format: str,
) -> None:
    """Own the ledger, decide every call, and serve shims and people on two Unix sockets.

    It runs in the foreground, logs to stderr, and is ready once its sockets answer. SIGTERM makes it commit what was
    asked and exit with 0.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever starts it on demand may have signals blocked
    os.umask(0o077)  # the sockets and the ledger are their user's own
    configure(level=log_level, log_format=log_format)
    import anyio  # noqa: PLC0415 - after --help and --version, which need none of it

    from leashd.daemon import DaemonError, DaemonSettings, serve  # noqa: PLC0415
    from leashd.ledger.protocol import LedgerError  # noqa: PLC0415
    from leashd.lock import LedgerLockedError  # noqa: PLC0415

    socket = socket.absolute()
    settings = DaemonSettings(
        ledger=ledger.resolve(),
        socket=socket,
        control_socket=control_socket.absolute() if control_socket else control_socket_for(socket),
        idle_exit_s=idle_exit,
    )
    try:
        anyio.run(serve, settings, backend_options={"use_uvloop": True})
    except (DaemonError, LedgerError, LedgerLockedError, ValueError) as error:
        click.echo(f"leashd: {error}", err=True)
        sys.exit(1)
