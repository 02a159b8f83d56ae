"""What supervisor and worker tell each other, over a socket pair."""

from __future__ import annotations

import socket

import anyio
import msgspec
import pytest

from leash_shim.gateway.channel import Channel, ChannelBroken, Order, Report

pytestmark = pytest.mark.anyio


async def pair() -> tuple[Channel, Channel]:
    one, two = socket.socketpair()
    return await Channel.open(one), await Channel.open(two)


async def test_lines_come_as_they_were_sent() -> None:
    supervisor, worker = await pair()
    orders = [Order(config=msgspec.Raw(b'{"prices":"a\\nb"}')), Order(drain=True), Order(cut=True)]
    for order in orders:
        await supervisor.send(order)
    received = [await worker.receive(Order) for _ in orders]
    assert bytes(received[0].config) == b'{"prices":"a\\nb"}'
    assert [(order.drain, order.cut) for order in received] == [(False, False), (True, False), (False, True)]
    await worker.send(Report(failed="no daemon"))
    assert await supervisor.receive(Report) == Report(failed="no daemon")
    supervisor.close()
    worker.close()


async def test_a_configuration_with_a_large_price_table_fits() -> None:
    supervisor, worker = await pair()
    config = msgspec.json.encode({"prices": '"' * (2 << 20)})
    # Both sides have to be at it: the kernel holds less than this.
    async with anyio.create_task_group() as group:
        group.start_soon(supervisor.send, Order(config=msgspec.Raw(config)))
        assert bytes((await worker.receive(Order)).config) == config
    supervisor.close()
    worker.close()


async def test_the_end_of_the_other_side_is_seen_and_telling_it_anything_is_harmless() -> None:
    supervisor, worker = await pair()
    supervisor.close()
    with pytest.raises(ChannelBroken):
        await worker.receive(Order)
    for _ in range(3):
        await worker.send(Report(ready=True))
    worker.close()


@pytest.mark.parametrize("line", [b"no JSON\n", b'{"drain": "yes"}\n', b'{"drain": tr'])
async def test_what_cannot_be_read_ends_a_channel(line: bytes) -> None:
    one, two = socket.socketpair()
    worker = await Channel.open(two)
    with one:
        one.sendall(line)
    with pytest.raises(ChannelBroken):
        await worker.receive(Order)
    worker.close()
