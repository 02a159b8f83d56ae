"""``leashctl restore``: puts a backup in the place of one's own ledger. It is ``leashd restore`` that does it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from leash.programs import command
from leashctl.failure import Failure
from leashctl.options import chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from leash.client.paths import Endpoint

# A daemon that is told to end takes a fraction of a second; its last commit may wait for a slow disk.
_END_S = 20.0
_POLL_S = 0.02

_EXAMPLES = """\b
Examples:
  leashctl restore leash-backup.db
  leashctl restore leash-backup.db --db ./project.db

\b
Exit code: 0 where the backup is in place; 1 where nothing was changed; 2 for a mistake in the
command line.
"""


@click.command(short_help="Put a backup in the place of the ledger.", epilog=_EXAMPLES)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@endpoint_options
def restore(*, file: Path) -> None:
    """Put a backup in the place of a ledger whose daemon is started on demand, which is ended for that.

    The backup is verified first, and the ledger that was there is kept beside it. What was settled after the backup
    is not in it: its budgets are as they were then.
    """
    endpoint = chosen_endpoint()
    file = file.resolve()
    if not endpoint.on_demand:
        _tell_how(endpoint, file)
    assert endpoint.ledger is not None, "an endpoint on demand names its ledger"
    _end_daemon(endpoint)
    endpoint.ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    restoring = command("leashd", "restore", str(file), "--ledger", str(endpoint.ledger))
    sys.exit(subprocess.call(restoring))  # noqa: S603 (this interpreter, and paths as arguments)


def _tell_how(endpoint: Endpoint, file: Path) -> NoReturn:
    """A daemon that somebody else has started is theirs to end."""
    from leash.client.probe import Reach, probe  # noqa: PLC0415
    from leashctl.asking import ask  # noqa: PLC0415

    ledger = "PATH"
    if probe(endpoint.control_socket) is Reach.ANSWERS:
        ledger = ask(endpoint, lambda client: client.info()).ledger
    end = "systemctl stop leashd" if endpoint.origin == "system" else f"end the leashd of {endpoint.socket}"
    raise Failure(
        "the daemon of this ledger is not started on demand, so an administrator has to end it first:\n"
        f"  {end}\n"
        f"  leashd restore {file} --ledger {ledger}"
    )


def _end_daemon(endpoint: Endpoint) -> None:
    """Ends the daemon where one is running. Raises ``Failure`` where somebody uses it."""
    from leash.client.probe import Reach, probe  # noqa: PLC0415
    from leashctl.asking import ask  # noqa: PLC0415

    if probe(endpoint.control_socket) is Reach.DEAD:
        return
    info = ask(endpoint, lambda client: client.info())
    if info.sessions:
        programs = "1 program is" if info.sessions == 1 else f"{info.sessions} programs are"
        raise Failure(f"{programs} connected to this ledger's daemon: wait for their end, or stop them, first")
    try:
        os.kill(info.pid, signal.SIGTERM)
    except ProcessLookupError:
        return  # it has just left by itself
    # The lock is what counts, and `leashd restore` waits for a daemon that is leaving.
    deadline_s = time.monotonic() + _END_S
    while probe(endpoint.control_socket) is not Reach.DEAD:
        if time.monotonic() > deadline_s:
            raise Failure(f"leashd (pid {info.pid}) has been told to end, and has not for {_END_S:.0f} s")
        time.sleep(_POLL_S)
