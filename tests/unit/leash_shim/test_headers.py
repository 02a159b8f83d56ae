from __future__ import annotations

from leash_shim import headers


def test_what_belongs_to_the_connection_or_to_leash_stays_behind() -> None:
    sent = [
        (b"host", b"127.0.0.1:4711"),
        (b"authorization", b"Bearer sk-1"),
        (b"connection", b"keep-alive, X-Private"),
        (b"x-private", b"1"),
        (b"keep-alive", b"timeout=5"),
        (b"te", b"trailers"),
        (b"transfer-encoding", b"chunked"),
        (b"expect", b"100-continue"),
        (b"content-length", b"12"),
        (b"x-loop-id", b"a3f9"),
        (b"x-leash-token", b"secret"),
        (b"content-type", b"application/json"),
        (b"x-request-id", b"mine"),
    ]
    assert headers.for_upstream(sent, identity=False) == [
        ("authorization", "Bearer sk-1"),
        ("content-type", "application/json"),
        ("x-request-id", "mine"),
    ]


def test_repeated_headers_keep_their_order() -> None:
    sent = [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3"), (b"accept-encoding", b"gzip")]
    assert headers.for_upstream(sent, identity=False) == [
        ("x-a", "1"),
        ("x-b", "2"),
        ("x-a", "3"),
        ("accept-encoding", "gzip"),
    ]


def test_identity_replaces_what_the_agent_accepts() -> None:
    sent = [(b"accept-encoding", b"gzip, br"), (b"accept", b"*/*")]
    assert headers.for_upstream(sent, identity=True) == [("accept", "*/*"), ("accept-encoding", "identity")]


def test_a_value_in_utf_8_goes_out_as_the_same_bytes() -> None:
    raw = "Zürich".encode()
    [(_, value)] = headers.for_upstream([(b"x-city", raw)], identity=False)
    assert value.encode("utf-8") == raw


def test_an_answer_keeps_its_headers_their_case_and_their_order() -> None:
    answered = [
        (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (b"Server", b"cloudflare"),
        (b"Set-Cookie", b"a=1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"close, X-Hop"),
        (b"X-Hop", b"1"),
        (b"Set-Cookie", b"b=2"),
        (b"X-Request-Id", b"req_1"),
        (b"Content-Encoding", b"gzip"),
        (b"Content-Length", b"5"),
    ]
    assert headers.for_agent(answered, request_id=b"own", reframed=False) == [
        (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (b"Server", b"cloudflare"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"X-Request-Id", b"req_1"),
        (b"Content-Encoding", b"gzip"),
        (b"Content-Length", b"5"),
    ]


def test_an_answer_without_a_request_id_gets_ours() -> None:
    assert headers.for_agent([], request_id=b"own", reframed=False) == [(b"x-request-id", b"own")]


def test_a_changed_body_does_not_announce_the_old_ones_length_and_encoding() -> None:
    answered = [(b"content-encoding", b"gzip"), (b"Content-Length", b"5"), (b"x-request-id", b"r")]
    assert headers.for_agent(answered, request_id=b"own", reframed=True) == [(b"x-request-id", b"r")]


def test_first_and_joined_read_any_case() -> None:
    answered = [(b"Content-Encoding", b" gzip "), (b"content-encoding", b"br")]
    assert headers.first(answered, b"content-encoding") == "gzip"
    assert headers.joined(answered, b"content-encoding") == "gzip, br"
    assert headers.first(answered, b"content-type") == headers.joined(answered, b"content-type") == ""
