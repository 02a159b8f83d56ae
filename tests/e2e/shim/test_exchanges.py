"""Every exchange of the corpus through real sockets: the same usage, and the provider's bytes unchanged."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard

from leash.v1 import shim_pb2, types_pb2
from leash_shim.messages import usage_message
from tests.exchanges.corpus import CORPUS
from tests.exchanges.exchange import Exchange

pytestmark = pytest.mark.anyio

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}

# Where an answer is cut into chunks: within words, and within compressed blocks; a large one into so many.
PIECE_BYTES = 61
MOST_PIECES = 500


def asked(exchange: Exchange) -> bytes:
    head = (
        f"POST /openai{exchange.path} HTTP/1.1\r\nHost: shim\r\nConnection: close\r\nAccept-Encoding: gzip, br\r\n"
        f"Content-Type: {exchange.request_type}\r\nContent-Length: {len(exchange.request)}\r\n\r\n"
    )
    return head.encode() + exchange.request


class Answers:
    """A provider that answers in an encoding, in chunks of its own size."""

    def __init__(self, exchange: Exchange, encoding: str) -> None:
        body = ENCODERS[encoding](exchange.sent)
        self.body = body
        self.head = f"HTTP/1.1 200 OK\r\nContent-Type: {exchange.answer_type}\r\nTransfer-Encoding: chunked\r\n"
        if encoding != "identity":
            self.head += f"Content-Encoding: {encoding}\r\n"
        size = max(PIECE_BYTES, len(body) // MOST_PIECES)
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        self.chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]

    async def __call__(self, _asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(self.head.encode() + b"\r\n")
        for chunk in self.chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")


@pytest.mark.parametrize("exchange", CORPUS.values(), ids=CORPUS.keys())
async def test_the_agent_gets_the_providers_bytes_and_the_daemon_what_they_came_to(
    start: Callable[..., Any], exchange: Exchange
) -> None:
    # Where the usage is asked for, nothing is compressed, or else it is undone for the agent.
    spliced = exchange.prepared.hides_usage_chunk
    async with start() as shim:
        for number, encoding in enumerate(ENCODERS, start=1):
            answers = Answers(exchange, encoding)
            shim.provider.script = answers
            got = await shim.ask(asked(exchange))
            expected = exchange.answer if spliced else answers.body
            assert hashlib.sha256(got.body).hexdigest() == hashlib.sha256(expected).hexdigest(), encoding
            assert got.whole
            sent = shim.provider.asked[-1]
            assert sent.body == exchange.prepared.body
            assert spliced or sent.body == exchange.request
            assert sent.header("accept-encoding") == ("identity" if spliced else "gzip, br")
            outcome = "abandon" if exchange.broken_off else "settle"
            closed = await shim.session.until(outcome, number)
            assert shim.session.kinds == ["reserve", outcome] * number
            usage = usage_message(exchange.usage)
            if exchange.broken_off:
                assert closed.HasField("known") == (usage is not None)
                assert usage is None or closed.known == usage
                continue
            assert (closed.HasField("usage"), closed.model) == (usage is not None, exchange.model)
            assert usage is None or closed.usage == usage
            assert closed.fingerprint == exchange.read([exchange.sent]).fingerprint


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("/v1/batches", b"{}", "A batch bills when it is worked off"),
        ("/v1/responses", b'{"model":"m","input":"x","background":true}', 'A response with "background": true is'),
        ("/v1/audio/speech", b'{"model":"m","input":"x"}', "Speech as plain audio has no usage beside it"),
        ("/v2/unheard-of", b"{}", "This endpoint is unknown to leash"),
    ],
)
async def test_what_cannot_be_metered_is_told_why_and_what_to_do(
    start: Callable[..., Any], path: str, body: bytes, why: str
) -> None:
    verdict = shim_pb2.Refused(reason=types_pb2.REASON_METER_BLIND, payment_required=True, detail="in general")
    async with start() as shim:
        shim.session.verdict = verdict
        got = await shim.ask(asked(Exchange(name="", path=path, request=body, answer=b"")))
        assert shim.session.last("reserve").unmeterable
        assert got.status == 402
        assert why.encode() in got.body.replace(b'\\"', b'"')
        assert b"--on-blind allow" in got.body
        assert shim.provider.asked == []
