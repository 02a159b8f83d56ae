"""The runs of a host as they are now: fed with lists and entries, asked for rows. Pure: time is an argument.

The rule: an account that is older than the one that is known is not taken, so lists and entries may come in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from leash.live.spending import NO_PACE, WINDOW_NS, Pace, Spending
from leash.units import NANOSECONDS_PER_SECOND
from leash.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from leash.v1.types_pb2 import Account, Entry

_HOUR_NS = 3_600 * NANOSECONDS_PER_SECOND

# A run that has finished is shown for a while, so that whoever looks on sees what it came to.
LINGER_NS = 60 * NANOSECONDS_PER_SECOND

# Finished runs that are kept where all are wanted: more than a person scrolls through.
MOST_FINISHED = 5_000


class Key(NamedTuple):
    """One run of one ledger, which ``source`` names: two daemons may have runs of one name."""

    source: str
    run: str


@dataclass(slots=True, eq=False)
class Tracked:
    """One run: its last account, when that was seen, and how it spends."""

    key: Key
    account: Account
    seen_at_ns: int
    spending: Spending
    finished_at_ns: int = 0

    def total_cost_nanodollars(self, now_ns: int) -> int:
        """What it has cost by now: compute goes on between two entries."""
        return self.account.total_cost_nanodollars + self.compute_per_hour() * max(now_ns - self.seen_at_ns, 0) // (
            _HOUR_NS
        )

    def pace(self, now_ns: int) -> Pace:
        """What it uses now; nothing once it is over."""
        return self.spending.pace(now_ns) if self.account.status == types_pb2.STATUS_RUNNING else NO_PACE

    def nanodollars_per_hour(self, now_ns: int) -> int:
        """What it costs an hour as it goes now, its compute in it."""
        return self.pace(now_ns).nanodollars_per_hour + self.compute_per_hour()

    def compute_per_hour(self) -> int:
        """Nanodollars an hour that the run costs for being open; zero where that is not counted now."""
        account = self.account
        runs = account.status == types_pb2.STATUS_RUNNING and account.openers and account.started_at_unix_ns
        return account.limits.compute_rate_nanodollars_per_hour if runs else 0


class Together(NamedTuple):
    """What several runs come to; amounts are in nanodollars."""

    running: int
    spent: int
    per_hour: int


def together(runs: Sequence[Tracked], now_ns: int) -> Together:
    """What these runs come to at an instant."""
    return Together(
        running=sum(run.account.status == types_pb2.STATUS_RUNNING for run in runs),
        spent=sum(run.total_cost_nanodollars(now_ns) for run in runs),
        per_hour=sum(run.nanodollars_per_hour(now_ns) for run in runs),
    )


class Fleet:
    """Every run that is known, by its key."""

    def __init__(self, *, show_finished: bool = False) -> None:
        self.show_finished = show_finished
        self._runs: dict[Key, Tracked] = {}

    def __len__(self) -> int:
        """How many runs are known."""
        return len(self._runs)

    def __iter__(self) -> Iterator[Tracked]:
        """Every run, in no particular order."""
        return iter(self._runs.values())

    def get(self, key: Key) -> Tracked | None:
        """The run of this key, or None."""
        return self._runs.get(key)

    def listed(self, source: str, accounts: Iterable[Account], *, asked_at_ns: int, now_ns: int) -> None:
        """Takes a list of all runs of a source; what it lacks, and has not been heard of since, is gone."""
        names = set()
        for account in accounts:
            names.add(account.run)
            self._take(Key(source, account.run), account, now_ns)
        gone = [
            key
            for key, run in self._runs.items()
            if key.source == source and key.run not in names and run.seen_at_ns < asked_at_ns and not run.finished_at_ns
        ]
        for key in gone:
            del self._runs[key]

    def changed(self, source: str, account: Account, entry: Entry, *, now_ns: int) -> None:
        """Takes one entry, with the account after it."""
        run = self._take(Key(source, account.run), account, now_ns)
        run.spending.take(entry)

    def earlier(self, key: Key, entries: list[Entry]) -> None:
        """Takes entries from before the first one that came by itself."""
        run = self._runs.get(key)
        if run is not None:
            run.spending.take_earlier(entries)

    def tidy(self, now_ns: int) -> None:
        """Drops finished runs that have been shown for long enough, or that are too many."""
        finished = [run for run in self._runs.values() if run.finished_at_ns]
        if self.show_finished:
            finished.sort(key=lambda run: run.finished_at_ns, reverse=True)
            dropped = finished[MOST_FINISHED:]
        else:
            dropped = [run for run in finished if now_ns - run.finished_at_ns > LINGER_NS]
        for run in dropped:
            del self._runs[run.key]

    def _take(self, key: Key, account: Account, now_ns: int) -> Tracked:
        run = self._runs.get(key)
        if run is None:
            # A run that has just been made is known from its beginning; of the others only what comes from now on is.
            new = now_ns - account.created_at_unix_ns < WINDOW_NS and account.entries <= 1
            run = self._runs[key] = Tracked(
                key, account, now_ns, Spending(account.created_at_unix_ns if new else now_ns)
            )
        elif account.entries >= run.account.entries:
            run.account = account
            run.seen_at_ns = now_ns
        is_finished = run.account.status == types_pb2.STATUS_FINISHED
        run.finished_at_ns = (run.finished_at_ns or now_ns) if is_finished else 0
        return run
