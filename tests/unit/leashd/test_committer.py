"""DESIGN 4.4 and 8: one writer, a bounded queue, and nothing told before it is durable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from leashd.clock import LedgerClock
from leashd.committer import MAX_QUEUED, Committer
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.operations import Acknowledge, Answer, Disconnected, Done, Failed, FailureCode, Hello, Welcome
from tests.unit.leashd.desk import Stream

NAME = b"session1"


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    ledger = LmdbLedger(tmp_path / "leash.db")
    yield Committer(ledger, LedgerClock(None))
    ledger.close()


async def committed(committer: Committer) -> None:
    """Everything that is queued, carried out."""
    committer.stop()
    await committer.run()


@pytest.mark.anyio
async def test_what_is_queued_is_answered_in_order_before_it_stops(committer: Committer) -> None:
    link = Stream()
    answers: list[Answer] = []
    committer.submit(Hello(NAME, frozenset(), link), answers.append)
    committer.submit(Acknowledge(NAME, link, ()), answers.append)
    assert answers == []
    await committed(committer)

    assert answers == [Welcome(), Done()]


@pytest.mark.anyio
async def test_a_full_queue_refuses_what_comes_but_never_the_end_of_a_stream(committer: Committer) -> None:
    link = Stream()
    answers: list[Answer] = []
    committer.submit(Hello(NAME, frozenset(), link), answers.append)
    for _ in range(MAX_QUEUED - 1):
        committer.submit(Acknowledge(NAME, link, ()), answers.append)
    assert answers == []
    committer.submit(Acknowledge(NAME, link, ()), answers.append)
    (refused,) = answers
    assert isinstance(refused, Failed)
    assert refused.code is FailureCode.BUSY

    committer.submit(Disconnected(NAME, link), answers.append)
    await committed(committer)
    assert committer.engine.connected_sessions == 0
