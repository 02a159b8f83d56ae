"""``leashctl export``: the journal as JSON lines, for audits and for other programs. docs/ledger.md is its contract."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from leash.progress import progress
from leashctl.completing import complete_file
from leashctl.failure import Failure
from leashctl.new_file import STANDARD_OUTPUT, Target, written
from leashctl.options import RUN, chosen_endpoint, endpoint_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from leash.client.keeping import KeepingClient
    from leash.v1 import types_pb2

FORMAT = 1  # bumped when a reader of the one before could misread a line

# Entries in memory at a time: some 2 MB.
_PAGE = 2_048
# Between an account and its journal a run may be pruned, or one of its calls resolved; hardly ever twice.
_ATTEMPTS = 5
_PAUSE_S = 0.05
# Of a run's unresolved calls the daemon lists so many.
_LISTED_UNRESOLVED = 100

_EXAMPLES = """\b
Examples:
  leashctl export > journal.jsonl
  leashctl export nightly --output nightly.jsonl
  leashctl export | jq -r 'select(.kind == "settled") | [.run, .at, .model, .cost] | @tsv'

\b
Exit code: 0 where everything is written; 1 where it is not; 2 for a mistake in the command line.
"""


@click.command(short_help="Write the journal as JSON lines.", epilog=_EXAMPLES)
@click.argument("run", type=RUN, required=False)
@click.option(
    "--output",
    "-o",
    default=STANDARD_OUTPUT,
    metavar="FILE",
    shell_complete=complete_file,
    help="Write to this file, which appears once it is whole.  [default: standard output]",
)
@endpoint_options
def export(*, run: str | None, output: str) -> None:
    """Write every entry of the journal, or those of one run, as JSON lines.

    The first line is about the ledger; then come, run by run, the entries in order and the account as it is after
    them; the last line counts them. Of a ledger of others you see the runs that are yours.
    """
    endpoint = chosen_endpoint()
    from leash.client.keeping import KeepingClient  # noqa: PLC0415
    from leashctl.asking import ask_about, ask_with, full_name  # noqa: PLC0415

    async def write(client: KeepingClient, file: Target, show: Callable[[str], None]) -> None:
        name = await full_name(client, run) if run else None
        if name is not None:
            await ask_about(endpoint, client, name, client.get(name))
        await _Export(client, file, show).write(name)

    with written(output, replace=True) as file, progress(wanted=output != STANDARD_OUTPUT) as show:
        ask_with(KeepingClient, endpoint, lambda client: write(client, file, show))


class _Export:
    """One export under way."""

    def __init__(self, client: KeepingClient, file: Target, show: Callable[[str], None]) -> None:
        self._client = client
        self._file = file
        self._show = show
        self._ledger = ""
        self._runs = 0
        self._entries = 0

    async def write(self, run: str | None) -> None:
        info = await self._client.info()
        self._ledger = info.ledger
        self._write(
            type="header",
            format=FORMAT,
            ledger=info.ledger,
            version=info.version,
            exported_at=_now(),
            run=run,
            own_runs_only=self._client.own_only,
        )
        if run is not None:
            await self._write_run(run)
        else:
            async for account in self._client.each_account():
                await self._write_run(account.run)
        self._write(type="end", runs=self._runs, entries=self._entries)

    async def _write_run(self, run: str) -> None:
        account, pages = await self._begun(run)
        seq = 0
        async for page in pages:
            seq = self._write_entries(run, page, after=seq)
            self._show(f"{self._runs} runs, {self._entries} entries written")
        if seq != account.entries:
            raise Failure(f"run {run} was pruned while it was written: export it again")
        self._write_account(account)
        self._runs += 1

    async def _begun(self, run: str) -> tuple[types_pb2.Account, AsyncIterator[list[types_pb2.Entry]]]:
        """A run's account, and the pages of exactly the entries that it is the sum of."""
        for attempt in range(_ATTEMPTS):
            account = await self._client.get(run)
            page = await self._page(account, after=0)
            # A run that was pruned in between begins with a checkpoint that the account does not know yet. The
            # unresolved calls are read after the account, so they may be those of the next entry.
            listed = len(account.unresolved)
            if page and page[0].seq <= account.entries and listed == min(account.unresolved_calls, _LISTED_UNRESOLVED):
                return account, self._pages(account, page)
            await asyncio.sleep(_PAUSE_S * attempt)
        raise Failure(f"run {run} changes while it is read: export it again")

    async def _pages(
        self, account: types_pb2.Account, page: list[types_pb2.Entry]
    ) -> AsyncIterator[list[types_pb2.Entry]]:
        while page:
            yield page
            page = await self._page(account, after=page[-1].seq)

    async def _page(self, account: types_pb2.Account, *, after: int) -> list[types_pb2.Entry]:
        if after >= account.entries:
            return []
        # A pruned run has fewer entries than its last one's number says, so the number is what bounds them.
        page = await self._client.journal(account.run, after_seq=after, limit=min(_PAGE, account.entries - after))
        return [entry for entry in page if entry.seq <= account.entries]

    def _write_entries(self, run: str, page: list[types_pb2.Entry], *, after: int) -> int:
        from leashctl.records import encode_line, entry_record  # noqa: PLC0415

        lines = []
        for entry in page:
            if after and entry.seq != after + 1:
                raise Failure(f"run {run} was pruned while it was written: export it again")
            after = entry.seq
            lines.append(encode_line({"type": "entry", "run": run} | entry_record(entry)))
        self._file.write(b"".join(lines))
        self._entries += len(page)
        return after

    def _write_account(self, account: types_pb2.Account) -> None:
        from leashctl.records import exported_run_record  # noqa: PLC0415
        from leashctl.users import user_name  # noqa: PLC0415

        owner = user_name(account.owner_uid)
        self._write(type="run", **exported_run_record(account, owner=owner, ledger=self._ledger))

    def _write(self, **record: object) -> None:
        from leashctl.records import encode_line  # noqa: PLC0415

        self._file.write(encode_line(record))


def _now() -> str | None:
    from leashctl.records import instant  # noqa: PLC0415

    return instant(time.time_ns())
