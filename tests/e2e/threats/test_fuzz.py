"""Requests with random pieces put in, taken out and said twice: whatever leash sends on is in order, and counted."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.e2e.threats.doors import BODY, CHUNKS, IN_CHUNKS, LENGTH, Door, wrapped
from tests.harness import wait_until

pytestmark = pytest.mark.long

# A failing seed is in the test's name.
SEEDS = range(6)
ROUNDS = 60

PIECES = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"\x0b",
        b"\x85",
        b"\xa0",
        b"\xff",
        b"\r\n\r\n",
        b"\r\n ",
    ),
    *(
        LENGTH,
        IN_CHUNKS,
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding:\tchunked\r\n",
    ),
    *(
        b"Connection: keep-alive, content-length\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: websocket\r\n",
        b"0\r\n\r\n",
    ),
    *(
        b"5\r\n",
        b"%x\r\n" % len(BODY),
        b" HTTP/1.1\r\n",
        b"HTTP/1.0",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"X-A: b\r\n",
    ),
    *(
        b"%2e%2e/",
        b"../",
        b"//",
        b"?",
        b"#",
        b"@evil.example",
        b"http://evil.example/",
        b"%0d%0a",
        b"\\",
        b"POST ",
        b"PRI * ",
    ),
)


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with wrapped() as opened:
        yield opened


def mutated(chance: random.Random, request: bytes) -> bytes:
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(request))
        match chance.randrange(4):
            case 0 | 1:
                request = request[:at] + chance.choice(PIECES) + request[at:]
            case 2:
                request = request[:at] + request[at + chance.randint(1, 8) :]
            case _:
                length = chance.randint(1, 60)
                request = request[:at] + request[at : at + length] * 2 + request[at + length :]
    return request


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_sent_on_is_in_order_and_counted(door: Door, seed: int) -> None:
    chance = random.Random(seed)
    originals = (door.request(), door.request(framing=IN_CHUNKS, body=CHUNKS))
    before = door.workspace.account(door.run)
    door.provider.forget()
    for _ in range(ROUNDS):
        door.ask(mutated(chance, chance.choice(originals)), ends=True)
    wait_until(
        lambda: door.workspace.account(door.run)["open_calls"] == 0, "what its agent has left is read to its end"
    )
    requests = door.provider.requests()
    assert {request.values("host")[0] for request in requests} <= {door.provider.origin.removeprefix("http://")}
    assert not [
        request for request in requests if not request.target.startswith("/") or "evil" in request.target.split("/")[0]
    ]
    after = door.workspace.account(door.run)
    closed = after["calls"] + after["unresolved_calls"] - before["calls"] - before["unresolved_calls"]
    assert closed == sum(request.method not in ("GET", "HEAD", "OPTIONS", "DELETE") for request in requests)
