"""A client of a gateway that wants the budget, the runs or the name of another one (docs/security.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.threats.doors import BODY, LENGTH, OTHER_TOKEN, RUN, TOKEN, Door, served

CHAT = b"/v1/chat/completions"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Door]:
    with served() as opened:
        yield opened


def request(fields: bytes = b"", path: bytes = CHAT) -> bytes:
    """A call with these fields beside what it cannot do without."""
    head = b"POST %s HTTP/1.1\r\nHost: leash\r\nConnection: close\r\nContent-Type: application/json\r\n" % path
    return head + fields + LENGTH + b"\r\n" + BODY


def named(token: str, run: str) -> bytes:
    return f"X-Leash-Token: {token}\r\nX-Loop-Id: {run}\r\n".encode()


def runs(gateway: Door) -> set[str]:
    listed = json.loads(gateway.workspace.leashctl("ps", "--all", "--json").stdout)
    return {row["run"] for row in listed if row["ledger"] == str(gateway.workspace.ledger)}


def test_nobody_without_a_token_comes_in(gateway: Door) -> None:
    before = runs(gateway)
    tokens = ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "team-a", "*", "null", '"' + TOKEN + '"', "é")
    attacks = {repr(token): request(named(token, RUN)) for token in tokens}
    attacks |= {
        "none": request(),
        "as a key": request(f"Authorization: Bearer {TOKEN}\r\nx-api-key: {TOKEN}\r\n".encode()),
        "in the query": request(path=CHAT + f"?x-leash-token={TOKEN}".encode()),
        "in the path, wrong": request(path=f"/t/{TOKEN[:-1]}".encode() + CHAT),
        "in the path, twice removed": request(path=f"/x/t/{TOKEN}".encode() + CHAT),
        "in a cookie": request(f"Cookie: X-Leash-Token={TOKEN}\r\n".encode()),
        "a free endpoint": request().replace(b"POST " + CHAT, b"GET /v1/models", 1),
        "under another spelling": request(f"X_Leash_Token: {TOKEN}\r\n".encode()),
    }
    gateway.refuses(attacks, 401)
    assert runs(gateway) == before


def test_nobody_names_the_run_of_another_tenant(gateway: Door) -> None:
    assert gateway.ask(request(named(OTHER_TOKEN, "theirs"))).status == 200
    before = runs(gateway)
    assert "team-b/theirs" in before
    names = (
        "team-b/theirs",
        "../team-b/theirs",
        "/theirs",
        "team-b%2ftheirs",
        "theirs/../x",
        "team-b\\theirs",
        "a b",
        "." * 3,
    )
    attacks = {repr(name): request(named(TOKEN, name)) for name in names}
    attacks["in the path"] = request(f"X-Leash-Token: {TOKEN}\r\n".encode(), b"/run/team-b%2ftheirs" + CHAT)
    attacks["too long"] = request(named(TOKEN, "a" * 200))
    gateway.refuses(attacks, 400)
    assert runs(gateway) == before
    # The same name is a run of one's own.
    assert gateway.ask(request(named(TOKEN, "theirs"))).status == 200
    assert runs(gateway) == before | {"team-a/theirs"}
    assert gateway.workspace.account("team-b/theirs")["calls"] == 1


def test_what_is_said_twice_is_refused(gateway: Door) -> None:
    token = f"X-Leash-Token: {TOKEN}\r\n".encode()
    attacks = {
        "two tokens": request(named(TOKEN, RUN) + f"x-leash-token: {OTHER_TOKEN}\r\n".encode()),
        "two runs": request(named(TOKEN, RUN) + b"x-loop-id: other\r\n"),
        "two budgets": request(named(TOKEN, RUN) + b"X-Leash-Max-Cost: 1\r\nX-Leash-Max-Cost: 100\r\n"),
        "two limits of calls": request(token + b"X-Leash-Max-Calls: 1\r\nX-Leash-Max-Calls: 1\r\n"),
    }
    assert {answer.code for answer in gateway.refuses(attacks, 400)} == {"bad_header"}


def test_a_limit_that_is_none_is_refused_and_echoed_as_data(gateway: Door) -> None:
    values = (b"-1", b"1e999", b"nan", b"inf", b"1,5", b"0x1", b'"}<script>', b"9" * 4_000, b"\xff")
    attacks = {repr(value): request(named(TOKEN, RUN) + b"X-Leash-Max-Cost: %s\r\n" % value) for value in values}
    for answer in gateway.refuses(attacks, 400):
        assert answer.code == "bad_limit"
        assert answer.raw.count(b"\r\n\r\n") == 1
        assert len(answer.raw) < 1_000


def test_nothing_of_a_request_forges_a_line_of_a_log() -> None:
    with served() as gateway:
        fields = b"X-Forwarded-For: 10.9.8.7\r\nX-Request-Id: a run=team-b/theirs\r\nUser-Agent: \xff run=x\r\n"
        assert gateway.ask(gateway.request(fields=fields)).status == 200
        assert gateway.ask(gateway.request(b"/%1b[31m/\x7f" + CHAT)).status == 400
        assert gateway.ask(gateway.request(b"/v1/x\xc2\x9b31m" + CHAT)).status == 400
        gateway.process.terminate()
        log, said = gateway.process.communicate(timeout=60)
    lines = log.splitlines()
    assert len([line for line in lines if f"run=team-a/{RUN}" in line]) >= 1
    assert all(line.split()[1] == "127.0.0.1" for line in lines)
    for forged in ("10.9.8.7", "team-b/theirs", "run=x", "\x1b", "\x7f", "\x9b"):
        assert forged not in log + said
