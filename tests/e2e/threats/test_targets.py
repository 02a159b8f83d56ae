"""Paths and URLs with which a request would go elsewhere than its provider, or past the meter (docs/security.md)."""

from __future__ import annotations

import pytest

from tests.e2e.threats.doors import Door, wrapped

CHAT = b"/v1/chat/completions"


def test_no_url_or_path_names_another_host(door: Door) -> None:
    base = door.base
    attacks = {
        "absolute": door.request(b"http://evil.example" + door.path),
        "absolute, another scheme": door.request(b"https://evil.example:8443" + door.path),
        "absolute, with a user": door.request(b"http://leash@evil.example" + door.path),
        "absolute, this port": door.request(b"http://127.0.0.1:%d%s" % (door.port, door.path)),
        "a file": door.request(b"file:///etc/passwd"),
        "a host after two slashes": door.request(b"//evil.example" + CHAT),
        "a host within the base": door.request(base + b"//evil.example" + CHAT),
        "a host without a slash": door.request(b"evil.example" + CHAT),
        "an authority": door.request(b"evil.example:80"),
        "a backslash": door.request(base + b"/\\evil.example" + CHAT),
        "an address after the base": door.request(base + b"/http://evil.example" + CHAT),
        "everything": door.request(b"*", method=b"OPTIONS"),
        "only an at sign": door.request(b"@evil.example" + CHAT),
    }
    door.refuses(attacks, 400, 404)


def test_an_at_sign_or_a_port_in_a_path_stays_in_the_path(door: Door) -> None:
    for path in (b"/@evil.example" + CHAT, b"/:80@evil.example" + CHAT, b"/user:pass@evil.example:80" + CHAT):
        door.provider.forget()
        assert door.ask(door.request(door.base + path)).status == 200
        [request] = door.provider.requests()
        assert request.target.endswith(path.decode())
        assert request.target.startswith("/")
        assert request.values("host") == [door.provider.origin.removeprefix("http://")]


def test_a_host_of_the_clients_own_goes_no_further(door: Door) -> None:
    door.provider.forget()
    raw = door.request().replace(b"Host: leash", b"Host: evil.example\r\nX-Forwarded-Host: evil.example", 1)
    assert door.ask(raw).status == 200
    [request] = door.provider.requests()
    assert request.values("host") == [door.provider.origin.removeprefix("http://")]


def test_a_path_that_may_be_read_in_two_ways_is_refused(door: Door) -> None:
    ways = (
        b"/v1/models/../chat/completions",
        b"/v1/models/./../chat/completions",
        b"/v1/models/%2e%2e/chat/completions",
        b"/v1/models/.%2E/chat/completions",
        b"/v1/models/%252e%252e/chat/completions",
        b"/v1/models/..;/chat/completions",
        b"/v1/models/..;x=y/chat/completions",
        b"/v1/models/..%2fchat/completions",
        b"/v1/models/..%5cchat/completions",
        b"/v1/models/..\\chat\\completions",
        b"/v1/models/%c0%ae%c0%ae/chat/completions",
        b"/v1/models/%c0%afchat/completions",
        b"/v1/chat//completions",
        b"/v1/chat/%2fcompletions",
        b"/v1/%63hat/completions",
        b"/v1/chat%2fcompletions",
        b"/v1/chat/completions%00",
        b"/v1/chat/completions%0d%0aX-Evil:%201",
        b"/v1/chat/completions%3fa=b",
        b"/v1/chat/completions#",
        b"/v1/models/%",
        b"/v1/models/%zz",
        b"/..",
        b"/%2e%2e/%2e%2e/etc/passwd",
    )
    door.refuses({repr(way): door.request(door.base + way) for way in ways}, 400)


def test_a_query_reaches_the_provider_byte_for_byte(door: Door) -> None:
    every = bytes(number for number in range(0x21, 0x7F) if number != ord("#"))
    for query in (b"key=a%2Fb&x=1", b"a=%0d%0aX-Evil:%201", b"?a?/../b", b"a=http://evil.example/", every):
        door.provider.forget()
        assert door.ask(door.request(door.path + b"?" + query)).status == 200
        [request] = door.provider.requests()
        assert request.target == (CHAT + b"?" + query).decode()
    door.refuses({"a fragment": door.request(door.path + b"?a=b#c")}, 400)


def test_a_method_in_a_header_makes_nothing_free() -> None:
    # Under a budget of cost, what generates and cannot be metered is refused before it is sent.
    with wrapped("--max-cost", "1") as door:
        for name in (b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override"):
            get = door.request(door.base + b"/v1/models", method=b"GET", fields=name + b": POST\r\n")
            door.provider.forget()
            assert door.ask(get).status == 402
            assert door.provider.received == b""


@pytest.mark.parametrize("path", [b"/v1/batches", b"/v1/realtime", b"/v1/no/such/endpoint", b"/v1/Chat/Completions"])
def test_an_endpoint_that_leash_does_not_know_is_not_free(path: bytes) -> None:
    with wrapped("--max-cost", "1") as door:
        door.provider.forget()
        assert door.ask(door.request(door.base + path)).status == 402
        assert door.provider.received == b""
