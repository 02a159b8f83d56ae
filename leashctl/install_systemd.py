"""``leashctl install-systemd``: leash as services of this host, by the files that the package brings."""

from __future__ import annotations

import click

_EXAMPLES = """\b
Examples:
  sudo leashctl install-systemd
  sudo leashctl install-systemd --uninstall
  leashctl install-systemd --prefix ./staging/usr

\b
It puts units into PREFIX/lib/systemd/system, with the commands of this installation in them, and what makes
users and directories beside them; settings go into /etc/leash, where a file that is there stays as it is.
Nothing is started. Below another prefix than /usr and /usr/local only files are put, for a package to take.

\b
Exit code: 0 when all is in place, or gone; 2 for a mistake in the command line; 1 when it could not be done.
"""


@click.command("install-systemd", epilog=_EXAMPLES, short_help="Make leash a service of this host.")
@click.option(
    "--prefix",
    type=click.Path(file_okay=False),
    default="/usr/local",
    show_default=True,
    help="Where the units go, below lib/systemd/system.",
)
@click.option("--uninstall", is_flag=True, help="Stop the services and take their files away; the ledger stays.")
def install_systemd(*, prefix: str, uninstall: bool) -> None:
    """Put the units of leashd, of the gateway and of the shims in place, and say what was done."""
    from pathlib import Path  # noqa: PLC0415 (not for --help)

    from leashctl.systemd_services import Services  # noqa: PLC0415

    services = Services(Path(prefix).absolute())
    done = services.removed() if uninstall else services.installed()
    for line in done:
        click.echo(line)
