"""HTTP/2 can say what HTTP/1.1 cannot, and leash writes HTTP/1.1 to the provider (docs/security.md)."""

from __future__ import annotations

import json
import socket

import h2.config
import h2.connection
import h2.events

from tests.e2e.threats.doors import BODY, Door
from tests.harness import WAIT_S

Fields = list[tuple[bytes, bytes]]

# What an attack is told where HTTP/2 itself forbids it: its stream or its connection is ended.
ENDED = 0


def fields(door: Door, *more: tuple[bytes, bytes], first: Fields | None = None, **pseudo: bytes) -> Fields:
    """The fields of a call, with other pseudo-headers, and more before and after them."""
    usual = {"method": b"POST", "path": door.path, "scheme": b"http", "authority": b"leash"} | pseudo
    named = [(f":{name}".encode(), value) for name, value in usual.items()]
    return [*(first or []), *named, (b"content-type", b"application/json"), *_token(door), *more]


def _token(door: Door) -> Fields:
    lines = (line.partition(b": ") for line in door.token.split(b"\r\n") if line)
    return [(name.lower(), value) for name, _, value in lines]


def ask(door: Door, request: Fields, body: bytes = BODY) -> tuple[int, bytes]:
    """Sends a request as it is, without what a decent client checks; the status and the body, or ENDED."""
    configuration = h2.config.H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None
    )
    connection = h2.connection.H2Connection(configuration)
    connection.initiate_connection()
    connection.send_headers(1, request)
    connection.send_data(1, body, end_stream=True)
    status, received = ENDED, b""
    with socket.create_connection(("127.0.0.1", door.port), timeout=WAIT_S) as client:
        client.sendall(connection.data_to_send())
        while data := client.recv(1 << 16):
            for event in connection.receive_data(data):
                match event:
                    case h2.events.ResponseReceived():
                        status = int(dict(event.headers)[b":status"])
                    case h2.events.DataReceived():
                        received += event.data
                    case h2.events.StreamEnded():
                        return status, received
                    case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                        return ENDED, received
            client.sendall(connection.data_to_send())
    return ENDED, received


def refuses(door: Door, attacks: dict[str, Fields], *statuses: int) -> None:
    before = door.entries()
    for name, attack in attacks.items():
        door.provider.forget()
        status, body = ask(door, attack)
        assert status in statuses, (name, status, body)
        assert door.provider.received == b"", name
    assert door.entries() == before


def test_an_ordinary_request_goes_on_as_one(door: Door) -> None:
    door.provider.forget()
    assert ask(door, fields(door, (b"te", b"trailers"), (b"cookie", b"a=b"), (b"cookie", b"c=d")))[0] == 200
    [request] = door.provider.requests()
    assert (request.method, request.target, request.body) == ("POST", "/v1/chat/completions", BODY)
    assert (request.values("te"), request.values("cookie")) == ([], ["a=b; c=d"])


def test_a_request_line_cannot_be_forged(door: Door) -> None:
    path = door.path
    queries = (b"a=b HTTP/1.1", b"a=b\tc", b"a=b#c", b"a=b\x7f")
    attacks = {repr(query): fields(door, path=path + b"?" + query) for query in queries}
    attacks |= {
        "a space in the path": fields(door, path=path + b" HTTP/1.1"),
        "a method with a path": fields(door, method=b"POST /evil"),
        "no method": fields(door, method=b""),
        "a trace": fields(door, method=b"TRACE"),
    }
    for name, attack in attacks.items():
        status, body = ask(door, attack)
        assert status == 400, name
        assert json.loads(body)["error"]["type"] == "leash_gateway"
    refuses(door, attacks, 400)


def test_a_url_or_no_path_in_the_place_of_the_path_is_refused(door: Door) -> None:
    attacks = {
        "a URL": fields(door, path=b"http://evil.example/v1/chat/completions"),
        "two slashes": fields(door, path=b"//evil.example/v1/chat/completions"),
        "no slash": fields(door, path=b"v1/chat/completions"),
        "everything": fields(door, path=b"*", method=b"OPTIONS"),
    }
    refuses(door, attacks, 400, 404)


def test_what_http2_forbids_ends_the_stream_or_the_connection(door: Door) -> None:
    values = (b"a\r\nx-evil: b", b"a\nb", b"a\rb", b"a\0b", b" a")
    attacks = {repr(value): fields(door, (b"x-a", value)) for value in values}
    names = (b"X-A", b"x-a: b\r\nx-evil", b"x:a", b"x a", b"", b"x\xc3\xa9", b"x\0")
    attacks |= {repr(name): fields(door, (name, b"c")) for name in names}
    hop_by_hop = {b"connection": b"x-a", b"transfer-encoding": b"chunked", b"upgrade": b"h2c", b"te": b"gzip"}
    attacks |= {repr(name): fields(door, (name, value)) for name, value in hop_by_hop.items()}
    lengths = (b"5", b"500", b"-5", b"+%d" % len(BODY), b"\xb2")
    attacks |= {f"length {value!r}": fields(door, (b"content-length", value)) for value in lengths}
    attacks |= {
        "a path with lines": fields(door, path=door.path + b"?a HTTP/1.1\r\nX-Evil: b\r\n\r\n"),
        "a path that is no ASCII": fields(door, path=door.path + b"\xc3\xa9"),
        "a query that is no ASCII": fields(door, path=door.path + b"?\xc3\xa9"),
        "a method with lines": fields(door, method=b"POST / HTTP/1.1\r\nX: y\r\n\r\n"),
        "a method that is no ASCII": fields(door, method=b"P\xd6ST"),
        "an authority with lines": fields(door, authority=b"leash\r\nX-Evil: b"),
        "another host": fields(door, (b"host", b"evil.example")),
        "no path": fields(door, path=b""),
        "two paths": fields(door, first=[(b":path", b"/evil")]),
        "a pseudo-header at the end": fields(door, (b":path", b"/evil")),
        "a pseudo-header of nobody": fields(door, first=[(b":evil", b"x")]),
        "a tunnel": fields(door, method=b"CONNECT"),
        "a protocol": fields(door, first=[(b":protocol", b"websocket")]),
        "a large field": fields(door, (b"x-a", b"a" * 70_000)),
        "many fields": fields(door, *[(b"x-a", b"a")] * 3_000),
    }
    refuses(door, attacks, ENDED)


def test_a_control_character_in_a_value_is_refused(door: Door) -> None:
    refuses(door, {repr(value): fields(door, (b"x-a", value)) for value in (b"a\x1bb", b"a\x01", b"\x7f")}, 400)


def test_a_websocket_through_http2_is_refused(door: Door) -> None:
    attack = fields(door, (b"sec-websocket-version", b"13"), method=b"CONNECT", first=[(b":protocol", b"websocket")])
    refuses(door, {"a WebSocket": attack}, 400)
