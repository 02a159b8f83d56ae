"""The auditor's own arithmetic: a run refolded from the lines of its journal, and what its entries may not do.

Nothing here comes from leash. Costs are whole nanodollars; a rule that an entry breaks is a sentence in ``broken``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

NANODOLLARS = 10**9
NANODOLLARS_PER_MICRODOLLAR = 1000  # of a price for a million tokens

Entry = Mapping[str, Any]

TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_input_tokens")


def lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, numbers with all their digits."""
    if not path.exists():
        return []
    return [json.loads(line, parse_float=Decimal) for line in path.read_text().splitlines()]


def nanodollars(dollars: Any) -> int:
    """Dollars as whole nanodollars. Raises ValueError for a part of one."""
    amount = Decimal(dollars) * NANODOLLARS
    if amount != amount.to_integral_value():
        raise ValueError(f"{dollars} dollars are no whole number of nanodollars")
    return int(amount)


@dataclass(frozen=True, slots=True)
class Prices:
    """A price table, in dollars for a million tokens."""

    models: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Prices:
        return cls(json.loads(path.read_text(), parse_float=Decimal))

    def cost(self, model: str, usage: Mapping[str, Any]) -> int:
        """What a call costs, rounded up once."""
        price = self.models[model]
        cached = usage.get("cached_input_tokens", 0)
        reasoning = usage.get("reasoning_tokens", 0)
        dollars_per_million = (
            Fraction(price["input"]) * (usage["input_tokens"] - cached)
            + Fraction(price.get("cached_input", price["input"])) * cached
            + Fraction(price["output"]) * (usage["output_tokens"] - reasoning)
            + Fraction(price.get("reasoning", price["output"])) * reasoning
        )
        cost: int = ceil(dollars_per_million * NANODOLLARS_PER_MICRODOLLAR)
        return cost


@dataclass(slots=True)
class CallFold:
    """A call as its entries have left it."""

    call: str
    run: str
    model: str
    state: str  # open, unresolved, resolved, settled or voided
    hold: int
    settled: Entry | None = None
    resolved_at: int | None = None  # the cost that a person gave, 0 for a release
    was_abandoned: bool = False
    was_released: bool = False


