"""Decoding compressed answers as they come."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter import decoder, decoding
from leash_shim.meter.decoding import ALLOWANCE_BYTES, MAX_RATIO

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n' * 7


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def streamed_zstd(data: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor().compressobj()
    first = compressor.compress(data[:10]) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return first + compressor.compress(data[10:]) + compressor.flush()


ENCODERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("", bytes),
    ("identity", bytes),
    ("gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("x-gzip", gzip.compress),
    ("gzip", lambda data: gzip.compress(data[:5]) + gzip.compress(b"") + gzip.compress(data[5:])),
    ("gzip", lambda data: gzip.compress(data) + b"\0\0trailing"),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
    ("zstd", streamed_zstd),
    ("zstd", lambda data: zstandard.compress(data[:5]) + zstandard.compress(data[5:])),
    (" gzip , identity, br ", lambda data: brotli.compress(gzip.compress(data))),
    ("deflate, gzip, zstd", lambda data: zstandard.compress(gzip.compress(raw_deflate(data)))),
]


def decoded(encoding: str, pieces: list[bytes]) -> bytes:
    found = decoder(encoding)
    assert found is not None
    return b"".join([found.feed(piece) for piece in pieces]) + found.finish()


@pytest.mark.parametrize(("encoding", "encode"), ENCODERS)
def test_a_body_is_decoded_whatever_its_pieces(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    encoded = encode(BODY)
    assert decoded(encoding, [encoded]) == BODY
    assert decoded(encoding, [encoded[at : at + 1] for at in range(len(encoded))]) == BODY
    for cut in range(len(encoded) + 1):
        assert decoded(encoding, [encoded[:cut], b"", encoded[cut:]]) == BODY


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_chunk_that_the_server_flushed_is_decoded_at_once(encoding: str) -> None:
    wbits = 31 if encoding == "gzip" else 15
    deflate = zlib.compressobj(wbits=wbits)
    br = brotli.Compressor()
    zstd = zstandard.ZstdCompressor().compressobj()
    chunks = {
        "gzip": lambda data: deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH),
        "deflate": lambda data: deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH),
        "br": lambda data: br.process(data) + br.flush(),
        "zstd": lambda data: zstd.compress(data) + zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK),
    }
    found = decoder(encoding)
    assert found is not None
    for number in range(5):
        event = b"data: %d\n\n" % number
        assert found.feed(chunks[encoding](event)) == event


@pytest.mark.parametrize("encoding", ["compress", "gzip, exi", "gzip;q=1", "\x00", ",".join(["gzip"] * 5)])
def test_an_unknown_encoding_has_no_decoder(encoding: str) -> None:
    assert decoder(encoding) is None


@pytest.mark.parametrize(("encoding", "encode"), [each for each in ENCODERS if each[0] not in ("", "identity")])
def test_a_cut_body_gives_what_came_before_the_cut(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    encoded = encode(BODY)
    for cut in range(0, len(encoded), 3):
        assert BODY.startswith(decoded(encoding, [encoded[:cut]]))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_broken_body_ends_the_decoding_and_raises_nothing(encoding: str) -> None:
    found = decoder(encoding)
    assert found is not None
    assert not found.broken
    found.feed(b"\xff\xff this is not compressed at all" * 10)
    assert found.broken
    assert found.feed(b"more") == b""
    assert found.finish() == b""


@settings(deadline=None)
@given(
    st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, br"]),
    st.lists(st.binary(max_size=40), max_size=6),
    st.integers(0, 60),
    st.binary(max_size=3),
)
def test_no_bytes_raise(encoding: str, pieces: list[bytes], at: int, noise: bytes) -> None:
    decoded(encoding, pieces)
    encode = dict(ENCODERS).get(encoding, bytes)
    encoded = encode(BODY)
    decoded(encoding, [encoded[:at] + noise + encoded[at + 1 :]])


def bombs() -> list[tuple[str, bytes]]:
    zeros = bytes(1 << 28)
    compressor = zlib.compressobj(9, wbits=31)
    zipped = compressor.compress(zeros) + compressor.flush()
    return [
        ("gzip", zipped),
        ("deflate", zlib.compress(zeros, 9)),
        ("br", brotli.compress(zeros, quality=5)),
        ("zstd", zstandard.compress(zeros)),
        ("gzip, gzip", gzip.compress(zipped)),
        ("zstd, gzip, gzip", gzip.compress(gzip.compress(zstandard.compress(zeros)))),
    ]


@pytest.mark.parametrize(("encoding", "bomb"), bombs(), ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("size", [100, 1 << 16, 1 << 20])
def test_a_bomb_is_given_up_within_bounds(encoding: str, bomb: bytes, size: int) -> None:
    found = decoder(encoding)
    assert found is not None
    output_bytes = 0
    tracemalloc.start()
    try:
        for at in range(0, len(bomb), size):
            output_bytes += len(found.feed(bomb[at : at + size]))
        output_bytes += len(found.finish())
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.broken
    assert output_bytes <= ALLOWANCE_BYTES + MAX_RATIO * len(bomb)
    # A piece and its joined copy, and what the brotli library rounds up.
    assert peak_bytes < 3 * (ALLOWANCE_BYTES + MAX_RATIO * min(size, len(bomb)))


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress), ("zstd", zstandard.compress)],
)
def test_the_bound_is_exact(encoding: str, encode: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes(3_000_000)
    encoded = encode(body)
    for over in (0, 1, 50_000):
        monkeypatch.setattr(decoding, "ALLOWANCE_BYTES", len(body) - MAX_RATIO * len(encoded) - over)
        found = decoder(encoding)
        assert found is not None
        assert found.feed(encoded) == (b"" if over else body)
        assert found.broken == (over > 0)


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("br", brotli.compress)])
def test_what_follows_the_end_is_ignored(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    found = decoder(encoding)
    assert found is not None
    assert found.feed(encode(BODY)) == BODY
    assert found.feed(b"\r\n trailing") == b""
    assert not found.broken


def test_an_ordinary_long_stream_is_no_bomb() -> None:
    source = random.Random(7)
    events = b"".join(
        b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"%s"}}]}\n\n' % source.randbytes(3).hex().encode()
        for _ in range(400_000)
    )
    for encoding, encoded in [
        ("gzip", gzip.compress(events, 6)),
        ("br", brotli.compress(events, quality=5)),
        ("zstd", zstandard.compress(events)),
    ]:
        assert decoded(encoding, [encoded[at : at + 65536] for at in range(0, len(encoded), 65536)]) == events


def test_gzip_members_are_bounded() -> None:
    for members, broken in [(1_000, False), (1_001, True)]:
        found = decoder("gzip")
        assert found is not None
        assert found.feed(gzip.compress(b"x") * members) == (b"" if broken else b"x" * members)
        assert found.broken == broken
