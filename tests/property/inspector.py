"""Follows what became durable: each entry against the rules, each account against the books and against a refold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from leashd.audit import audit
from leashd.core.account import Account, Call, CallState, ModelHistory
from leashd.core.events import Entry, Settled
from leashd.core.fold import create, fold, fold_call, fold_model
from tests.property.audit import Books, Bounds, RunBook
from tests.property.daemon import Clock, Daemon
from tests.property.provider import Price
from tests.property.rules import Rules, expect


class Refold:
    """A run folded again from its stored entries."""

    def __init__(self, run: str, number: int) -> None:
        self.run = run
        self.number = number
        self.account: Account | None = None
        self.calls: dict[bytes, Call] = {}

    def take(self, entry: Entry) -> None:
        """One more entry."""
        if self.account is None:
            self.account = create(self.run, self.number, entry)
        else:
            self.account = fold(self.account, entry)
        call_id = getattr(entry.event, "call", None)
        if call_id is not None:
            call = fold_call(self.calls.pop(call_id, None), self.account, entry)
            if call is not None:
                self.calls[call_id] = call


class Inspector:
    """Sees every entry once, as it stands in the ledger, in the order in which they became durable."""

    def __init__(
        self,
        daemon: Daemon,
        clock: Clock,
        books: Books,
        prices: Mapping[bytes, Mapping[str, Price]],
        gateways: Callable[[], Mapping[bytes, Bounds]],
    ) -> None:
        self.books = books
        self._daemon = daemon
        self._clock = clock
        self._rules = Rules(books, prices, gateways)
        self._seen = 0
        self._refolds: dict[str, Refold] = {}
        self._models: dict[str, ModelHistory] = {}

    def catch_up(self) -> None:
        """Judges what is new; raises BrokenRuleError."""
        written, ledger = self._daemon.written.entries, self._daemon.ledger
        changed = {run for run, _, _ in written[self._seen :]}
        for run, number, seq in written[self._seen :]:
            stored = next(iter(ledger.journal(number, seq - 1)))
            self._take(run, number, stored.entry)
        self._seen = len(written)
        for run in sorted(changed):
            account = ledger.account(run)
            expect(account == self._refolds[run].account, f"{run} is stored otherwise than its journal folds")
            self._compare(self.books.runs[run], account)

    def _take(self, run: str, number: int, entry: Entry) -> None:
        self._rules.judge(run, entry.seq, entry.at_ns, entry.event)
        self.books.apply(run, entry.seq, entry.at_ns, entry.event)
        refold = self._refolds.setdefault(run, Refold(run, number))
        refold.take(entry)
        if isinstance(entry.event, Settled):
            model = entry.event.model
            self._models[model] = fold_model(self._models.get(model, ModelHistory()), entry.event)
        book = self.books.runs[run]
        self._check_budget(book)

    def _check_budget(self, book: RunBook) -> None:
        """No overshoot: strictly never; else only by a call dearer than its hold, or one that went alone."""
        limits = book.limits
        most = limits.max_cost_nanodollars
        if not most or limits.observe or book.person_moved_money or (book.may_cross and not limits.strict):
            return
        pledged = book.token_cost + book.held("open") + book.held("unresolved")
        expect(pledged <= most, f"{pledged} of {most} are spent or held, strict: {limits.strict}")

    def _compare(self, book: RunBook, account: Any) -> None:
        """An account against the books' own sums."""
        totals, now_ns = account.totals, self._clock.now_ns()
        figures = {
            "seq": (account.seq, book.seq),
            "calls": (totals.calls, book.counted),
            "errors": (totals.errors, book.errors),
            "token cost": (totals.token_cost_nanodollars, book.token_cost),
            "tool cost": (totals.tool_cost_nanodollars, sum(call.tool_cost for call in book.calls.values())),
            "open calls": (account.open.calls, len(book.in_state("open"))),
            "open holds": (account.open.nanodollars, book.held("open")),
            "unresolved calls": (account.unresolved.calls, len(book.in_state("unresolved"))),
            "unresolved holds": (account.unresolved.nanodollars, book.held("unresolved")),
            "compute cost": (account.compute_cost_nanodollars(now_ns), book.compute_cost(now_ns)),
            "stop": (account.stop and account.stop.reason, book.stop and book.stop.reason),
            "openers": ({opener.session for opener in account.openers}, book.openers),
            "streak": (account.stall.replies, book.streak),
            "episode": (account.episode_started_at_ns, book.episode_ns),
        }
        for name, (stored, summed) in figures.items():
            expect(stored == summed, f"{book.run}: {name} is stored as {stored}, and the entries come to {summed}")
        whole = [totals.token_cost_nanodollars, account.open.nanodollars, account.unresolved.nanodollars]
        expect(all(type(figure) is int for figure in whole), "money is not in whole nanodollars")

    def check_counts(self) -> None:
        """How many runs the daemon counts, by which it bounds them."""
        working, books = self._daemon.engine.working, self.books.runs
        is_open = sum(bool(book.openers) for book in books.values())
        expect(working.open_runs == is_open, f"{working.open_runs} runs are counted as open, and {is_open} are")
        for run in books:
            counted, there_are = working.runs_of_tenant(run), len(self.books.tenant(run))
            expect(counted == there_are, f"{counted} runs are counted beside {run}, and there are {there_are}")

    def check_ledger(self) -> None:
        """The whole ledger from its first entry: accounts, calls, openers, models and hash chains."""
        ledger = self._daemon.ledger
        accounts = {account.run: account for account in ledger.accounts()}
        expect(set(accounts) == set(self._refolds), "runs came or went without an entry")
        calls: list[Call] = []
        for account in accounts.values():
            refold = Refold(account.run, account.number)
            for stored in ledger.journal(account.number):
                refold.take(stored.entry)
            expect(refold.account == account, f"{account.run} is stored otherwise than its journal folds")
            unresolved = {key.call: call for key, call in ledger.unresolved_calls(account.number)}
            folded = {name: call for name, call in refold.calls.items() if call.state is CallState.UNRESOLVED}
            expect(unresolved == folded, f"{account.run} has other unresolved calls than its journal folds to")
            calls += [call for call in refold.calls.values() if call.state is CallState.OPEN]
        folded_open = {(call.session, call.call): call for call in calls}
        expect(
            {(key.session, key.call): call for key, call in ledger.open_calls()} == folded_open,
            "other calls are open than the journals fold to",
        )
        openers = {(opener.session, account.number) for account in accounts.values() for opener in account.openers}
        expect(set(ledger.openers()) == openers, "other sessions have runs open than the accounts say")
        for model, history in self._models.items():
            expect(ledger.model(model) == history, f"the history of {model} is stored otherwise than it folds")
        report = audit(ledger.inner)
        expect(report.difference is None, f"the audit finds {report.difference}")
        entries = 0
        for account in accounts.values():
            ends = ledger.journal_ends(account.number)
            expect(ends is not None and ends[1].entry.seq == account.seq, f"{account.run} ends elsewhere")
            entries += account.seq - ends[0] + 1
        expect((report.runs, report.entries) == (len(accounts), entries), "the audit has not looked at everything")
