"""Requests that two servers may read in two ways, and heads that no server should take (docs/security.md)."""

from __future__ import annotations

import socket

from tests.e2e.threats.doors import BODY, CHUNKS, IN_CHUNKS, KEY, LENGTH, Door
from tests.harness import WAIT_S

# Another request, which would ride in the body of the first.
SMUGGLED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: leash\r\nContent-Length: 0\r\n\r\n"


def test_a_body_with_two_lengths_is_refused(door: Door) -> None:
    other = b"Content-Length: %d\r\n" % (len(BODY) - 1)
    door.refuses(
        {
            "two lengths": door.request(framing=LENGTH + other),
            "two lengths in one field": door.request(framing=b"Content-Length: %d, 5\r\n" % len(BODY)),
            "a length and chunks": door.request(framing=LENGTH + IN_CHUNKS, body=CHUNKS),
            "chunks and a length": door.request(framing=IN_CHUNKS + LENGTH, body=CHUNKS + SMUGGLED),
            "chunks and a length of none": door.request(framing=IN_CHUNKS + b"Content-Length: 0\r\n", body=CHUNKS),
            "chunks of HTTP/1.0": door.request(version=b"HTTP/1.0", framing=IN_CHUNKS, body=CHUNKS),
        },
        400,
    )


def test_a_length_that_is_no_number_is_refused(door: Door) -> None:
    lengths = (b"-1", b"+5", b"0x10", b"1e3", b"5 5", b"", b"\xb2", b"9" * 5_000)
    attacks = {repr(value): door.request(framing=b"Content-Length: %s\r\n" % value) for value in lengths}
    attacks["a space before the colon"] = door.request(framing=LENGTH.replace(b":", b" :"))
    door.refuses(attacks, 400)


def test_a_transfer_encoding_but_chunked_is_refused(door: Door) -> None:
    codings = (
        b"xchunked",
        b"chunked, identity",
        b"gzip, chunked",
        b"identity",
        b"\x0bchunked",
        b"chunked\r\n" + IN_CHUNKS[:-2],
    )
    attacks = {
        repr(value): door.request(framing=b"Transfer-Encoding: %s\r\n" % value, body=CHUNKS) for value in codings
    }
    door.refuses(attacks, 400, 501)


def test_chunks_that_are_none_are_refused(door: Door) -> None:
    sizes = (b"-5", b"0x5", b"5 5", b"+5", b"f" * 40, b"5;a=\nb", b"zz", b"")
    attacks = {
        repr(size): door.request(framing=IN_CHUNKS, body=b"%s\r\n%s\r\n0\r\n\r\n" % (size, BODY)) for size in sizes
    }
    short = b"%x\r\n%s" % (len(BODY), BODY)
    attacks["no end of a chunk"] = door.request(framing=IN_CHUNKS, body=short + b"XX0\r\n\r\n")
    attacks["a trailer that is none"] = door.request(framing=IN_CHUNKS, body=short + b"\r\n0\r\nX-A b\r\n\r\n")
    door.refuses(attacks, 400)


def test_a_body_that_never_ends_asks_for_nothing(door: Door) -> None:
    before = door.entries()
    for body in (b"%x\n%s\n0\n\n" % (len(BODY), BODY), CHUNKS[:-2], CHUNKS[:20]):
        door.provider.forget()
        with socket.create_connection(("127.0.0.1", door.port), timeout=WAIT_S) as client:
            client.sendall(door.request(framing=IN_CHUNKS, body=body))
            client.shutdown(socket.SHUT_WR)
            assert b" 200 " not in client.recv(1 << 16)
        assert door.provider.received == b""
    assert door.entries() == before


def test_what_one_reader_may_read_goes_on_as_one_request(door: Door) -> None:
    spaced = b"Content-Length:\r\n %d\r\n" % len(BODY)
    door.forwards(
        {
            "one length twice": door.request(framing=LENGTH + LENGTH),
            "an extension of a chunk": door.request(
                framing=IN_CHUNKS, body=b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
            ),
            "a trailer": door.request(
                framing=IN_CHUNKS, body=CHUNKS[:-2] + b"Content-Length: 5\r\nX-Loop-Id: other\r\n\r\n"
            ),
            "a folded line": door.request(fields=b"X-A: b\r\n X-Loop-Id: other\r\n"),
            "a folded length": door.request(framing=spaced),
            "lines without a CR": door.request().replace(b"\r\n", b"\n"),
            "HTTP/1.0": door.request(version=b"HTTP/1.0"),
        }
    )


def test_a_second_request_on_the_connection_is_one_of_its_own(door: Door) -> None:
    unknown = door.request(b"/no-such/place/at-all/../" if door.name == "serve" else b"/v1/chat/completions")
    before = door.entries()
    door.provider.forget()
    answered = door.ask(door.request().replace(b"Connection: close\r\n", b"", 1) + unknown)
    assert answered.raw.count(b"HTTP/1.1 ") == 2
    assert len(door.provider.requests()) == 1
    assert door.entries() == before + 2


