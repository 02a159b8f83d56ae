"""What is said of an endpoint that does not answer as it should: never the URL, which may be a secret."""

from __future__ import annotations

import asyncio
import base64

from leashd.core.outbox import Failure
from leashd.reactions.webhook import WebhookSender

_KEY = "whsec_" + base64.b64encode(bytes(32)).decode()


async def _sent(url: str) -> Failure | None:
    sender = WebhookSender()
    try:
        return await sender.send(url, notice_id="evt_1", body=b"{}", key=_KEY)
    finally:
        await sender.close()


async def _answered_with(answer: bytes) -> Failure | None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        return await _sent(f"http://127.0.0.1:{port}/SECRET?token=SECRET")


def test_a_failure_never_quotes_the_url() -> None:
    failures = [
        asyncio.run(_answered_with(b"HTTP/1.1 xx none\r\n\r\n")),
        asyncio.run(_answered_with(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000 + b"\r\n\r\n")),
        asyncio.run(_answered_with(b"")),
        asyncio.run(_sent("http://a\\b/SECRET")),
    ]
    for failure in failures:
        assert failure is not None
        assert failure.error
        assert "SECRET" not in failure.error
