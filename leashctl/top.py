"""``leashctl top``: a full-screen live view of every run of this host."""

from __future__ import annotations

import os
import sys

import click

from leashctl.failure import Failure
from leashctl.options import endpoint_options

# As in leash.live.order, which is not imported for --help.
SORT_NAMES = ("cost", "used", "rate", "left", "calls", "recent", "name")

_EXAMPLES = """\b
Examples:
  leashctl top
  leashctl top --sort left
  leashctl top --filter "nightly running"

\b
Keys: arrows, Page Up/Down, Home, End choose a run    Enter shows it in detail, Escape goes back
      s S sort by the next or the one before, i the other way round    / filter
      k kill, r raise (both ask first)    a finished runs as well    q quit

\b
Exit code: 0 when it was quit; 1 without a terminal, or when leash failed; 2 for a mistake in the command line.
"""


@click.command(short_help="Look on, full screen: cost, pace, time left.", epilog=_EXAMPLES)
@click.option("--sort", type=click.Choice(SORT_NAMES), default="cost", show_default=True, help="The order at first.")
@click.option("--filter", "wanted", default="", metavar="WORDS", help="Runs that have these in name, status or reason.")
@click.option("--all", "show_finished", is_flag=True, help="Finished runs as well.")
@endpoint_options
def top(*, sort: str, wanted: str, show_finished: bool) -> None:
    """Look at every run of this host, full screen and live: what it costs, how fast, and how long that lasts.

    It follows what the daemons tell, and stays calm with a thousand runs. Nothing happens to a run without a question.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        raise Failure("top needs a terminal: `leashctl ps` prints the runs once, `leashctl watch` what happens to them")
    from leashctl.daemons import daemons_to_follow  # noqa: PLC0415

    find = daemons_to_follow()
    from leashctl.top_view.app import TopApp  # noqa: PLC0415 (heavy)

    TopApp(find, sort=sort, wanted=wanted, show_finished=show_finished).run(mouse=False)
