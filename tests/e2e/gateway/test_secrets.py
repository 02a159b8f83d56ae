"""Known secrets are sent through every path, and then looked for wherever leash writes: in its logs at debug level, in
the files of the ledger and beside it, in the process list, and in what it answers by itself."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.harness import MODEL, PRICES, FakeProvider, Gateway, Workspace

TOKEN = "token-Aechah7ohT1quaiY"
OTHER_TOKEN = "token-Ieng1Oovaefoo8ah"
WRONG_TOKEN = "token-of-nobody-shie3Iet"
KEY = "sk-live-Xoo4ahngaiphah5j"
PROMPT = "the-plans-of-eingoo7Ahqu9"
SECRETS = (TOKEN, OTHER_TOKEN, WRONG_TOKEN, KEY, PROMPT)

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}
MESSAGE = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": PROMPT}]}
CONTENT = {"contents": [{"parts": [{"text": PROMPT}]}]}
AUTHORIZED = {"X-Leash-Token": TOKEN, "Authorization": f"Bearer {KEY}"}

# Name of the path -> method, path, headers, body, and the status that it comes to.
REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes, int]] = {
    "a whole answer": ("POST", "/v1/chat/completions", AUTHORIZED, json.dumps(CHAT).encode(), 200),
    "a stream": ("POST", "/v1/chat/completions", AUTHORIZED, json.dumps(CHAT | {"stream": True}).encode(), 200),
    "a token in the path": (
        *("POST", f"/t/{TOKEN}/run/nightly/v1/messages?key={KEY}", {"x-api-key": KEY}, json.dumps(MESSAGE).encode()),
        200,
    ),
    "a key in the query": (
        *("POST", f"/v1beta/models/{MODEL}:generateContent?key={KEY}", {"X-Leash-Token": TOKEN, "x-goog-api-key": KEY}),
        *(json.dumps(CONTENT).encode(), 200),
    ),
    "a free endpoint": ("GET", f"/v1/models?key={KEY}", AUTHORIZED, b"", 200),
    "no such token": ("POST", "/v1/chat/completions", {"X-Leash-Token": WRONG_TOKEN}, json.dumps(CHAT).encode(), 401),
    "no such token in the path": (
        "POST",
        f"/t/{WRONG_TOKEN}/v1/messages?k={KEY}",
        {},
        json.dumps(MESSAGE).encode(),
        401,
    ),
    "a run of somebody else": (
        *("POST", "/v1/chat/completions", {"X-Leash-Token": OTHER_TOKEN, "X-Loop-Id": "not-mine", "api-key": KEY}),
        *(json.dumps(CHAT).encode(), 401),
    ),
    "no such run name": (
        *("POST", "/v1/chat/completions", AUTHORIZED | {"X-Loop-Id": "team/other"}, json.dumps(CHAT).encode(), 400),
    ),
    "a bad path": ("POST", f"/v1/../chat/completions?key={KEY}", AUTHORIZED, json.dumps(CHAT).encode(), 400),
    "what cannot be metered": ("POST", f"/v1/batches?key={KEY}", AUTHORIZED, json.dumps(CHAT).encode(), 402),
    "a body that is no JSON": ("POST", "/v1/chat/completions", AUTHORIZED, f"{{{PROMPT}".encode(), 400),
    "a body that is too large": ("POST", "/v1/chat/completions", AUTHORIZED, PROMPT.encode() * 50_000, 413),
    "a model without a price": (
        *("POST", "/v1/chat/completions", AUTHORIZED | {"X-Loop-Id": "unpriced"}),
        *(json.dumps(CHAT | {"model": "nobody-knows"}).encode(), 429),
    ),
    "a run that is stopped": (
        *("POST", "/v1/chat/completions", AUTHORIZED | {"X-Loop-Id": "unpriced"}, json.dumps(CHAT).encode(), 429),
    ),
    "a WebSocket": (
        "GET",
        f"/v1/realtime?key={KEY}",
        AUTHORIZED
        | {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
        b"",
        400,
    ),
    "a head that is too large": ("GET", f"/v1/models?key={KEY}", AUTHORIZED | {"X-Filler": KEY * 8_000}, b"", 431),
}


@pytest.fixture
def place(workspace: Workspace) -> Workspace:
    workspace.write("prices.json", PRICES)
    workspace.write("tokens", f"team-a: {TOKEN}\nteam-b: {OTHER_TOKEN} run=mine\n")
    return workspace


def _gateway(place: Workspace, upstream: str, *flags: str) -> Gateway:
    return place.gateway(
        *("--auth-token-file", str(place.root / "tokens"), "--prices", str(place.root / "prices.json")),
        *(
            "--upstream",
            upstream,
            "--max-body-bytes",
            "1000000",
            "--log-level",
            "debug",
            "--access-log",
            "json",
            *flags,
        ),
        admin=True,
    )


def test_no_secret_is_anywhere(place: Workspace, fake_provider: Callable[..., FakeProvider]) -> None:
    provider = fake_provider("--chunk-delay", "20ms")
    gateway = _gateway(place, provider.origin)
    gone = _gateway(place, "http://127.0.0.1:1", "--log-format", "json")

    answers = [_ask(gateway, *request) for request in REQUESTS.values()]
    assert {name: status for name, (status, _) in zip(REQUESTS, answers, strict=True)} == {
        name: request[-1] for name, request in REQUESTS.items()
    }
    for name in ("a whole answer", "a free endpoint"):
        answers.append(_ask(gone, *REQUESTS[name][:-1], 502))
        assert answers[-1][0] == 502
    _hang_up_in_the_middle(gateway)
    answers.append(_ask_admin(gateway, "/metrics", {}))
    answers.append(_ask_admin(gateway, "/metrics", {"Authorization": f"Bearer {WRONG_TOKEN}"}))
    answers.append(_ask_admin(gateway, "/metrics", {"Authorization": f"Bearer {TOKEN}"}))
    assert [status for status, _ in answers[-3:]] == [401, 401, 200]
    _reload_a_file_with_a_mistake(place, gateway)
    listed = " ".join(word for process in psutil.process_iter() for word in _command(process))
    daemons = place.daemon_pids()

    said: list[str] = []
    for each in (gateway, gone):
        each.process.terminate()
        said += each.process.communicate(timeout=30)
        assert each.process.returncode == 0, said[-1]
    assert "/v1/chat/completions" in said[0]  # the access log
    assert '"run":"team-a/nightly"' in said[0].replace(" ", "")
    assert "settled" in said[1]  # the log at debug level
    assert "line 2" in said[1]  # where the mistake in the file of tokens is
    assert daemons

    written = {str(path): path.read_bytes() for path in _written(place)}
    assert any(path.endswith("leash.db") for path in written)
    for secret in SECRETS:
        assert secret not in listed
        assert not [text for text in said if secret in text]
        assert not [body for status, body in answers if status >= 400 and secret.encode() in body]
        assert not [path for path, content in written.items() if secret.encode() in content]


def _ask(
    gateway: Gateway, method: str, path: str, request_headers: dict[str, str], body: bytes, _status: int
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(gateway.origin).netloc, timeout=30)
    try:
        more = {"Content-Type": "application/json"} if body else {}
        connection.request(method, path, body=body or None, headers=request_headers | more)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _ask_admin(gateway: Gateway, path: str, request_headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(gateway.admin).netloc, timeout=30)
    try:
        connection.request("GET", path, headers=request_headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _hang_up_in_the_middle(gateway: Gateway) -> None:
    host, _, port = urlsplit(gateway.origin).netloc.rpartition(":")
    body = json.dumps(CHAT | {"stream": True}).encode()
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
            + f"X-Leash-Token: {TOKEN}\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        assert client.recv(1024).startswith(b"HTTP/1.1 200")


def _reload_a_file_with_a_mistake(place: Workspace, gateway: Gateway) -> None:
    place.write("tokens", f"team-a: {TOKEN}\nteam-b: {TOKEN}\n")
    gateway.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)  # what it says of it is read at the end
    status, _ = _ask(gateway, *REQUESTS["a whole answer"])
    assert status == 200


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _written(place: Workspace) -> list[Path]:
    """Every file of the workspace but what this test wrote."""
    return [path for path in place.root.rglob("*") if path.is_file() and path.name != "tokens"]
