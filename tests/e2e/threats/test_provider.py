"""A provider that means harm: what of its answers goes on, and what the ledger has (docs/security.md)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import h11
import pytest
import trustme

from tests.e2e.threats.doors import Door, wrapped
from tests.e2e.threats.recorder import COMPLETION, Recorder, whole

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(COMPLETION)
SECOND = whole(b'{"forged":true}')


@pytest.fixture(scope="module")
def agent() -> Iterator[Door]:
    with wrapped() as opened:
        yield opened


def answers(raw: bytes) -> list[tuple[h11.Response, bytes]]:
    """What an agent's strict client reads of the bytes that leash sent. AssertionError where it is no HTTP."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    client.send(h11.EndOfMessage())
    client.receive_data(raw)
    client.receive_data(b"")
    found: list[tuple[h11.Response, bytes]] = []
    while not isinstance(event := client.next_event(), h11.ConnectionClosed):
        match event:
            case h11.Response():
                found.append((event, b""))
            case h11.Data():
                found[-1] = (found[-1][0], found[-1][1] + bytes(event.data))
            case _:
                assert isinstance(event, h11.EndOfMessage), event
    assert client.trailing_data == (b"", True)
    return found


def ask(agent: Door, answer: bytes) -> tuple[int, dict[bytes, bytes], bytes, dict[str, Any]]:
    """Status, headers and body as the agent reads them, and how many calls of which kind that was."""
    before = agent.workspace.account(agent.run)
    agent.provider.answer, agent.provider.hang_up = answer, True
    [(response, body)] = answers(agent.ask(agent.request()).raw)
    after = agent.workspace.account(agent.run)
    counted = {name: after[name] - before[name] for name in ("calls", "unresolved_calls", "open_calls")}
    return response.status_code, dict(response.headers), body, counted


UNREADABLE = {
    "a CR in a value": OK + b"X-A: b\rSet-Cookie: c\r\n" + LENGTH + b"\r\n" + COMPLETION,
    "a NUL in a value": OK + b"X-A: b\0c\r\n" + LENGTH + b"\r\n" + COMPLETION,
    "a space in a name": OK + b"X A: b\r\n" + LENGTH + b"\r\n" + COMPLETION,
    "a space before the colon": OK + b"X-A : b\r\n" + LENGTH + b"\r\n" + COMPLETION,
    "no name": OK + b": b\r\n" + LENGTH + b"\r\n" + COMPLETION,
    "no colon": OK + b"XA\r\n" + LENGTH + b"\r\n" + COMPLETION,
    "two lengths": OK + LENGTH + b"Content-Length: 5\r\n\r\n" + COMPLETION,
    "a length and chunks": OK + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    "a length below zero": OK + b"Content-Length: -5\r\n\r\n" + COMPLETION,
    "a body where there is none": b"HTTP/1.1 204 No Content\r\n" + LENGTH + b"\r\n" + COMPLETION,
    "chunks that are none": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + COMPLETION,
    "a field of a megabyte": OK + b"X-A: " + b"a" * (1 << 20) + b"\r\n" + LENGTH + b"\r\n" + COMPLETION,
    "thousands of fields": OK + b"X-A: b\r\n" * 20_000 + LENGTH + b"\r\n" + COMPLETION,
    "no HTTP": COMPLETION,
    "no such status": b"HTTP/1.1 600 Odd\r\n" + LENGTH + b"\r\n" + COMPLETION,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n" + LENGTH + b"\r\n" + COMPLETION,
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + COMPLETION,
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_answer_that_is_not_http_becomes_leashs_own_and_the_call_stays_unresolved(agent: Door, kind: str) -> None:
    status, headers, body, counted = ask(agent, UNREADABLE[kind])
    assert (status, counted) == (502, {"calls": 0, "unresolved_calls": 1, "open_calls": 0})
    assert b"leash_gateway" in body
    assert b"forged" not in body
    assert b"set-cookie" not in headers


def test_no_answer_is_split_into_two(agent: Door) -> None:
    folded = OK + b"X-A: b\r\n\tSet-Cookie: c\r\n" + LENGTH + b"\r\n" + COMPLETION
    status, headers, body, counted = ask(agent, folded)
    assert (status, body, counted["calls"]) == (200, COMPLETION, 1)
    assert b"set-cookie" not in headers


def test_a_second_answer_is_nobodys(agent: Door) -> None:
    agent.provider.hang_up = False
    agent.provider.answer = whole() + SECOND
    for _ in range(3):
        before = agent.workspace.account(agent.run)
        found = answers(agent.ask(agent.request()).raw)
        assert len(found) == 1
        assert b"forged" not in found[0][1]
        after = agent.workspace.account(agent.run)
        assert after["calls"] + after["unresolved_calls"] == before["calls"] + before["unresolved_calls"] + 1


def test_what_a_provider_says_of_the_connection_is_not_passed_on(agent: Door) -> None:
    fields = (
        b"Connection: keep-alive, X-Request-Id, Content-Type, X-A\r\nX-A: b\r\nX-Request-Id: theirs\r\n"
        b"Keep-Alive: timeout=600\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTrailer: X-B\r\n"
    )
    status, headers, body, counted = ask(agent, whole(fields=fields))
    assert (status, body, counted["calls"]) == (200, COMPLETION, 1)
    assert headers.keys() == {b"content-length", b"x-request-id", b"connection"}
    assert headers[b"x-request-id"] != b"theirs"


def test_a_redirect_is_not_followed(agent: Door) -> None:
    with Recorder() as elsewhere:
        redirect = whole(b"{}", status=b"307 Elsewhere", fields=b"Location: %s/v1\r\n" % elsewhere.origin.encode())
        status, headers, _, counted = ask(agent, redirect)
        assert (status, headers[b"location"]) == (307, f"{elsewhere.origin}/v1".encode())
        assert elsewhere.received == b""
        assert counted == {"calls": 1, "unresolved_calls": 0, "open_calls": 0}


def test_usage_that_cannot_be_is_not_believed(agent: Door) -> None:
    # What a provider reports is what it bills, and leash has no other source. But no number may do harm.
    for usage in (b'{"prompt_tokens":-5,"completion_tokens":1}', b'{"prompt_tokens":1e400}', b'{"prompt_tokens":"x"}'):
        before = agent.workspace.account(agent.run)["input_tokens"]
        status, _, _, counted = ask(agent, whole(b'{"choices":[],"usage":%s}' % usage))
        assert (status, counted["open_calls"]) == (200, 0)
        assert agent.workspace.account(agent.run)["input_tokens"] >= before


def test_a_provider_whose_certificate_nobody_vouches_for_gets_no_byte() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with wrapped(provider=Recorder(tls=context)) as agent:
        answer = agent.ask(agent.request())
        assert (answer.status, answer.code) == (502, "upstream_failed")
        assert b"its certificate is not trusted" in answer.raw
        assert agent.provider.received == b""
        account = agent.workspace.account(agent.run)
        assert (account["calls"], account["unresolved_calls"]) == (0, 0)
