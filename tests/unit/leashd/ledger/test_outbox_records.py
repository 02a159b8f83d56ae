from __future__ import annotations

from pathlib import Path

import lmdb
import pytest

from leash.reactions import check_webhook
from leashd.audit import audit
from leashd.core.outbox import DEAD_KEPT_NS, OutboxKey, Pending, QueueKey, key_of
from leashd.core.reactions import Target
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import Batch
from leashd.operations import DropNotices, NoticesChanged, Prune, Pruned, RecordAttempt, RetryNotices
from tests.unit.leashd.desk import Desk

URL = check_webhook("https://host/")


@pytest.fixture
def told(desk: Desk) -> Desk:
    """Two runs that were killed, with a webhook each."""
    shim = desk.session()
    for run in ("r", "s"):
        shim.open_for_others(run, reactions={"webhook": URL})
    desk.kill("r", "s")
    return desk


def keys(desk: Desk, *, dead: bool = False) -> list[OutboxKey]:
    return [key for key, _ in desk.ledger.outbox(dead=dead)]


def give_up(desk: Desk, key: OutboxKey, **fields: int) -> None:
    pending = desk.ledger.pending(key)
    assert pending is not None
    desk.ask(RecordAttempt(key, Pending(notice=pending.notice, attempts=9, dead=True, **fields)))


def test_queues_are_found_and_one_that_is_given_up_is_in_none(told: Desk) -> None:
    assert list(told.ledger.outbox_queues()) == [QueueKey(1, Target.WEBHOOK), QueueKey(2, Target.WEBHOOK)]
    first, second = keys(told)
    give_up(told, first)

    assert list(told.ledger.outbox_queues()) == [second.queue]
    assert told.ledger.first_pending(first.queue) is None
    assert (keys(told), keys(told, dead=True)) == ([second], [first])
    assert [key for key, _ in told.ledger.outbox(dead=True, after=first)] == []


def test_a_delivered_one_is_gone_and_a_dropped_one_does_not_come_back(told: Desk) -> None:
    first, second = keys(told)
    pending = told.ledger.pending(second)
    told.ask(RecordAttempt(first, None))
    assert told.ask(DropNotices((second, first))) == NoticesChanged(1)
    told.ask(RecordAttempt(second, pending))

    assert keys(told) == []


def test_one_that_a_person_tries_again_is_due_whatever_an_attempt_under_way_comes_to(told: Desk) -> None:
    first, second = keys(told)
    give_up(told, first)
    before = told.ledger.pending(first)
    assert before is not None
    assert told.ask(RetryNotices((first, second, first._replace(seq=99)))) == NoticesChanged(2)
    told.ask(RecordAttempt(first, before))

    pending = told.ledger.first_pending(first.queue)
    assert pending is not None
    assert (pending.attempts, pending.dead, pending.next_attempt_at_ns) == (0, False, 0)
    told.ask(RecordAttempt(first, None))
    assert keys(told) == [second]


def test_those_given_up_are_forgotten_after_their_time(told: Desk) -> None:
    first, second = keys(told)
    give_up(told, first, given_up_at_ns=told.now_ns)
    give_up(told, second, given_up_at_ns=told.now_ns + DEAD_KEPT_NS)
    told.engine.sweep(told.now_ns + DEAD_KEPT_NS + 1)
    told.commit()

    assert keys(told, dead=True) == [second]


def test_a_prune_keeps_what_was_not_told_and_the_ledger_is_whole(told: Desk, tmp_path: Path) -> None:
    told.restart(down_ns=10**10)
    told.pass_time(10**10)
    told.pass_time(10**10)
    pruned = told.ask(Prune(("r", "s"), told.now_ns + 1, 7))
    assert isinstance(pruned, Pruned)

    assert pruned.runs == 2
    assert len(keys(told)) == 2
    assert audit(told.ledger).difference is None
    copy = tmp_path / "copy.db"
    with copy.open("wb") as file:
        told.ledger.copy_to(file.fileno())
    backup = LmdbLedger(copy)
    assert [key for key, _ in backup.outbox(dead=False)] == keys(told)
    assert audit(backup).difference is None
    backup.close()


def test_a_notice_that_does_not_tell_what_happened_is_a_difference(told: Desk) -> None:
    first, _ = keys(told)
    pending = told.ledger.pending(first)
    assert pending is not None
    assert audit(told.ledger).difference is None
    from dataclasses import replace  # noqa: PLC0415 - for what no code of ours does

    forged = replace(pending.notice, used=10**9)
    told.ledger.commit(Batch(outbox={first: Pending(notice=forged)}))
    found = audit(told.ledger).difference
    assert found is not None
    assert found.what == "a notice in the outbox does not tell what happened"
    assert (found.run, found.seq) == ("r", first.seq)
    later = replace(pending.notice, seq=99)
    told.ledger.commit(Batch(outbox={first: pending, key_of(later, Target.HOOK): Pending(notice=later)}))
    found = audit(told.ledger).difference
    assert found is not None
    assert found.what == "a notice in the outbox is of an entry that there is not"
    nobody = replace(pending.notice, number=9)
    gone = {key_of(later, Target.HOOK): None, key_of(nobody, Target.HOOK): Pending(notice=nobody)}
    told.ledger.commit(Batch(outbox=gone))
    found = audit(told.ledger).difference
    assert found is not None
    assert found.what == "there is something of a run with number 9, and no such run"


def test_a_ledger_of_an_older_release_is_read_without_them_and_given_them_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    LmdbLedger(path, alone=True).close()
    environment = lmdb.open(str(path), subdir=False, max_dbs=16, lock=False)
    with environment.begin(write=True) as txn:
        for name in (b"reactions", b"outbox"):
            txn.drop(environment.open_db(name, txn=txn))
    environment.close()
    old = LmdbLedger(path, read_only=True, alone=True)
    assert audit(old).difference is None
    old.close()
    opened = LmdbLedger(path)

    assert list(opened.outbox_queues()) == []
    opened.close()
