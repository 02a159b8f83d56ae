"""The server on real sockets: how many come in, how long they may take, and how they leave."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import trustme
from hypercorn.protocol.http_stream import HTTPStream

from leash_shim.connection import Connection
from leash_shim.conversation import Conversation
from leash_shim.exchanges import HttpExchange
from leash_shim.gateway.tls import tls_context
from leash_shim.hall import Patience
from tests.unit.leash_shim.serving import ANSWER, GET, PATIENCE_S, serving


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


pytestmark = pytest.mark.anyio


async def test_a_connection_is_kept_for_many_requests() -> None:
    async with serving() as served, served.connect() as client:
        for _ in range(3):
            assert await client.ask() == ANSWER


async def test_requests_that_come_at_once_are_answered_in_order() -> None:
    async with serving() as served, served.connect() as client:
        await client.send(GET % b"1" + GET % b"2" + GET % b"3")
        assert await client.read(3 * len(ANSWER)) == 3 * ANSWER
        assert served.app.asked == ["/1", "/2", "/3"]


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: leash\r\n"])
async def test_a_head_that_does_not_come_to_its_end_costs_its_connection(sent: bytes) -> None:
    async with serving(patience=Patience(header_s=0.1)) as served, served.connect() as client:
        await client.send(sent)
        assert await client.read_all() == b""
        assert served.app.asked == []


async def test_a_head_that_comes_byte_by_byte_has_no_longer() -> None:
    async with serving(patience=Patience(header_s=0.2)) as served, served.connect() as client:
        began = anyio.current_time()
        with suppress(ConnectionError, RuntimeError):
            for byte in GET % b"x" * 100:
                await client.send(bytes([byte]))
                await anyio.sleep(0.02)
        assert anyio.current_time() - began < 2
        assert served.app.asked == []


async def test_the_time_for_a_head_does_not_run_while_a_request_is_answered_or_a_connection_kept() -> None:
    async with serving(patience=Patience(header_s=0.1)) as served, served.connect() as client:
        await client.send(GET % b"slow")
        await anyio.sleep(0.2)
        served.app.go.set()
        assert await client.read(len(ANSWER)) == ANSWER
        await anyio.sleep(0.2)
        assert await client.ask() == ANSWER


async def test_the_time_for_a_head_runs_also_where_a_connection_may_be_idle_for_ever() -> None:
    async with serving(patience=Patience(header_s=0.1, idle_s=inf)) as served, served.connect() as client:
        assert await client.ask() == ANSWER
        await client.send(b"GET / HT")
        assert await client.read_all() == b""


async def test_a_connection_that_is_idle_for_too_long_is_closed() -> None:
    async with serving(patience=Patience(idle_s=0.1)) as served, served.connect() as client:
        assert await client.ask() == ANSWER
        assert await client.read_all() == b""


async def test_a_body_that_stops_coming_is_given_up() -> None:
    async with serving(patience=Patience(idle_s=0.1)) as served, served.connect() as client:
        await client.send(b"POST / HTTP/1.1\r\nhost: leash\r\ncontent-length: 10\r\n\r\nfour")
        with anyio.fail_after(PATIENCE_S):
            await served.app.gone.wait()
        await client.read_all()


async def test_an_agent_that_takes_nothing_is_taken_for_gone() -> None:
    async with serving(patience=Patience(idle_s=0.2)) as served, served.connect_slow() as client:
        await client.send(GET % b"endless")
        with anyio.fail_after(PATIENCE_S):
            await served.app.gone.wait()


async def test_what_an_agent_has_not_taken_is_bounded() -> None:
    async with serving() as served, served.connect_slow() as client:
        await client.send(GET % b"endless")
        await served.until_asked()
        sent = -1
        while sent != served.app.sent_bytes:
            sent = served.app.sent_bytes
            await anyio.sleep(0.1)
        # Of which the kernels of both sides have the smaller part.
        assert sent < 600_000


async def test_an_agent_that_takes_slowly_is_not_taken_for_gone() -> None:
    async with serving(patience=Patience(idle_s=0.25)) as served, served.connect_slow() as client:
        await client.send(GET % b"endless")
        for _ in range(10):
            await client.read(50_000)
            await anyio.sleep(0.05)
        assert not served.app.gone.is_set()


async def test_one_connection_too_many_is_told_so() -> None:
    async with serving(max_connections=2) as served, served.connect() as one, served.connect() as two:
        await one.ask()
        await two.ask()
        async with served.connect() as three:
            await three.send(b"POST / HTTP/1.1\r\nhost: leash\r\ncontent-length: 4\r\n\r\nbody")
            head, _, body = (await three.read_all()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in head
        assert b"connection: close" in head
        assert json.loads(body)["error"]["code"] == "too_many_connections"
        one.writer.close()
        with anyio.fail_after(PATIENCE_S):
            while True:
                async with served.connect() as next_one:
                    await next_one.send(GET % b"")
                    if await next_one.reader.read(len(ANSWER)) == ANSWER:
                        break


async def test_what_has_been_idle_for_long_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leash_shim.hall._SETTLED_S", 0.05)
    async with serving(max_connections=2) as served, served.connect() as oldest, served.connect() as busy:
        await oldest.ask()
        await busy.send(GET % b"slow")
        await served.until_asked(2)
        await anyio.sleep(0.1)
        async with served.connect() as newcomer:
            assert await newcomer.ask() == ANSWER
            assert await oldest.read_all() == b""
            served.app.go.set()
            assert await busy.read(len(ANSWER)) == ANSWER


async def test_without_a_descriptor_a_connection_waits_until_there_is_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("leash_shim.server._EXHAUSTED_PAUSE_S", 0.05)
    accept, failures = socket.socket.accept, [errno.EMFILE, errno.EMFILE, errno.ECONNABORTED]

    def failing(sock: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise OSError(number := failures.pop(0), os.strerror(number))
        return accept(sock)

    monkeypatch.setattr(socket.socket, "accept", failing)
    async with serving() as served, served.connect() as client:
        assert await client.ask() == ANSWER
    assert caplog.messages == ["connections have to wait: Too many open files"]


async def test_an_application_that_fails_costs_an_answer_and_no_word_of_the_request_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as served, served.connect() as client:
        await client.send(GET % b"broken")
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 500 ")
        async with served.connect() as other:
            assert await other.ask() == ANSWER
    [message] = caplog.messages
    assert message.startswith("an application failed: ValueError at ")
    assert "broken" not in message


async def test_what_is_over_leaves_nothing_for_the_garbage_collector() -> None:
    def left() -> list[str]:
        kinds = (Connection, Conversation, HttpExchange, HTTPStream)
        return [type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds)]

    async with serving() as served:
        gc.collect()
        gc.disable()
        try:
            for sent in (
                b"",
                b"GET / HT",
                GET % b"",
                b"POST / HTTP/1.1\r\nhost: leash\r\ncontent-length: 9\r\n\r\nfour",
            ):
                async with served.connect() as client:
                    await client.send(sent)
                    await anyio.sleep(0.02)
            with anyio.fail_after(PATIENCE_S):
                while left():  # noqa: ASYNC110 (connections tell nobody that they are gone)
                    await anyio.sleep(0.01)
        finally:
            gc.enable()


async def test_a_server_without_connections_ends_at_once() -> None:
    async with serving(linger_s=5) as served:
        await anyio.sleep(0.05)
        served.shutdown.set()
        assert await served.until_ended() < 1
        with pytest.raises(ConnectionRefusedError):
            async with served.connect():
                pass


async def test_an_idle_connection_ends_at_once_without_a_linger() -> None:
    async with serving() as served, served.connect() as client, served.connect():
        await client.ask()
        served.shutdown.set()
        assert await served.until_ended() < 1


async def test_an_idle_connection_may_become_busy_while_the_server_lingers() -> None:
    async with serving(linger_s=0.3) as served, served.connect() as client, served.connect() as idle:
        await client.ask()
        served.shutdown.set()
        await anyio.sleep(0.1)
        await client.send(GET % b"")
        answer = await client.read_all()
        assert b"connection: close" in answer
        assert answer.endswith(b"ok")
        assert not served.ended.is_set()
        assert await idle.read_all() == b""
        assert await served.until_ended() < 2


async def test_a_busy_connection_ends_with_its_answer() -> None:
    async with serving(linger_s=0.1) as served, served.connect() as client:
        await client.send(GET % b"slow")
        await served.until_asked()
        served.shutdown.set()
        await anyio.sleep(0.3)
        assert not served.ended.is_set()
        served.app.go.set()
        assert (await client.read_all()).endswith(b"ok")
        assert await served.until_ended() < 1


async def test_what_does_not_end_in_time_is_cut() -> None:
    async with serving(drain_s=0.2) as served, served.connect() as client:
        await client.send(GET % b"slow")
        await served.until_asked()
        served.shutdown.set()
        assert await served.until_ended() < 2
        await client.read_all()
        assert served.app.cut.cancel_called


async def test_a_server_that_is_cancelled_cuts_at_once() -> None:
    async with serving(drain_s=60) as served, served.connect() as client:
        await client.send(GET % b"slow")
        await served.until_asked()
        served.serving.cancel()
        assert await served.until_ended() < 2
        assert served.app.cut.cancel_called


async def test_connections_that_wait_when_the_server_leaves_are_served() -> None:
    async with serving(linger_s=1) as served:
        await anyio.lowlevel.checkpoint()
        with socket.create_connection(("127.0.0.1", served.port)) as waiting:
            waiting.sendall(GET % b"")
            served.shutdown.set()
            waiting.setblocking(False)
            with anyio.fail_after(PATIENCE_S):
                answer = await asyncio.get_running_loop().sock_recv(waiting, 1000)
        assert answer.endswith(b"ok")


@pytest.fixture
def certify(tmp_path: Path) -> Callable[[], tuple[ssl.SSLContext, str, str]]:
    """Makes a certificate: the context of a client that trusts it, and the paths of it and its key."""

    def certified() -> tuple[ssl.SSLContext, str, str]:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        client = ssl.create_default_context()
        authority.configure_trust(client)
        return client, str(certificate), str(key)

    return certified


async def test_a_new_certificate_is_for_new_connections(
    certify: Callable[[], tuple[ssl.SSLContext, str, str]],
) -> None:
    before, *paths = certify()
    contexts = [tls_context(*paths)]
    async with serving(tls=lambda: contexts[-1]) as served, served.connect(ssl=before) as old:
        assert await old.ask() == ANSWER
        after, *paths = certify()
        contexts.append(tls_context(*paths))
        async with served.connect(ssl=after) as new:
            assert await new.ask() == ANSWER
        assert await old.ask() == ANSWER
        with pytest.raises(ssl.SSLCertVerificationError):
            async with served.connect(ssl=before):
                pass


async def test_whoever_does_not_finish_a_handshake_is_closed(
    certify: Callable[[], tuple[ssl.SSLContext, str, str]],
) -> None:
    _, *paths = certify()
    context = tls_context(*paths)
    async with serving(tls=lambda: context, patience=Patience(header_s=0.2)) as served, served.connect() as client:
        assert await client.read_all() == b""
        async with served.connect() as plain:
            await plain.send(GET % b"")
            assert b"ok" not in await plain.read_all()


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("missing.pem", "missing.key", "cannot be read: No such file"),
        ("cert.pem", "cert.pem", "are no certificate and its key"),
        ("cert.pem", "other.pem", "key values mismatch"),
    ],
)
def test_files_that_are_no_certificate_and_key_are_named(
    tmp_path: Path,
    certify: Callable[[], tuple[ssl.SSLContext, str, str]],
    certificate: str,
    key: str,
    said: str,
) -> None:
    certify()
    (tmp_path / "other.pem").write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    with pytest.raises(ValueError, match=said):
        tls_context(str(tmp_path / certificate), str(tmp_path / key))