def test_a_body_that_is_a_request_stays_a_body(door: Door) -> None:
    door.provider.forget()
    length = b"Content-Length: %d\r\n" % len(SMUGGLED)
    get = door.request(door.base + b"/v1/models", method=b"GET", framing=length, body=SMUGGLED)
    assert door.ask(get).status == 200
    [request] = door.provider.requests()
    assert (request.method, request.target, request.body) == ("GET", "/v1/models", SMUGGLED)


def test_heads_that_are_none_are_refused(door: Door) -> None:
    line, rest = door.request().split(b"\r\n", 1)
    fields = {
        "a CR in a value": b"X-A: b\rX-B: c\r\n",
        "a NUL in a value": b"X-A: b\0c\r\n",
        "a control character in a value": b"X-A: b\x1b[31mc\r\n",
        "a DEL in a value": b"X-A: b\x7f\r\n",
        "a NUL in a name": b"X\0A: b\r\n",
        "a space in a name": b"X A: b\r\n",
        "a space before the colon": b"X-A : b\r\n",
        "no name": b": b\r\n",
        "no colon": b"X-A\r\n",
        "another Host": b"Host: evil.example\r\n",
    }
    attacks = {name: door.request(fields=field) for name, field in fields.items()}
    attacks |= {
        "no Host": door.request().replace(b"Host: leash\r\n", b"", 1),
        "a space before the first field": line + b"\r\n " + rest,
        "two spaces in the line": door.request().replace(b" HTTP/1.1", b" x HTTP/1.1", 1),
        "a tab in the line": door.request(door.path + b"?a\tb"),
        "no HTTP": b"\x16\x03\x01\x02\x00" + b"\0" * 64,
        "no path": door.request(b""),
    }
    door.refuses(attacks, 400)
    versions = (b"HTTP/3.0", b"HTTP/2.0", b"HTTP/0.9")
    door.refuses({repr(version): door.request(version=version) for version in versions}, 505)


def test_heads_that_are_too_large_are_refused(door: Door) -> None:
    door.refuses(
        {
            "a field": door.request(fields=b"X-A: " + b"a" * (1 << 20) + b"\r\n"),
            "a name": door.request(fields=b"a" * (1 << 20) + b": b\r\n"),
            "many fields": door.request(fields=b"".join(b"X-%d: a\r\n" % number for number in range(20_000))),
            "a line": door.request(door.path + b"?" + b"a" * (1 << 20)),
            "a method": door.request(method=b"A" * (1 << 20)),
            "a line without an end": b"A" * (1 << 20),
        },
        431,
    )


def test_no_method_opens_a_tunnel(door: Door) -> None:
    attacks = {
        "a tunnel to somewhere": b"CONNECT evil:443 HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n",
        "a tunnel to the provider": door.request(method=b"CONNECT"),
        "a trace, which shows the key": door.request(method=b"TRACE"),
        "no method at all": door.request(method=b""),
        "no such method": door.request(method=b"GE(T"),
    }
    door.refuses(attacks, 400)


def test_forged_headers_go_no_further_or_count_for_nothing(door: Door) -> None:
    fields = (
        b"X-Leash-Max-Cost: 100\r\nX-Leash-Admin: 1\r\nX-Loop-Id-: x\r\n"
        b"TE: trailers\r\nTrailer: X-A\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n"
        b"Proxy-Authorization: Basic eA==\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        b"Expect: 100-continue\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: evil.example\r\n"
    )
    door.provider.forget()
    assert b" 200 " in door.ask(door.request(fields=fields)).raw
    [request] = door.provider.requests()
    names = {name for name, _ in request.headers}
    assert not [name for name in names if name.startswith("x-leash-")]
    assert names.isdisjoint({"x-loop-id", "te", "trailer", "keep-alive", "proxy-connection", "proxy-authorization"})
    assert names.isdisjoint({"connection", "upgrade", "http2-settings", "expect"})
    # What proxies before leash say of the client is for the provider to believe or not; leash does not.
    assert request.values("x-forwarded-for") == ["10.0.0.1"]
    assert request.values("authorization") == [KEY.decode().strip().partition(": ")[2]]


def test_connection_options_take_away_what_they_name_and_nothing_of_the_framing(door: Door) -> None:
    door.provider.forget()
    options = b"Connection: close, X-Secret, Content-Length, Host, Content-Type, Transfer-Encoding\r\nX-Secret: 1\r\n"
    raw = door.request(fields=options).replace(b"Connection: close\r\n", b"", 1)
    assert door.ask(raw).status == 200
    [request] = door.provider.requests()
    assert request.values("x-secret") == []
    assert request.values("content-length") == [str(len(BODY))]
    assert request.values("host") == [door.provider.origin.removeprefix("http://")]
