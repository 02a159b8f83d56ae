"""The sweep of notices that were given up: bounded, and yet it comes to all of them."""

from __future__ import annotations

from pathlib import Path

from leashd.core.notices import Notice, NoticeKind
from leashd.core.outbox import DEAD_KEPT_NS, OutboxKey, Pending
from leashd.core.reactions import Target
from leashd.core.reasons import Unit
from leashd.ledger.protocol import Batch, ClockRecord
from leashd.telling import SWEPT
from tests.unit.leashd.desk import Desk

_OLD, _NEW = 10, SWEPT + 10


def _given_up(number: int, at_ns: int) -> Pending:
    notice = Notice(
        id=f"evt_{number:032x}", kind=NoticeKind.KILLED, run=f"r{number}", number=number, seq=2, at_ns=at_ns,
        reason="kill_switch", unit=Unit.NANODOLLARS, used=0, limit=0, calls=0,
        token_cost_nanodollars=0, compute_cost_nanodollars=0,
    )  # fmt: skip
    return Pending(notice=notice, dead=True, given_up_at_ns=at_ns)


def test_old_notices_are_forgotten_behind_however_many_new_ones_and_each_sweep_looks_at_few(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "leash.db")
    batch = Batch(clock=ClockRecord("boot", desk.now_ns, 0))
    late_ns = desk.now_ns + DEAD_KEPT_NS + 1
    for number in range(1, _NEW + _OLD + 1):
        key = OutboxKey(number, Target.WEBHOOK, 2, NoticeKind.KILLED)
        batch.outbox[key] = _given_up(number, late_ns if number <= _NEW else desk.now_ns)
    desk.ledger.commit(batch)
    left = []
    for _ in range(3):
        desk.now_ns = late_ns
        desk.engine.sweep(late_ns)
        desk.commit()
        left.append(sum(1 for _ in desk.ledger.outbox(dead=True)))

    assert left == [_NEW + _OLD, _NEW, _NEW]
