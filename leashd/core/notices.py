"""What of a run is told outside: entry × account → notices. Everything that becomes a webhook or a hook is here.

A notice says what happened and what the run came to by then. Its id follows from the ledger alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

from leashd.core.account import Account
from leashd.core.bounds import MAX_LIMIT
from leashd.core.events import Abandoned, Closed, Entry, Raised, Settled, Stopped, Voided, Warned
from leashd.core.reasons import UNITS, Reason, Unit

_ID_BYTES = 16  # that two of a billion notices meet by chance is as likely as a wrong bit in memory


class NoticeKind(IntEnum):
    """What a notice is of. A number is never used again for another kind; of one entry they are told in this order."""

    WARNING = 1
    STOPPED = 2
    KILLED = 3
    RAISED = 4
    UNRESOLVED = 5
    FINISHED = 6

    @property
    def label(self) -> str:
        """As it is told."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to be told. ``used`` and ``limit`` are in ``unit``; a limit of zero is none."""

    id: str
    kind: NoticeKind
    run: str
    number: int
    seq: int
    at_ns: int
    reason: str
    unit: Unit
    used: int
    limit: int
    calls: int
    token_cost_nanodollars: int
    compute_cost_nanodollars: int

    @property
    def total_cost_nanodollars(self) -> int:
        """Token, tool and compute cost."""
        return self.token_cost_nanodollars + self.compute_cost_nanodollars


def notices_of(before: Account | None, account: Account, entry: Entry) -> tuple[Notice, ...]:
    """What an entry has to tell by itself; ``account`` is the run's after it, ``before`` the one before it."""
    event = entry.event
    if isinstance(event, Warned):
        return (_notice(NoticeKind.WARNING, account, entry, event.reason, figures=event),)
    if isinstance(event, Stopped):
        kind = NoticeKind.KILLED if event.reason is Reason.KILL_SWITCH else NoticeKind.STOPPED
        return (_notice(kind, account, entry, event.reason, figures=event),)
    if isinstance(event, Raised):
        lifted = before.stop.reason.value if before is not None and before.stop is not None and event.lifted else ""
        return (_notice(NoticeKind.RAISED, account, entry, lifted),)
    if isinstance(event, Abandoned) and not event.unresolved:
        return (_notice(NoticeKind.UNRESOLVED, account, entry, Reason.UNRESOLVED_CALLS),)
    return ()


def finish_of(account: Account, entry: Entry) -> tuple[Notice, ...]:
    """That the run is finished by an entry, which is the last of those that were written together; it was not before.

    A call that closes after the last opener has gone may stop the run by its cost, in the next entry: so this is not
    asked of each entry.
    """
    if not isinstance(entry.event, Closed | Settled | Voided | Abandoned):
        return ()  # a raise may leave a stopped run finished: that is told as a raise
    if not is_finished(account):
        return ()
    return (_notice(NoticeKind.FINISHED, account, entry, account.reason),)


def is_finished(account: Account) -> bool:
    """Whether the run has finished, and was not stopped."""
    return not account.openers and not account.open.calls and account.stop is None


def _notice(
    kind: NoticeKind, account: Account, entry: Entry, reason: str, *, figures: Stopped | Warned | None = None
) -> Notice:
    compute_cost = account.compute_cost_nanodollars(entry.at_ns)
    total_cost = account.totals.token_cost_nanodollars + compute_cost
    unit, used, limit = Unit.NANODOLLARS, total_cost, account.limits.in_force.max_cost_nanodollars
    if figures is not None and figures.limit and figures.reason in UNITS:
        unit, used, limit = UNITS[figures.reason], figures.used, figures.limit
    return Notice(
        id=_id(kind, account, entry),
        kind=kind,
        run=account.run,
        number=account.number,
        seq=entry.seq,
        at_ns=entry.at_ns,
        reason=str(reason),
        unit=unit,
        used=min(used, MAX_LIMIT),
        limit=limit,
        calls=account.totals.calls,
        token_cost_nanodollars=account.totals.token_cost_nanodollars,
        compute_cost_nanodollars=compute_cost,
    )


def _id(kind: NoticeKind, account: Account, entry: Entry) -> str:
    """The same whenever it is asked for, and no other's: not after a restore either, where numbers come again."""
    facts = (account.run, account.created_at_ns, account.number, entry.seq, entry.at_ns, kind.label)
    text = "\0".join(map(str, facts)).encode()
    return f"evt_{hashlib.blake2b(text, digest_size=_ID_BYTES).hexdigest()}"
