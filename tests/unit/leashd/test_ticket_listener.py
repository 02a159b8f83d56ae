"""The socket where tickets are had, over real connections."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from leashd.peers import Peer, group_id, user_name
from leashd.ticket_listener import TicketListener

pytestmark = pytest.mark.anyio


class Desk:
    """A listener whose tickets are the peers as text."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="lk-", dir="/tmp")).resolve()
        self.path = self.directory / "ticket.sock"
        self.peers: list[Peer] = []
        self.trouble: OSError | None = None
        self.listener = TicketListener(self.path, self._issue)

    def _issue(self, peer: Peer) -> bytes:
        if self.trouble is not None:
            raise self.trouble
        self.peers.append(peer)
        return f"ticket of {peer.uid}".encode()

    async def fetch(self) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    running = asyncio.create_task(desk.listener.run())
    yield desk
    desk.listener.close()
    async with asyncio.timeout(20):
        await running
    shutil.rmtree(desk.directory)


async def test_a_peer_gets_a_ticket_for_whom_the_kernel_says_it_is(desk: Desk) -> None:
    assert await desk.fetch() == f"ticket of {os.geteuid()}".encode()
    [peer] = desk.peers
    assert peer.uid == os.geteuid()
    assert peer.groups >= {os.getegid(), *os.getgroups()}


async def test_peers_that_hang_up_or_say_much_or_get_no_ticket_disturb_nobody(desk: Desk) -> None:
    rude = []
    for _ in range(50):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(desk.path))
        connection.send(b"x" * 4096)
        rude.append(connection)
    for connection in rude[::2]:
        connection.close()
    assert await desk.fetch()
    desk.trouble = OSError("the kernel does not tell")
    assert await desk.fetch() == b""
    desk.trouble = None
    assert await desk.fetch()
    for connection in rude:
        connection.close()


async def test_a_closed_listener_leaves_no_file_and_spares_anothers(desk: Desk) -> None:
    other = Desk()
    other.listener.close()
    assert not other.path.exists()
    another = TicketListener(other.path, lambda _peer: b"")
    other.listener.close()
    assert other.path.exists()
    another.close()
    assert not other.path.exists()
    shutil.rmtree(other.directory)


def test_users_and_groups_are_looked_up_and_some_are_not_there() -> None:
    assert user_name(0) == "root"
    assert user_name(2**31 - 5) == ""
    assert group_id("0") == 0
    assert group_id("no-such-group") is None
