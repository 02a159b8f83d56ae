"""What the committer has done since the daemon's start."""

from __future__ import annotations

from dataclasses import dataclass, field

SIZES = 13  # up to 1, 2, 4 … 4096 operations, the largest batch


@dataclass(slots=True)
class CommitFigures:
    """Counts of what was committed. ``commits_by_size`` has the commits of up to 1, 2, 4 … operations, each once."""

    commits: int = 0
    operations: int = 0
    entries: int = 0
    commits_by_size: list[int] = field(default_factory=lambda: [0] * SIZES)

    def committed(self, *, operations: int, entries: int) -> None:
        """Counts one commit. One of no operation is one of time's own."""
        self.commits += 1
        self.operations += operations
        self.entries += entries
        self.commits_by_size[min(max(operations - 1, 0).bit_length(), SIZES - 1)] += 1
