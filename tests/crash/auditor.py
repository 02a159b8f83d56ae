"""The auditor of the crash harness: ``python -m tests.crash.auditor DIRECTORY``. It shares no code with leash.

It reads what was written down by four that know nothing of each other (the exported journal and accounts, the
provider's log, the note of which call is which request, and the list of kills) and names everything that they do not
agree on. The rules that it checks are those of docs/crash-testing.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.refold import CallFold, Prices, RunFold, lines, nanodollars

_USAGE = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cached": "cached_input_tokens",
    "reasoning": "reasoning_tokens",
}


@dataclass(slots=True)
class Served:
    """One request as the provider saw it."""

    number: int
    tag: str
    status: int = 0  # of the answer, once all of its figures were on their way
    usage: Mapping[str, int] = field(default_factory=dict)
    end: str = ""  # finished, or who cut it


@dataclass(slots=True)
class Evidence:
    """What is known of one round, as it was written down."""

    entries: dict[str, list[dict[str, Any]]]  # by run, in order
    accounts: dict[str, dict[str, Any]]
    prices: Prices
    served: list[Served]
    links: dict[str, dict[str, Any]]  # by tag
    killed: set[int]  # pids

    @classmethod
    def read(cls, directory: Path) -> Evidence:
        """The evidence in a directory: journal*.jsonl, provider.log, links.log, kills.jsonl and prices.json."""
        # Of several exports the later ones tell what came after a prune, and the earlier ones what it took away.
        entries: dict[tuple[str, int, bool], dict[str, Any]] = {}
        accounts: dict[str, dict[str, Any]] = {}
        for path in sorted(directory.glob("journal*.jsonl")):
            for record in lines(path):
                if record["type"] == "entry":
                    entries[record["run"], record["seq"], record["kind"] != "checkpoint"] = record
                elif record["type"] == "run":
                    accounts[record["run"]] = record
        by_run: dict[str, list[dict[str, Any]]] = {}
        for key in sorted(entries):
            by_run.setdefault(key[0], []).append(entries[key])
        links = {record["tag"]: record for record in lines(directory / "links.log")}
        killed = {pid for kill in lines(directory / "kills.jsonl") for pid in kill["pids"]}
        served = list(_served(directory / "provider.log"))
        return cls(by_run, accounts, Prices.read(directory / "prices.json"), served, links, killed)


@dataclass(frozen=True, slots=True)
class Findings:
    """What an audit came to. ``figures`` says how much there was to look at."""

    violations: tuple[str, ...]
    figures: Mapping[str, int]


def audit(evidence: Evidence) -> Findings:
    """Checks everything."""
    folds: dict[str, RunFold] = {}
    violations: list[str] = []
    for run, entries in evidence.entries.items():
        fold = folds[run] = RunFold(run, evidence.prices)
        for entry in entries:
            fold.take(entry)
        violations += fold.broken
        violations += _against_account(fold, evidence.accounts.get(run))
    violations += [f"run {run} has an account and no entries" for run in evidence.accounts.keys() - folds.keys()]
    calls = {call.call: call for fold in folds.values() for call in fold.calls.values()}
    violations += _against_provider(evidence, folds, calls)
    violations += [f"call {call.call} of {call.run} is open still" for call in calls.values() if call.state == "open"]
    states = [call.state for call in calls.values()]
    figures = {"runs": len(folds), "entries": sum(map(len, evidence.entries.values())), "served": len(evidence.served)}
    figures |= {state: states.count(state) for state in ("settled", "unresolved", "resolved", "voided")}
    figures["late_settles"] = sum(call.was_abandoned and call.state == "settled" for call in calls.values())
    return Findings(tuple(violations), figures)


def _served(path: Path) -> Iterator[Served]:
    served: dict[int, Served] = {}
    for record in lines(path):
        number = record["n"]
        if record["e"] == "received":
            served[number] = Served(number, record["tag"])
        elif record["e"] == "usage":
            served[number].status = record["status"]
            served[number].usage = {name: record[short] for short, name in _USAGE.items() if short in record}
        else:
            served[number].end = record["e"] if record["e"] == "finished" else record["by"]
    yield from served.values()


def _against_account(fold: RunFold, account: Mapping[str, Any] | None) -> Iterator[str]:
    """The ledger's own account of a run has to be what its entries come to."""
    if account is None:
        yield f"run {fold.run} has entries and no account"
        return
    for name, own in fold.account().items():
        told = nanodollars(account[name]) if name.endswith("_cost") else account[name]
        if told != own:
            yield f"run {fold.run}: its account says {name} {told}, and its entries come to {own}"
    if isinstance(account.get("entries"), int) and account["entries"] != fold.seq:
        yield f"run {fold.run}: its account has {account['entries']} entries, and the journal {fold.seq}"


def _against_provider(evidence: Evidence, folds: Mapping[str, RunFold], calls: Mapping[str, CallFold]) -> Iterator[str]:
    """Each request that the provider got is one call of the ledger, and each settled call is one of those."""
    by_call: dict[str, Served] = {}
    for served in evidence.served:
        what = f"request {served.number} ({served.tag})"
        link = evidence.links.get(served.tag)
        if link is None:
            yield f"{what}: no shim has had it"
            continue
        if link["call"] in by_call:
            yield f"{what}: call {link['call']} was forwarded before, as request {by_call[link['call']].number}"
            continue
        by_call[link["call"]] = served
        call = calls.get(link["call"])
        if call is None:
            yield f"{what}: was served, and the ledger has no call {link['call']} of {link['run']}"
            continue
        was_lost = link["pid"] in evidence.killed or folds[call.run].killed_now
        for wrong in _against_call(served, call, was_lost=was_lost):
            yield f"{what}, call {call.call} of {call.run}: {wrong}"
    for call in calls.values():
        if call.state == "settled" and call.call not in by_call:
            yield f"call {call.call} of {call.run} is settled, and no provider has served it"


def _against_call(served: Served, call: CallFold, *, was_lost: bool) -> Iterator[str]:
    """``was_lost``: its shim was killed, or a person had it aborted, so that nobody may know how it ended."""
    if call.state == "voided":
        yield "was served, and voided"
    elif call.state in ("unresolved", "resolved"):
        if served.end == "finished" and not was_lost:
            yield f"is {call.state}, though its shim lived and its answer was whole"
    elif call.settled is not None:
        status = call.settled.get("http_status", 0)
        if status != served.status:
            yield f"is settled with status {status}, and the provider answered {served.status or 'nothing whole'}"
        for name in _USAGE.values():
            told, own = call.settled.get(name, 0), served.usage.get(name, 0)
            if told != own:
                yield f"is settled with {name} {told}, and the provider said {own}"


def main() -> int:
    findings = audit(Evidence.read(Path(sys.argv[1])))
    for violation in findings.violations:
        print(violation)
    print(findings.figures, file=sys.stderr)
    return int(bool(findings.violations))


if __name__ == "__main__":
    sys.exit(main())
