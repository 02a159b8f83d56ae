"""DESIGN 9: what systemd is told of the daemon, and that the watchdog is fed by the committer's progress alone."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from leash.notify import Notifier
from leashd.clock import LedgerClock
from leashd.committer import Committer
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.ledger.protocol import Batch
from leashd.operations import Answer, Hello, Probe
from leashd.signs_of_life import SignsOfLife
from tests.unit.leashd.desk import Stream

INTERVAL_S = 0.02


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    ledger = LmdbLedger(tmp_path / "leash.db")
    yield Committer(ledger, LedgerClock(None))
    ledger.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


def notifier(tmp_path: Path) -> Notifier:
    return Notifier(str(tmp_path / "notify"), watchdog_interval_s=INTERVAL_S)


def heard(manager: socket.socket) -> list[bytes]:
    """What has come so far."""
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096))
        except BlockingIOError:
            return messages


async def fed(manager: socket.socket) -> bool:
    """Waits for the watchdog to be fed."""
    async with asyncio.timeout(20):
        while b"WATCHDOG=1" not in heard(manager):  # noqa: ASYNC110 - it is a datagram that is waited for
            await asyncio.sleep(INTERVAL_S)
    return True


@pytest.mark.anyio
async def test_the_watchdog_is_fed_while_nothing_is_asked_and_not_while_a_commit_hangs(
    committer: Committer, manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released = threading.Event(), threading.Event()
    really = committer._ledger.commit

    def commit(batch: Batch) -> None:
        begun.set()
        assert released.wait(60), "the test has failed before it came here"
        really(batch)

    monkeypatch.setattr(committer._ledger, "commit", commit)
    life = SignsOfLife(notifier(tmp_path), committer, "/l.db")
    async with asyncio.timeout(60):
        committing = asyncio.create_task(committer.run())
        living = asyncio.create_task(life.run())
        try:
            assert await fed(manager)

            answers: list[Answer] = []
            link = Stream()
            committer.submit(Hello(b"session1", frozenset(), link), answers.append)
            committer.submit(Probe(b"session1", link), answers.append)
            while not begun.is_set():  # noqa: ASYNC110 - it is set in another thread
                await asyncio.sleep(INTERVAL_S)
            # One round may have ended just before the commit began.
            await asyncio.sleep(2 * INTERVAL_S)
            heard(manager)
            await asyncio.sleep(20 * INTERVAL_S)
            assert b"WATCHDOG=1" not in heard(manager)

            released.set()
            assert await fed(manager)
        finally:
            released.set()
            living.cancel()
            committer.stop()
            await committing


@pytest.mark.anyio
async def test_the_end_of_a_long_commit_is_told_soon_and_not_an_interval_later(
    committer: Committer, manager: socket.socket, tmp_path: Path
) -> None:
    life = SignsOfLife(Notifier(str(tmp_path / "notify"), watchdog_interval_s=300), committer, "/l.db")
    async with asyncio.timeout(60):
        committing = asyncio.create_task(committer.run())
        living = asyncio.create_task(life.run())
        assert await fed(manager), "the first round has ended long before the interval has"
        living.cancel()
        committer.stop()
        await committing


def test_it_is_ready_again_after_each_reload_and_says_when_the_ledger_cannot_be_written(
    committer: Committer, manager: socket.socket, tmp_path: Path
) -> None:
    life = SignsOfLife(notifier(tmp_path), committer, "/l.db")
    life.ready()
    assert heard(manager) == [b"READY=1\nSTATUS=0 shims connected, 0 operations committed to /l.db"]
    committer.read_only = True
    life.reloading()
    life.ready()
    reloading, ready = heard(manager)
    assert reloading.startswith(b"RELOADING=1\n")
    assert ready == b"READY=1\nSTATUS=/l.db cannot be written: calls are refused until it can"
    life.stopping()
    assert heard(manager)[0].startswith(b"STOPPING=1\n")
