"""DESIGN 4.4 and 8: one writer, a bounded queue, and nothing told before it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from leashd import committer as committer_module
from leashd.clock import LedgerClock
from leashd.commit_figures import CommitFigures
from leashd.committer import MAX_QUEUED, Committer
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import Batch, LedgerUnavailableError
from leashd.operations import (
    Acknowledge,
    Answer,
    Disconnected,
    Done,
    Failed,
    FailureCode,
    Hello,
    Probe,
    Probed,
    Welcome,
)
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


@pytest.mark.anyio
async def test_a_probe_is_written_and_counted(committer: Committer) -> None:
    link = Stream()
    answers: list[Answer] = []
    committer.submit(Hello(NAME, frozenset(), link), answers.append)
    for _ in range(4):
        committer.submit(Probe(NAME, link), answers.append)
    await committed(committer)

    assert answers[1:] == [Probed(open_runs=0)] * 4
    figures = committer.figures
    assert (figures.commits, figures.operations, figures.entries) == (1, 5, 0)
    assert figures.commits_by_size == [0, 0, 0, 1, *[0] * 9]


@pytest.mark.parametrize(
    ("operations", "bucket"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (4096, 12), (10**6, 12)]
)
def test_commits_are_counted_by_their_size(operations: int, bucket: int) -> None:
    figures = CommitFigures()
    figures.committed(operations=operations, entries=7)

    assert figures.commits_by_size.index(1) == bucket
    assert sum(figures.commits_by_size) == figures.commits == 1


@pytest.mark.anyio
async def test_many_operations_are_decided_a_few_at_a_time_and_others_get_their_turn_between(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "BATCH_S", 0.0)
    monkeypatch.setattr(committer_module, "RIDE_S", 60.0)  # nobody is to wait for that, since they have waited
    link = Stream()
    told: list[object] = []
    committer.submit(Hello(NAME, frozenset(), link), told.append)
    for number in range(4):
        committer.submit(Acknowledge(NAME, link, ()), lambda _, number=number: told.append(number))

    async def others() -> None:
        while 3 not in told:
            told.append("others")
            await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await asyncio.gather(committed(committer), others())

    answers = [entry for entry in told if entry != "others"]
    assert answers == [Welcome(), 0, 1, 2, 3]
    assert all("others" in told[told.index(number) : told.index(number + 1)] for number in range(3)), told


@pytest.mark.anyio
async def test_a_probe_finds_out_that_the_ledger_cannot_be_written_and_that_it_can_be_again(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Stream()
    answers: list[Answer] = []
    full = True

    def commit(batch: Batch) -> None:
        if full:
            raise LedgerUnavailableError("the disk is full")
        really(batch)

    really = committer._ledger.commit
    monkeypatch.setattr(committer._ledger, "commit", commit)
    running = asyncio.create_task(committer.run())
    committer.submit(Hello(NAME, frozenset(), link), answers.append)
    for full in (True, False):
        asked = asyncio.get_running_loop().create_future()
        committer.submit(Probe(NAME, link), asked.set_result)
        answers.append(await asked)
        assert committer.read_only is full
    committer.stop()
    await running

    failed, probed = answers[1:]
    assert isinstance(failed, Failed)
    assert failed.code is FailureCode.UNAVAILABLE
    assert probed == Probed(open_runs=0)
    assert (committer.figures.commits, committer.figures.operations) == (1, 1)
    clock = committer._ledger.clock()
    assert clock is not None
    assert clock.ledger_ns > 0
