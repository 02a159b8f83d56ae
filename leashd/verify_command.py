"""``leashd verify``: the audit of a ledger that no daemon serves, such as one with which none starts."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from leashd.logs import configure

_EXAMPLES = """\b
Examples:
  leashd verify --ledger /var/lib/leash/leash.db
  leashd verify --ledger leash-backup.db --json

\b
Exit code: 0 where the ledger is whole; 1 where it is not, or cannot be opened; 2 for a mistake in the
command line.
"""


@click.command(
    short_help="Refold a ledger that no daemon serves, and compare.",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("run", required=False, default="")
@click.option("--ledger", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The ledger's file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--way", hidden=True, help="How the process in which this is done opens the ledger.")
def verify(*, run: str, ledger: Path, as_json: bool, way: str | None) -> None:
    """Refold every run from its journal, or the one that is named, and compare with what the ledger says of it.

    Exits with 1 where they differ, and names the first difference. A ledger that a daemon has open is for
    `leashctl verify`.
    """
    from leashd.audit_process import State, Way, look, states, verdict  # noqa: PLC0415 - after --help, which needs none of it

    if way is not None:
        configure(level="warning", log_format="text")  # to stderr: the other end of stdout reads states
        look(ledger, Way(way), run, _write_line)
        return
    import json  # noqa: PLC0415

    from leash.progress import progress  # noqa: PLC0415
    from leash.verdict import progress_line  # noqa: PLC0415
    from leashd.offline import OfflineError, taken  # noqa: PLC0415

    ledger = ledger.resolve()
    state = State()
    try:
        with taken(ledger), progress() as show:
            for state in states(ledger, Way.ALONE, run):
                show(progress_line(state.runs, state.entries, state.total_entries))
    except OfflineError as error:
        click.echo(f"leashd: {error}", err=True)
        sys.exit(1)
    if state.trouble:
        click.echo(f"leashd: {state.trouble}", err=True)
        sys.exit(1)
    came_to = verdict(state, ledger)
    click.echo(json.dumps(came_to.record(), indent=2) if as_json else "\n".join(came_to.lines()))
    if state.difference is not None:
        sys.exit(1)


def _write_line(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
