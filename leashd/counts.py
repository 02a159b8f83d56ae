"""How many runs there are of each tenant, and how many are open: counted as they change, never by looking at all."""

from __future__ import annotations

from collections.abc import Iterable

from leashd.ledger.protocol import Batch, Ledger


def tenant_of(run: str) -> str:
    """The tenant of a run with the slash behind it; empty for a run without one."""
    tenant, slash, _ = run.rpartition("/")
    return tenant + slash


class RunCounts:
    """Counts of a ledger and of what the batch has changed: it is told of each change, and of a batch that failed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._of_tenant: dict[str, int] = {}
        self._open = {number for _, number in ledger.openers()}

    @property
    def open_runs(self) -> int:
        """Runs that some session has open."""
        return len(self._open)

    def of_tenant(self, tenant: str, uncommitted: Iterable[str]) -> int:
        """A tenant's runs; ``uncommitted`` are the names of those that the batch has touched.

        The first time a tenant is asked for, its names are read: a millisecond for some thousands.
        """
        if tenant not in self._of_tenant:
            names = {name for name in self._ledger.run_names(tenant) if tenant_of(name) == tenant}
            names |= {name for name in uncommitted if tenant_of(name) == tenant}
            self._of_tenant[tenant] = len(names)
        return self._of_tenant[tenant]

    def created(self, run: str) -> None:
        """A run was made."""
        self._add(run, 1)

    def opened_or_closed(self, number: int, *, is_open: bool) -> None:
        """The openers of a run have changed."""
        if is_open:
            self._open.add(number)
        else:
            self._open.discard(number)

    def discarded(self, batch: Batch) -> None:
        """A batch was not committed: takes back what it had made, opened and closed."""
        for account, entry in batch.entries:
            if entry.seq == 1:
                self._add(account.run, -1)
        for run, account in batch.accounts.items():
            stored = self._ledger.account(run)
            self.opened_or_closed(account.number, is_open=stored is not None and bool(stored.openers))

    def _add(self, run: str, runs: int) -> None:
        tenant = tenant_of(run)
        if tenant in self._of_tenant:
            self._of_tenant[tenant] += runs
