"""A gateway's door on real sockets: who comes in, what goes on to the provider, and what an observer is told of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from leash.client.errors import DaemonUnavailable
from leash.v1 import shim_pb2, types_pb2
from leash_shim.observer import Observers
from tests.e2e.shim.asking import BODY, COMPLETION, OTHER, TOKEN, Seen, answer, gateway, post
from tests.unit.leash_shim.gateway.settings import gateway_config

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio


def _cut_after(raw: bytes) -> Callable[[Any, asyncio.StreamWriter], Awaitable[None]]:
    async def script(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    return script


async def test_two_tenants_with_one_run_name_have_runs_of_their_own(start: Callable[..., Any]) -> None:
    async with start(**gateway()) as shim:
        shim.provider.answers(answer())
        for token in (TOKEN, OTHER, TOKEN):
            assert (await shim.ask(post(X_Leash_Token=token, X_Loop_Id="nightly"))).status == 200

        opened = [message.run for kind, message in shim.session.operations if kind == "open_run"]
        reserved = [message.run for kind, message in shim.session.operations if kind == "reserve"]
        assert opened == ["team-a/nightly", "team-b/nightly"]
        assert reserved == ["team-a/nightly", "team-b/nightly", "team-a/nightly"]


async def test_what_is_addressed_to_leash_goes_no_further(start: Callable[..., Any]) -> None:
    seen = Seen()
    async with start(**gateway(), observer=seen) as shim:
        shim.provider.answers(answer())
        path = f"/t/{TOKEN}/run/nightly/openai/v1/chat/completions?key=theirs"
        got = await shim.ask(post(path, X_Loop_Id="nightly", X_Leash_Max_Cost="2", Referer="/t/x/run/y"))

        assert got.status == 200
        [asked] = shim.provider.asked
        assert asked.line == "POST /v1/chat/completions?key=theirs HTTP/1.1"
        names = {name.lower() for name, _ in asked.headers}
        assert not [name for name in names if name.startswith(("x-leash", "x-loop"))]
        assert asked.header("authorization") == "Bearer sk-1"
        assert asked.header("referer") == "/t/x/run/y"
        assert (seen.last.path, seen.last.run) == ("/openai/v1/chat/completions", "team-a/nightly")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v1/chat/completions", lambda body: body["error"]["code"] == "unauthorized"),
        ("/v1/models", lambda body: body["error"]["code"] == "unauthorized"),
        ("/v1/messages", lambda body: body["error"]["code"] == "unauthorized"),
        (
            "/v1beta/models/m:generateContent",
            lambda body: (body["error"]["code"], body["error"]["status"]) == (401, "UNAUTHENTICATED"),
        ),
        ("/api/chat", lambda body: body["leash"]["code"] == "unauthorized"),
    ],
)
async def test_who_has_no_token_is_told_so_in_the_words_of_the_sdk(
    start: Callable[..., Any], path: str, error: Callable[[Any], bool]
) -> None:
    seen = Seen()
    async with start(**gateway(), observer=seen) as shim:
        got = await shim.ask(post(path, X_Leash_Token="no-such-token-here"))

        assert got.status == 401
        assert got.header("x-should-retry") == "false"
        assert got.header("www-authenticate") == 'X-Leash-Token realm="leash"'
        assert error(json.loads(got.body))
        assert b"no-such-token" not in got.body
        assert (seen.last.decision, seen.last.reason, seen.last.run) == ("denied", "unauthorized", "")
        assert shim.provider.asked == []
        assert shim.session.operations == []


async def test_a_websocket_needs_a_token_too(start: Callable[..., Any]) -> None:
    upgrade = "GET /v1/realtime HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    upgrade += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    async with start(**gateway()) as shim:
        assert (await shim.ask(f"{upgrade}\r\n".encode())).status == 401
        assert (await shim.ask(f"{upgrade}X-Leash-Token: {TOKEN}\r\n\r\n".encode())).status == 400


async def test_a_run_that_cannot_be_opened_is_never_forwarded(start: Callable[..., Any]) -> None:
    seen = Seen()
    async with start(**gateway(), observer=seen) as shim:

        async def no_daemon(_message: shim_pb2.OpenRun) -> types_pb2.Account:
            raise DaemonUnavailable("leashd has not answered")

        shim.session.open_run = no_daemon
        got = await shim.ask(post(X_Leash_Token=TOKEN))

        assert (got.status, got.header("retry-after")) == (503, "1")
        assert (seen.last.decision, seen.last.reason) == ("failed", "leash_unavailable")
        assert shim.provider.asked == []


async def test_an_admitted_call_is_told_in_full(start: Callable[..., Any]) -> None:
    seen, also = Seen(), Seen()
    async with start(**gateway(), observer=Observers(seen, also)) as shim:
        shim.provider.answers(answer())
        await shim.ask(post(X_Leash_Token=TOKEN, X_Request_Id="theirs.1"))
        await shim.ask(post(X_Leash_Token=TOKEN, X_Request_Id="no good\tone"))

    first, second = seen.exchanges
    assert also.exchanges == seen.exchanges
    assert (seen.begun, also.told) == (2, seen.told)
    assert (first.method, first.path, first.run) == ("POST", "/v1/chat/completions", "team-a/default")
    assert (first.decision, first.reason, first.provider, first.status) == ("admitted", "", "openai", 200)
    assert (first.received_bytes, first.sent_bytes) == (len(BODY), len(COMPLETION))
    assert (first.client, first.client_request_id, second.client_request_id) == ("127.0.0.1", "theirs.1", "")
    assert first.ended_ns > first.started_ns
    assert seen.told[:2] == ["reserved Admitted", "settled 11"]


@pytest.mark.parametrize(
    ("request_", "setup", "expected", "told"),
    [
        (post("/v1/models", b"", method="GET"), None, ("passed", "", 200), []),
        (post("/v1/../x"), None, ("denied", "bad_path", 400), []),
        (post(body=b"x" * 2_000_000), None, ("denied", "body_too_large", 413), []),
        (post(X_Loop_Id="a/b"), None, ("denied", "bad_run_id", 400), []),
        (post(), "refuses", ("refused", "cost_budget", 429), ["reserved Refused"]),
        (post(), "is away", ("failed", "leash_unavailable", 503), ["reserved NoneType"]),
        (post(), "provider fails", ("admitted", "", 500), ["reserved Admitted", "failed 500", "settled None"]),
        (post(), "provider cuts", ("admitted", "upstream_failed", 502), ["reserved Admitted", "failed 0"]),
        (post(), "provider breaks off", ("admitted", "upstream_cut", 200), ["reserved Admitted", "failed 0"]),
    ],
)
async def test_every_way_out_is_told(
    start: Callable[..., Any], request_: bytes, setup: str | None, expected: tuple[str, str, int], told: list[str]
) -> None:
    seen = Seen()
    async with start(gateway=gateway_config(), observer=seen, max_body_bytes=1_000_000) as shim:
        shim.provider.answers(answer())
        match setup:
            case "refuses":
                shim.session.verdict = shim_pb2.Refused(reason=types_pb2.REASON_COST_BUDGET)
            case "is away":
                shim.session.verdict = DaemonUnavailable("no daemon")
            case "provider fails":
                shim.provider.answers(answer(b"{}", "500 Internal Server Error"))
            case "provider cuts":
                shim.provider.script = _cut_after(b"")
            case "provider breaks off":
                shim.provider.script = _cut_after(answer()[:-10])
        await shim.ask(request_)

    assert (seen.last.decision, seen.last.reason, seen.last.status) == expected
    assert seen.told == told


async def test_a_body_that_does_not_come_is_not_waited_for(start: Callable[..., Any]) -> None:
    seen = Seen()
    async with start(gateway=gateway_config(), observer=seen, body_timeout_s=0.05) as shim:
        got = await shim.ask(post()[:-5])

        assert got.status == 400
        assert json.loads(got.body)["error"]["code"] == "body_timeout"
        assert shim.session.kinds == [], "a run is opened for a whole request only"


async def test_bodies_that_are_held_have_a_bound_in_sum_and_make_room(start: Callable[..., Any]) -> None:
    async with start(gateway=gateway_config(), max_held_bytes=100) as shim:
        shim.provider.answers(answer())
        async with shim.connection() as slow:
            await slow.send(post()[:-5])
            for _ in range(50):
                # What the slow one has sent is on its way still.
                got = await shim.ask(post(body=BODY + b" " * 30))
                if got.status == 503:
                    break
            assert (got.status, got.header("retry-after")) == (503, "1")
            assert json.loads(got.body)["error"]["code"] == "busy"
            await slow.send(post()[-5:])
            assert (await slow.read_all()).startswith(b"HTTP/1.1 200")
        assert (await shim.ask(post(body=BODY + b" " * 30))).status == 200


async def test_a_gateway_that_is_leaving_says_so_on_its_answers(start: Callable[..., Any]) -> None:
    kept = post().replace(b"Connection: close\r\n", b"")
    async with start(gateway=gateway_config()) as shim:
        shim.provider.answers(answer())
        async with shim.connection() as connection:
            await connection.send(kept)
            assert b"connection: close" not in (await connection.read_until(COMPLETION[-20:])).lower()
            shim.app.leaving = True
            await connection.send(kept)
            assert b"connection: close" in (await connection.read_all()).lower()
