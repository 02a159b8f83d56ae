"""``leashctl prices``: check a price table, and put it where every run finds it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leashctl.failure import Failure
from leashctl.new_file import replaced
from leashctl.price_check import check

if TYPE_CHECKING:
    from leashctl.price_file import PriceFile

_EXAMPLES = """\b
Examples:
  leashctl prices check model_prices_and_context_window.json
  leashctl prices check prices.json --model gpt-4o --input 12000 --output 800
  leashctl prices import prices.json    # where every run of yours finds it

\b
Exit code: 0; 1 where the command failed; 2 for an invalid table, or a mistake in the command line.
"""

_IMPORT_EXAMPLES = """\b
Examples:
  leashctl prices import prices.json
  leashctl prices import model_prices_and_context_window.json

\b
Exit code: 0; 1 where the file cannot be written; 2 for an invalid table, or a mistake in the command
line.
"""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("prices", short_help="Check a price table, or put it in its place.", epilog=_EXAMPLES)
def prices() -> None:
    """Check a price table, see what a call would cost by it, or put it in its place.

    Both leash's own format (dollars per million tokens) and LiteLLM's are read.
    """


prices.add_command(check)


@prices.command("import", short_help="Put a table where every run of yours finds it.", epilog=_IMPORT_EXAMPLES)
@click.argument("file", type=_FILE)
def import_(*, file: Path) -> None:
    """Check a table, and put it where every run of this user finds it: ~/.config/leash/prices.json.

    Where another table is there already, it is kept beside the new one as prices.json.before-import-TIME.
    """
    from leashctl.price_file import user_file  # noqa: PLC0415
    from leashctl.price_page import headline  # noqa: PLC0415

    price_file = _read(file)
    place = user_file(os.environ)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        kept = _kept(place, price_file.text)
        with replaced(place) as new:
            new.write(price_file.text)
    except OSError as error:
        raise Failure(f"{place} cannot be written: {error.strerror}") from error
    click.echo(headline(str(place), price_file.table))
    if kept is not None:
        click.echo(f"the table that was there is kept as {kept}")


def _kept(place: Path, text: bytes) -> Path | None:
    """The copy of the table that is about to be replaced; None where there is none, or the same. Raises OSError."""
    from datetime import UTC, datetime  # noqa: PLC0415

    try:
        before = place.read_bytes()
    except FileNotFoundError:
        return None
    if before == text:
        return None
    kept = place.with_name(f"{place.name}.before-import-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
    with replaced(kept) as copy:
        copy.write(before)
    return kept


def _read(file: Path) -> PriceFile:
    from leashctl.price_file import PriceFile, PriceFileError  # noqa: PLC0415

    try:
        return PriceFile.read(file)
    except PriceFileError as error:
        raise click.UsageError(str(error)) from error
