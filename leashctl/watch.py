"""``leashctl watch``: what happens to the runs of this host, one line for each entry as it is committed."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from leashctl.failure import say
from leashctl.options import RUN, endpoint_options

if TYPE_CHECKING:
    from leash.client.paths import Endpoint
    from leash.v1 import runs_pb2, types_pb2

# The kinds of entries, as the journal names them.
_KINDS = (
    *("opened", "closed", "reserved", "settled", "voided", "abandoned"),
    *("resolved", "stopped", "warned", "would_stop", "raised", "checkpoint"),
)

# What asks for attention is coloured, and so is a person's word.
_COLOURS = {"stopped": "31", "warned": "33", "would_stop": "33", "abandoned": "33", "raised": "36", "resolved": "36"}

_EXAMPLES = """\b
Examples:
  leashctl watch
  leashctl watch nightly
  leashctl watch --only stopped --only warned
  leashctl watch --json | jq -r 'select(.kind == "settled") | [.run, .cost] | @tsv'

\b
Exit code: 130 after Ctrl-C; 1 when leash failed; 2 for a mistake in the command line.
"""


@click.command(short_help="Show events as they happen.", epilog=_EXAMPLES)
@click.argument("run", type=RUN, required=False)
@click.option("--only", type=click.Choice(_KINDS), multiple=True, metavar="KIND", help="Events of this kind alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@endpoint_options
def watch(*, run: str | None, only: tuple[str, ...], as_json: bool) -> None:
    """Show events as they happen, one a line, until it is interrupted: calls, warnings, stops, what people do.

    A run may be watched before it begins. With no tenant before its name, it is that run of any tenant.
    """
    from leashctl.daemons import daemons_to_follow  # noqa: PLC0415

    find = daemons_to_follow()
    printer = _Printer(run or "", frozenset(only or _KINDS), as_json=as_json)
    import anyio  # noqa: PLC0415

    from leash.live.feed import Feed, first_of  # noqa: PLC0415

    async def follow() -> None:
        # Of every run, since the daemon knows a tenant's run by its whole name alone.
        await Feed(find, printer, lists=False).follow()

    try:
        anyio.run(follow)
    except BaseExceptionGroup as group:
        # Who reads it has seen enough: click ends a command quietly then.
        broken = group.subgroup(BrokenPipeError)
        if broken is None:
            raise
        raise first_of(broken) from None


class _Printer:
    """Prints what a feed tells."""

    def __init__(self, run: str, kinds: frozenset[str], *, as_json: bool) -> None:
        from leashctl.terminal import colours  # noqa: PLC0415

        self._run = run
        self._kinds = kinds
        self._as_json = as_json
        self._colours = colours()
        self._was_lost: set[str] = set()

    def listed(self, source: str, accounts: list[types_pb2.Account], *, asked_at_ns: int) -> None:
        """Nothing has happened."""

    def earlier(self, source: str, run: str, entries: list[types_pb2.Entry]) -> None:
        """It happened before."""

    def reached(self, source: str, endpoint: Endpoint) -> None:
        """Tells that a daemon is back."""
        del endpoint
        if source in self._was_lost:
            self._was_lost.discard(source)
            say(f"the daemon of {source} is back; what happened meanwhile is in its journal (`leashctl export`)")

    def lost(self, source: str, why: str) -> None:
        """Tells that a daemon is away, once."""
        if source not in self._was_lost:
            self._was_lost.add(source)
            say(why)

    def changed(self, source: str, change: runs_pb2.WatchResponse) -> None:
        """Prints one entry."""
        if change.missed:
            say(f"{change.missed} events came faster than they were read; `leashctl export` has them")
        entry = change.entry
        if entry.kind not in self._kinds or not self._is_wanted(change.run):
            return
        line = self._json(source, change) if self._as_json else self._line(change)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def _is_wanted(self, run: str) -> bool:
        return not self._run or run == self._run or run.endswith(f"/{self._run}")

    def _json(self, source: str, change: runs_pb2.WatchResponse) -> str:
        from leash.live.text import status_name  # noqa: PLC0415
        from leash.units import dollars_number  # noqa: PLC0415
        from leashctl.records import encode_line, entry_record  # noqa: PLC0415

        account = change.account
        record = {"run": change.run, "ledger": source} | entry_record(change.entry)
        # The chain's head is known to the journal alone.
        del record["hash"]
        return (
            encode_line(
                record
                | {
                    "status": status_name(account),
                    "calls": account.calls,
                    "open_calls": account.open_calls,
                    "total_cost": dollars_number(account.total_cost_nanodollars),
                    "max_cost": dollars_number(account.limits.max_cost_nanodollars),
                }
            )
            .decode()
            .rstrip("\n")
        )

    def _line(self, change: runs_pb2.WatchResponse) -> str:
        from leashctl.render import event_line  # noqa: PLC0415

        at = time.strftime("%H:%M:%S", time.localtime(change.entry.at_unix_ns // 10**9))
        line = event_line(change.run, change.entry, change.account, at=at)
        colour = _COLOURS.get(change.entry.kind) if self._colours else None
        return f"\x1b[{colour}m{line}\x1b[0m" if colour else line