@dataclass(slots=True)
class RunFold:
    """A run as its entries have left it."""

    run: str
    prices: Prices
    seq: int = 0
    limits: Mapping[str, Any] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    last_close: str = ""
    stop: str = ""
    killed_now: bool = False
    settled_calls: int = 0
    errors: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKENS, 0))
    token_cost: int = 0
    calls: dict[str, CallFold] = field(default_factory=dict)
    open_calls: int = 0
    open_holds: int = 0
    unresolved_calls: int = 0
    unresolved_holds: int = 0
    excused_cost: int = 0  # by which a person's word was below what the provider then reported
    excused_calls: int = 0
    broken: list[str] = field(default_factory=list)

    def take(self, entry: Entry) -> None:
        """Folds one more entry, and looks at what it does."""
        kind = str(entry["kind"])
        if entry["seq"] != self.seq + 1:
            self._break(entry, f"follows entry {self.seq}")
        self.seq = entry["seq"]
        act = _ACTS.get(kind)
        if act is None:
            self._break(entry, f"is of a kind that the auditor does not know: {kind}")
            return
        try:
            act(self, entry)
        except (KeyError, ValueError) as error:
            self._break(entry, f"cannot be read: {error!r}")
        if kind in ("reserved", "settled", "abandoned", "raised", "opened"):
            self._within_limits(entry)

    def account(self) -> dict[str, Any]:
        """The account that the entries come to, in the words of the ledger's own record of it."""
        return {
            "calls": self.settled_calls,
            "open_calls": self.open_calls,
            "unresolved_calls": self.unresolved_calls,
            **self.tokens,
            "token_cost": self.token_cost,
            "held_cost": self.open_holds + self.unresolved_holds,
            "error_calls": self.errors,
            "status": self._status(),
            "reason": self._reason(),
        }

    @property
    def max_cost(self) -> int:
        return nanodollars(self.limits.get("max_cost", 0))

    def _status(self) -> str:
        if self.stop:
            return "killed" if self.stop == "kill_switch" else "stopped"
        return "running" if self.sessions or self.open_calls else "finished"

    def _reason(self) -> str:
        return self.stop or ("" if self._status() == "running" else self.last_close)

    def _break(self, entry: Entry, what: str) -> None:
        self.broken.append(f"run {self.run}, entry {entry['seq']} ({entry['kind']} {entry.get('call', '')}): {what}")

    def _within_limits(self, entry: Entry) -> None:
        used = self.token_cost + self.open_holds + self.unresolved_holds - self.excused_cost
        if self.limits.get("strict") and self.max_cost and used > self.max_cost:
            self._break(entry, f"{used} nanodollars are spent and held, of {self.max_cost} under --strict")
        most = self.limits.get("max_calls", 0)
        admitted = self.settled_calls + self.open_calls + self.unresolved_calls - self.excused_calls
        if most and admitted > most and entry["kind"] == "reserved":
            self._break(entry, f"call {admitted} of at most {most}")

    def _opened(self, entry: Entry) -> None:
        self.sessions.add(entry["session"])
        self.limits = entry.get("limits", self.limits)

    def _closed(self, entry: Entry) -> None:
        if entry["session"] not in self.sessions:
            self._break(entry, "its session had not opened the run")
        self.sessions.discard(entry["session"])
        self.last_close = entry["reason"]

    def _reserved(self, entry: Entry) -> None:
        hold = nanodollars(entry["held_cost"])
        if entry["call"] in self.calls:
            self._break(entry, "was reserved before")
        if self.stop:
            self._break(entry, f"is admitted, and the run was stopped by {self.stop} and not raised")
        if entry["session"] not in self.sessions:
            self._break(entry, "its session has not opened the run")
        spent = self.token_cost + self.unresolved_holds
        fits = spent + self.open_holds + hold <= self.max_cost
        if self.max_cost and not fits and (self.open_calls or self.token_cost >= self.max_cost):
            self._break(entry, f"there is no room for {hold} beside {spent} and {self.open_holds} of {self.max_cost}")
        self.calls[entry["call"]] = CallFold(entry["call"], self.run, entry["model"], "open", hold)
        self.open_calls += 1
        self.open_holds += hold

    def _settled(self, entry: Entry) -> None:
        call = self._left(entry, amends=bool(entry.get("amends")))
        if call is None:
            return
        cost = nanodollars(entry["cost"])
        counted = 1
        if call.state == "resolved":
            counted = int(call.was_released)
            before = call.resolved_at or 0
            self.token_cost -= before
            self.excused_cost += max(0, cost - before)
            self.excused_calls += counted
        self._priced(entry, call, cost)
        call.state, call.settled = "settled", entry
        self.settled_calls += counted
        self.errors += entry.get("http_status", 0) >= 400
        self.token_cost += cost
        for name in TOKENS:
            self.tokens[name] += entry.get(name, 0)

    def _priced(self, entry: Entry, call: CallFold, cost: int) -> None:
        if "input_tokens" in entry:
            model = entry.get("answered_model") or entry["model"]
            expected = self.prices.cost(model if model in self.prices.models else call.model, entry)
        elif entry.get("http_status", 0) >= 400:
            expected = 0
        else:
            self._break(entry, "is settled without a usage, and no error")
            return
        if cost != expected:
            self._break(entry, f"costs {cost} nanodollars, and by its prices {expected}")

    def _voided(self, entry: Entry) -> None:
        call = self._left(entry)
        if call is not None:
            call.state = "voided"

    def _abandoned(self, entry: Entry) -> None:
        call = self._left(entry)
        if call is None:
            return
        kept = nanodollars(entry["held_cost"])
        if kept < call.hold:
            self._break(entry, f"keeps {kept} of a hold of {call.hold}")
        call.state, call.hold, call.was_abandoned = "unresolved", kept, True
        self.unresolved_calls += 1
        self.unresolved_holds += kept

    def _resolved(self, entry: Entry) -> None:
        call = self.calls.get(entry["call"])
        if call is None or call.state != "unresolved":
            self._break(entry, "resolves a call that is not unresolved")
            return
        self._left(entry)
        call.state = "resolved"
        call.was_released = bool(entry.get("released"))
        call.resolved_at = 0 if call.was_released else nanodollars(entry["cost"])
        if not call.was_released:
            self.settled_calls += 1
            self.token_cost += call.resolved_at

    def _left(self, entry: Entry, *, amends: bool = False) -> CallFold | None:
        """The call of an entry that ends its state, without the hold that it had in that."""
        call = self.calls.get(entry["call"])
        if call is None:
            self._break(entry, "there is no such call")
            return None
        allowed = ("resolved",) if amends else ("open", "unresolved")
        if call.state not in allowed:
            self._break(entry, f"the call is {call.state} already")
            return None
        if call.state == "open":
            self.open_calls -= 1
            self.open_holds -= call.hold
        elif call.state == "unresolved":
            self.unresolved_calls -= 1
            self.unresolved_holds -= call.hold
        return call

    def _stopped(self, entry: Entry) -> None:
        self.stop = entry["reason"]
        self.killed_now = self.killed_now or bool(entry.get("now"))

    def _raised(self, entry: Entry) -> None:
        self.limits = entry.get("limits", self.limits)
        if entry.get("lifted"):
            self.stop = ""

    def _noted(self, entry: Entry) -> None:
        """A warning changes nothing that is counted here."""

    def _checkpoint(self, entry: Entry) -> None:
        """Stands for entries that were pruned, which the auditor has from earlier exports."""
        told = entry["account"]
        for name, own in self.account().items():
            recorded = nanodollars(told[name]) if name.endswith("_cost") else told[name]
            if recorded != own:
                self._break(entry, f"keeps {name} {recorded}, and the entries before it come to {own}")


_ACTS: Mapping[str, Callable[[RunFold, Entry], None]] = {
    "opened": RunFold._opened,
    "closed": RunFold._closed,
    "reserved": RunFold._reserved,
    "settled": RunFold._settled,
    "voided": RunFold._voided,
    "abandoned": RunFold._abandoned,
    "resolved": RunFold._resolved,
    "stopped": RunFold._stopped,
    "warned": RunFold._noted,
    "would_stop": RunFold._noted,
    "raised": RunFold._raised,
    "checkpoint": RunFold._checkpoint,
}
