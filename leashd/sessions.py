"""The shim sessions that the daemon knows: which have a live stream, and which are within their grace.

Nothing here is durable. What a session owns (its runs, its calls) is in the ledger, under the digest of its secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from leashd.operations import Link


@dataclass(slots=True)
class Session:
    """One shim session. ``link`` is None while its stream is away."""

    id: bytes
    link: Link | None = None
    lost_at_ns: int = 0  # since when the stream is away; the grace counts from here
    alive_until_ns: int = 0  # when it was last known to be alive
    pids: dict[str, int] = field(default_factory=dict)  # run -> wrapped process


class Sessions:
    """Every session that is connected or may still come back."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, Session] = {}

    @property
    def connected(self) -> int:
        """How many have a live stream."""
        return sum(session.link is not None for session in self._sessions.values())

    def recovered(self, session: bytes, *, alive_until_ns: int, lost_at_ns: int) -> None:
        """A session that the ledger names, with the usual grace to come back, unless it is known already."""
        if session not in self._sessions:
            self._sessions[session] = Session(session, lost_at_ns=lost_at_ns, alive_until_ns=alive_until_ns)

    def connect(self, session: bytes, link: Link) -> Link | None:
        """Gives a session its stream; returns the older one that it replaces."""
        known = self._sessions.setdefault(session, Session(session))
        replaced, known.link = known.link, link
        return replaced

    def disconnect(self, session: bytes, now_ns: int) -> None:
        """The session's stream has ended."""
        known = self._sessions[session]
        known.link = None
        known.lost_at_ns = known.alive_until_ns = now_ns

    def is_current(self, session: bytes, link: Link) -> bool:
        """Whether this is the stream that the session has now."""
        known = self._sessions.get(session)
        return known is not None and known.link is link

    def forget(self, session: bytes) -> None:
        """The session has ended."""
        del self._sessions[session]

    def wraps(self, session: bytes, run: str, pid: int) -> None:
        """The session runs this process under a run; 0 for none."""
        pids = self._sessions[session].pids
        if pid:
            pids[run] = pid
        else:
            pids.pop(run, None)  # a gateway opens any number of runs, and wraps none

    def link(self, session: bytes) -> Link | None:
        """The live stream of a session."""
        known = self._sessions.get(session)
        return known.link if known is not None else None

    def pid(self, session: bytes, run: str) -> int:
        """The process that a session with a live stream runs under a run; 0 for none."""
        known = self._sessions.get(session)
        return known.pids.get(run, 0) if known is not None and known.link is not None else 0

    def past_grace(self, now_ns: int, grace_ns: int) -> list[Session]:
        """The sessions whose stream is away for longer than the grace."""
        return [
            session
            for session in self._sessions.values()
            if session.link is None and session.lost_at_ns + grace_ns <= now_ns
        ]

    def postpone(self, now_ns: int, grace_ns: int) -> None:
        """Gives the sessions that are past their grace another one, after which their end is tried again."""
        for session in self.past_grace(now_ns, grace_ns):
            session.lost_at_ns = now_ns

    def next_end_ns(self, grace_ns: int) -> int | None:
        """When the first session that is away runs out of its grace."""
        away = [session.lost_at_ns + grace_ns for session in self._sessions.values() if session.link is None]
        return min(away, default=None)
