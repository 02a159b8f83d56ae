"""Every exchange of the corpus: the same usage however its answer is cut, compressed or sent."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from leash_shim.meter import decoder
from leash_shim.tap import tap_for
from tests.exchanges.corpus import CORPUS
from tests.exchanges.exchange import Exchange

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.fixture(params=CORPUS.values(), ids=CORPUS.keys())
def exchange(request: pytest.FixtureRequest) -> Exchange:
    found: Exchange = request.param
    return found


def test_what_it_came_to(exchange: Exchange) -> None:
    metered = exchange.read([exchange.sent])
    assert (metered.usage, metered.model) == (exchange.usage, exchange.model)
    assert metered.broken_off == exchange.broken_off
    assert bool(metered.fingerprint) == bool(exchange.says)


def test_the_same_split_at_every_byte_boundary(exchange: Exchange) -> None:
    body = exchange.sent
    expected = exchange.read([body])
    for cut in range(0, len(body) + 1, exchange.step):
        assert exchange.read([body[:cut], body[cut:]]) == expected
    assert exchange.read([body[at : at + exchange.step] for at in range(0, len(body), exchange.step)]) == expected


def test_the_same_without_a_fingerprint(exchange: Exchange) -> None:
    metered = exchange.read([exchange.sent], want_fingerprint=False)
    assert (metered.usage, metered.model, metered.fingerprint) == (exchange.usage, exchange.model, b"")


@pytest.mark.parametrize("encoding", ENCODERS)
def test_the_same_in_every_content_encoding(exchange: Exchange, encoding: str) -> None:
    expected = exchange.read([exchange.sent])
    encoded = ENCODERS[encoding](exchange.sent)
    for size in (1, 7, len(encoded)):
        decode = decoder(encoding)
        assert decode is not None
        pieces = [decode.feed(encoded[at : at + size]) for at in range(0, len(encoded), size)]
        assert exchange.read([*pieces, decode.finish()]) == expected


def test_the_agent_sees_what_it_would_have_seen_without_leash(exchange: Exchange) -> None:
    for size in (exchange.step, 3 * exchange.step, len(exchange.sent)):
        tap = tap_for(
            exchange.way.format,
            exchange.facts,
            status=200,
            answer_headers=[(b"content-type", exchange.answer_type.encode())],
            hides_usage_chunk=exchange.prepared.hides_usage_chunk,
        )
        seen = b"".join(tap.feed(exchange.sent[at : at + size]) for at in range(0, len(exchange.sent), size))
        tail, metered = tap.finish()
        assert seen + tail == exchange.answer
        assert metered is not None
        assert metered.usage == exchange.usage


def test_replies_have_equal_fingerprints_exactly_where_they_say_and_do_the_same() -> None:
    said: dict[tuple[str, str], set[bytes]] = {}
    for exchange in CORPUS.values():
        assert exchange.way.format is not None
        fingerprints = said.setdefault((exchange.way.format.name, exchange.says), set())
        fingerprints.add(exchange.read([exchange.sent]).fingerprint)
    assert {key for key, fingerprints in said.items() if len(fingerprints) > 1} == set()
    for name in {name for name, _ in said}:
        of_format = [fingerprint for (other, _), found in said.items() if other == name for fingerprint in found]
        assert len(set(of_format)) == len(of_format), name
