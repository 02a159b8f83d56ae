"""What an audit of a ledger came to, as people and scripts read it. Pure, and shared by leashd and leashctl."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where the ledger contradicts itself; ``run`` and ``seq`` are empty where it is about none."""

    what: str
    run: str = ""
    seq: int = 0
    stored: str = ""
    refolded: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The end of an audit: the ledger is whole, or where it is not."""

    ledger: str
    runs: int
    entries: int
    difference: Difference | None = None

    def lines(self) -> list[str]:
        """The verdict for people."""
        found = self.difference
        if found is None:
            return [f"{counted(self.runs, 'run')}, {counted(self.entries, 'entry')}: the ledger is whole"]
        where = f"run {found.run}" if found.run else "the ledger"
        if found.seq:
            where += f", entry {found.seq}"
        lines = [f"{where}: {found.what}"]
        if found.stored or found.refolded:
            lines += [f"  stored:   {found.stored}", f"  refolded: {found.refolded}"]
        return lines

    def record(self) -> dict[str, object]:
        """The verdict for scripts: fields are only ever added."""
        found = self.difference
        return {
            "ledger": self.ledger,
            "whole": found is None,
            "runs": self.runs,
            "entries": self.entries,
            "difference": None
            if found is None
            else {
                "run": found.run or None,
                "seq": found.seq or None,
                "what": found.what,
                "stored": found.stored or None,
                "refolded": found.refolded or None,
            },
        }


def progress_line(runs: int, entries: int, total_entries: int) -> str:
    """How far an audit is."""
    part = f" ({entries * 100 // total_entries} %)" if total_entries else ""
    return f"{counted(runs, 'run')}, {counted(entries, 'entry')} refolded{part}"


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the singular or the plural."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{number} {noun}s"
