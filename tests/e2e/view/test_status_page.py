"""The status page of a real gateway: what it shows to whom, and that it holds nothing up."""

from __future__ import annotations

import base64
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from typing import Any

from tests.harness import PRICES, Gateway, Workspace, wait_until

TOKENS = {"team-a": "token-Aechah7ohT1quaiY", "team-b": "token-Ieng1Oovaefoo8ah"}
BOUND = "token-Oox9eiFaeeX4ohng"


def gateway(workspace: Workspace, *flags: str) -> Gateway:
    provider = workspace.fake_provider()
    prices = workspace.write("prices.json", PRICES)
    given = ("--prices", str(prices), "--upstream", provider.base_url, "--max-cost", "0.10", "--max-calls", "9")
    return workspace.gateway(*given, *flags, admin=True)


def with_tokens(workspace: Workspace) -> Gateway:
    lines = [f"{tenant}: {token}" for tenant, token in TOKENS.items()]
    tokens = workspace.write("tokens", "\n".join([*lines, f"team-a: {BOUND} run=nightly"]))
    tokens.chmod(0o600)
    return gateway(workspace, "--auth-token-file", str(tokens))


def call(served: Gateway, run: str, token: str = "") -> int:
    body = json.dumps({"model": "demo-model", "messages": [{"role": "user", "content": "x"}]}).encode()
    headers = {"Content-Type": "application/json", "X-Loop-Id": run} | ({"X-Leash-Token": token} if token else {})
    return ask(f"{served.origin}/v1/chat/completions", headers, body)[0]


def ask(url: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> tuple[int, Message, str]:
    request = urllib.request.Request(url, body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def basic(token: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"me:{token}".encode()).decode()}


def events(served: Gateway, headers: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
    request = urllib.request.Request(f"{served.admin}/status/events", headers=headers or {})
    with urllib.request.urlopen(request, timeout=30) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        for line in stream:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


def test_the_runs_are_shown_and_kept_live(workspace: Workspace) -> None:
    served = gateway(workspace, "--insecure")
    assert call(served, "first") == 200
    # An answer comes before its cost is on the disk.
    wait_until(lambda: "$0.03" in ask(f"{served.admin}/")[2], "the call is on the page")
    status, headers, page = ask(f"{served.admin}/")
    assert status == 200
    assert 'data-run="first"' in page
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    for path in ("status.css", "status.js"):
        assert ask(f"{served.admin}/{path}")[0] == 200

    stream = events(served)
    assert "first" in {cells[0] for cells in next(stream)["rows"]}
    for _ in range(5):
        call(served, "first")
    call(served, "<b>")  # no name of a run
    call(served, "second")
    seen: dict[str, list[Any]] = {}
    while "second" not in seen or seen.get("first", ["", ""])[1] != "stopped":
        news = next(stream)
        assert news["trouble"] == ""
        seen |= {cells[0]: cells for cells in news["rows"]}
    first = seen["first"]
    assert (first[2], first[3], first[4], first[9], first[13], first[14]) == (
        *("$0.10", "$0.10", "100%", "4", "cost_budget"),
        1000,
    )

    # A page that is open does not hold up the gateway's end, and learns of it.
    assert served.stop() == ""
    assert list(stream) == []


def test_a_token_shows_the_runs_of_its_tenant_and_no_others(workspace: Workspace) -> None:
    served = with_tokens(workspace)
    for tenant, token in TOKENS.items():
        assert call(served, f"of-{tenant}", token) == 200
    for path in ("/", "/status.js", "/status.css", "/status/events"):
        status, headers, body = ask(f"{served.admin}{path}")
        assert status == 401, path
        assert headers.get_all("www-authenticate") == ['Basic realm="leash", charset="UTF-8"', "Bearer"]
        assert "of-team" not in body
        for wrong in (basic("token-that-is-none"), basic(BOUND), {"Authorization": "Basic %%%"}):
            assert ask(f"{served.admin}{path}", wrong)[0] == 401
    for tenant, token in TOKENS.items():
        other = next(name for name in TOKENS if name != tenant)
        for shown in (basic(token), {"X-Leash-Token": token}, {"Authorization": f"Bearer {token}"}):
            status, _, page = ask(f"{served.admin}/", shown)
            assert status == 200
            assert f"{tenant}/of-{tenant}" in page
            assert other not in page
        told = json.dumps(next(events(served, basic(token))))
        assert f"{tenant}/of-{tenant}" in told
        assert other not in told


def test_nothing_on_it_acts(workspace: Workspace) -> None:
    served = gateway(workspace, "--insecure")
    for path in ("/", "/status.js", "/status/events"):
        assert ask(f"{served.admin}{path}", body=b"x")[0] == 405
        request = urllib.request.Request(f"{served.admin}{path}", method="HEAD")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200
            assert answer.read() == b""


def test_pages_that_are_too_many_leave_room_for_probes(workspace: Workspace) -> None:
    served = gateway(workspace, "--insecure")
    streams = [events(served) for _ in range(24)]
    for stream in streams:
        next(stream)
    assert ask(f"{served.admin}/status/events")[0] == 503
    assert ask(f"{served.admin}/healthz")[0] == 200
    assert ask(f"{served.admin}/metrics")[0] == 200
    for stream in streams:
        stream.close()  # type: ignore[attr-defined] # it is a generator
    wait_until(lambda: _begins(f"{served.admin}/status/events"), "those that have gone make room")


def _begins(url: str) -> bool:
    """Whether a stream begins; it is not read any further."""
    try:
        with urllib.request.urlopen(url, timeout=30):
            return True
    except urllib.error.HTTPError:
        return False


def test_a_stream_ends_when_its_token_is_taken_away(workspace: Workspace) -> None:
    served = with_tokens(workspace)
    stream = events(served, {"X-Leash-Token": TOKENS["team-a"]})
    next(stream)
    workspace.write("tokens", f"team-b: {TOKENS['team-b']}\n").chmod(0o600)
    served.process.send_signal(signal.SIGHUP)

    assert list(stream) == []  # it ends; within the time-out of reading
