"""Who and where this daemon is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The facts of one daemon process."""

    version: str
    pid: int
    uid: int
    started_at_ns: int
    system: bool = False  # of the whole host, not of one user
