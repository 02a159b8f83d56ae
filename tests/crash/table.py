"""What rounds came to, all together: hits by step and victim, and how many of them met open calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.crash.killer import STEPS
from tests.crash.round import Result

VICTIMS = ("shim", "leashd", "agent", "all")


@dataclass(slots=True)
class Tally:
    """The sum of several rounds."""

    results: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.results.append(result)

    @property
    def kills(self) -> int:
        return sum(len(result.kills) for result in self.results)

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if result.violations]

    def hits(self) -> Counter[tuple[str, str]]:
        """Kills by named step and victim."""
        return Counter((kill.step.partition(".")[0], kill.victim) for result in self.results for kill in result.kills)

    def hits_by_step(self) -> dict[str, int]:
        """Kills by named step, none left out."""
        hits = self.hits()
        return {step: sum(hits[step, victim] for victim in VICTIMS) for step in STEPS}

    def with_open_calls(self) -> int:
        """Kills at an instant at which the provider was at some call."""
        return sum(kill.in_flight > 0 for result in self.results for kill in result.kills)

    def figures(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for result in self.results:
            total.update(result.figures)
        return total

    def record(self) -> dict[str, Any]:
        """All of it, for other programs."""
        return {
            "kills": self.kills,
            "with_open_calls": self.with_open_calls(),
            "hits": self.hits_by_step(),
            "points": Counter(kill.step for result in self.results for kill in result.kills),
            "victims": Counter(kill.victim for result in self.results for kill in result.kills),
            "missed": Counter(missed for result in self.results for missed in result.missed),
            "figures": self.figures(),
            "failed": [
                {"seed": result.seed, "violations": result.violations, "directory": result.directory}
                for result in self.failed
            ],
            "seconds": [result.seconds for result in self.results],
        }

    def table(self) -> str:
        """Hits by step and victim, for people."""
        hits, by_step = self.hits(), self.hits_by_step()
        rows = [f"{'step':32}{'kills':>7}" + "".join(f"{victim:>8}" for victim in VICTIMS)]
        rows += [
            f"{step:32}{by_step[step]:7}" + "".join(f"{hits[step, victim]:8}" for victim in VICTIMS) for step in STEPS
        ]
        sums = [sum(hits[step, victim] for step in STEPS) for victim in VICTIMS]
        rows.append(f"{'all':32}{self.kills:7}" + "".join(f"{total:8}" for total in sums))
        share = self.with_open_calls() / self.kills if self.kills else 0.0
        rows.append(f"with calls open: {self.with_open_calls()} ({share:.0%})")
        rows.append(", ".join(f"{name} {count}" for name, count in sorted(self.figures().items())))
        rows.append(f"violations: {sum(len(result.violations) for result in self.results)}")
        return "\n".join(rows)
