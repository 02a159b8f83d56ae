"""Who comes in at a gateway, under which run, and what the daemon is asked for them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from leash.client.errors import ClientError, DaemonUnavailable, SessionFailure
from leash.governance import Governance
from leash.v1 import shim_pb2, types_pb2
from leash_shim.door import Denial, Visitor
from leash_shim.gateway.door import GatewayDoor
from leash_shim.gateway.tokens import TokenBook, parse_tokens
from tests.unit.leash_shim.gateway.settings import gateway_config

pytestmark = pytest.mark.anyio

TEAM_A = "token-of-team-a-1234"
TEAM_B = "token-of-team-b-5678"
BOUND = "token-of-a-single-run"
CALL = "/v1/chat/completions"


def tokens() -> TokenBook:
    text = f"team-a: {TEAM_A}\nteam-b: {TEAM_B} max-cost=2 max-runs=7\nteam-b: {BOUND} run=nightly\n"
    return parse_tokens(text, source="tokens")[0]


class Session:
    """A daemon that opens every run, unless it is told to fail."""

    def __init__(self) -> None:
        self.opened: list[shim_pb2.OpenRun] = []
        self.closed: list[tuple[str, bool]] = []
        self.stored: list[bytes] = []
        self.failures: list[ClientError] = []

    async def open_run(self, message: shim_pb2.OpenRun) -> types_pb2.Account:
        self.opened.append(message)
        if self.failures:
            raise self.failures.pop(0)
        return types_pb2.Account(run=message.run)

    async def close_run(self, run: str, *, unfinished: bool = False) -> types_pb2.Account:
        self.closed.append((run, unfinished))
        return types_pb2.Account(run=run)

    async def put_prices(self, text: bytes) -> bytes:
        self.stored.append(text)
        return hashlib.sha256(text).digest()


@asynccontextmanager
async def door(session: Session | None = None, **settings: Any) -> AsyncIterator[GatewayDoor]:
    async with GatewayDoor(gateway_config(**settings), session or Session()) as opened:
        yield opened


def headers(**values: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in values.items()]


def visitor(decided: Visitor | Denial) -> Visitor:
    assert isinstance(decided, Visitor), decided
    return decided


def denial(decided: Visitor | Denial | None) -> Denial:
    assert isinstance(decided, Denial), decided
    return decided


async def test_without_tokens_anybody_comes_in_under_the_run_named() -> None:
    async with door() as gate:
        assert visitor(gate.admit(CALL, headers())) == Visitor(path=CALL, run="default")
        assert visitor(gate.admit(CALL, headers(X_Loop_Id="nightly"))).run == "nightly"
        assert visitor(gate.admit(f"/run/nightly{CALL}", headers())) == Visitor(path=CALL, run="nightly")
        assert visitor(gate.admit(f"/t/anything{CALL}", headers())) == Visitor(path=CALL, run="default")


async def test_a_token_makes_the_run_its_tenants() -> None:
    async with door(tokens=tokens()) as gate:
        for token, run in ((TEAM_A, "team-a/nightly"), (TEAM_B, "team-b/nightly")):
            assert visitor(gate.admit(CALL, headers(X_Leash_Token=token, X_Loop_Id="nightly"))).run == run
            assert visitor(gate.admit(f"/t/{token}/run/nightly{CALL}", headers())) == Visitor(path=CALL, run=run)
        assert visitor(gate.admit(CALL, headers(X_Leash_Token=TEAM_A))).run == "team-a/default"


async def test_a_shim_of_one_run_needs_no_name_and_takes_no_other() -> None:
    for book, others in ((tokens(), {"X_Leash_Token": TEAM_A}), (None, {})):
        async with door(tokens=book, run="nightly") as gate:
            assert visitor(gate.admit(CALL, headers(**others))).run == "nightly"
            assert visitor(gate.admit(CALL, headers(X_Loop_Id="nightly", **others))).run == "nightly"
            for refused in (
                gate.admit(CALL, headers(X_Loop_Id="weekly", **others)),
                gate.admit(f"/run/weekly{CALL}", headers(**others)),
            ):
                assert (denial(refused).status, denial(refused).code) == (401, "unauthorized")
                assert "the run nightly only" in denial(refused).message


async def test_a_header_goes_before_the_path() -> None:
    async with door(tokens=tokens()) as gate:
        path = f"/t/{TEAM_A}/run/one{CALL}"
        assert visitor(gate.admit(path, headers(X_Leash_Token=TEAM_B, X_Loop_Id="two"))).run == "team-b/two"
        assert denial(gate.admit(path, headers(X_Leash_Token="no-such-token-here"))).status == 401


async def test_the_token_and_the_run_of_a_path_are_decoded_once() -> None:
    book, _ = parse_tokens("team: a/token+with%41signs", source="tokens")
    async with door(tokens=book) as gate:
        path = f"/t/a%2Ftoken+with%2541signs/run/%6Eightly{CALL}"
        assert visitor(gate.admit(path, headers())) == Visitor(path=CALL, run="team/nightly")


@pytest.mark.parametrize(
    ("path", "run", "rest"),
    [
        (f"/run/nightly/t/{TEAM_A}{CALL}", "team-a/nightly", CALL),
        (f"/t/{TEAM_A}/run/nightly/t/{TEAM_B}/run/other{CALL}", "team-a/nightly", CALL),
        (f"/t/{TEAM_A}", "team-a/default", "/"),
        (f"/t/{TEAM_A}/run/nightly", "team-a/nightly", "/"),
        (f"/t/{TEAM_A}/run/", "team-a/default", "/"),
        (f"/t/{TEAM_A}/runs/nightly", "team-a/default", "/runs/nightly"),
        (f"/t/{TEAM_A}//v1/models", "team-a/default", "//v1/models"),
    ],
)
async def test_the_parts_of_a_path_come_off_in_any_order_and_the_first_counts(path: str, run: str, rest: str) -> None:
    async with door(tokens=tokens()) as gate:
        assert visitor(gate.admit(path, headers())) == Visitor(path=rest, run=run)


@pytest.mark.parametrize("path", ["*", "", "/", "x/t/y", "http://gateway/t/x/v1/models", "/v1/t/x", "/tt/x", "/runs"])
async def test_any_other_path_stays_as_it_is(path: str) -> None:
    async with door() as gate:
        assert visitor(gate.admit(path, headers())).path == path


@pytest.mark.parametrize("token", ["", "no-such-token-here", TEAM_A[:-1], TEAM_A + "x", "tökén"])
async def test_nobody_else_comes_in_and_all_are_told_the_same(token: str) -> None:
    async with door(tokens=tokens()) as gate:
        by_header = denial(gate.admit(CALL, headers(X_Leash_Token=token)))
        by_path = denial(gate.admit(f"/t/{token}{CALL}", headers()))

    assert by_header == by_path
    assert (by_header.status, by_header.code, by_header.path) == (401, "unauthorized", CALL)
    assert "no-such-token" not in by_header.message


async def test_a_token_bound_to_a_run_is_for_that_run_only() -> None:
    async with door(tokens=tokens(), require_run_id=True) as gate:
        for named in (headers(X_Leash_Token=BOUND), headers(X_Leash_Token=BOUND, X_Loop_Id="nightly")):
            assert visitor(gate.admit(CALL, named)).run == "team-b/nightly"
        denied = denial(gate.admit(CALL, headers(X_Leash_Token=BOUND, X_Loop_Id="other")))

    assert (denied.status, denied.code) == (401, "unauthorized")
    assert "for the run nightly only" in denied.message


@pytest.mark.parametrize("run", ["team-a/nightly", "../x", "a b", "-a", "x" * 119, "ä"])
async def test_a_name_that_no_run_can_have_is_refused(run: str) -> None:
    async with door(tokens=tokens()) as gate:
        denied = denial(gate.admit(CALL, headers(X_Leash_Token=TEAM_A, X_Loop_Id=run)))

    assert (denied.status, denied.code) == (400, "bad_run_id")


async def test_a_run_can_be_required_of_calls_but_not_of_what_is_free() -> None:
    async with door(require_run_id=True) as gate:
        free = visitor(gate.admit("/v1/models", headers()))
        assert free.run == ""
        denied = denial(await gate.enter(free))
        named = visitor(gate.admit(CALL, headers(X_Loop_Id="nightly")))
        assert await gate.enter(named) is None

    assert (denied.status, denied.code) == (400, "run_id_required")
    assert "X-Loop-Id" in denied.message


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        ({"X_Leash_Max_Cost": "2.50"}, (2_500_000_000, None)),
        ({"X_Leash_Max_Calls": "7"}, (None, 7)),
        ({"X_Leash_Max_Cost": "0", "X_Leash_Max_Calls": "0"}, (0, 0)),
    ],
)
async def test_a_client_may_ask_for_lower_limits(named: dict[str, str], asked: tuple[int | None, int | None]) -> None:
    session = Session()
    async with door(session) as gate:
        found = visitor(gate.admit(CALL, headers(**named)))
        assert await gate.enter(found) is None
        gate.leave(found)

    [opened] = session.opened
    lowered = opened.lowered
    assert (
        lowered.max_cost_nanodollars if lowered.HasField("max_cost_nanodollars") else None,
        lowered.max_calls if lowered.HasField("max_calls") else None,
    ) == asked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Leash-Max-Cost", "a lot"),
        ("X-Leash-Max-Cost", "5" + 40 * " " + "000"),
        ("X-Leash-Max-Cost", "0" * 41),
        ("X-Leash-Max-Calls", "-1"),
        ("X-Leash-Max-Calls", "1.5"),
    ],
)
async def test_a_limit_that_is_none_is_refused(name: str, value: str) -> None:
    async with door() as gate:
        denied = denial(gate.admit(CALL, headers(**{name: value})))

    assert (denied.status, denied.code) == (400, "bad_limit")
    assert denied.message.startswith(f"{name}: '{value[:40]}'")


async def test_a_run_is_opened_with_the_gateways_limits_and_its_tenants() -> None:
    session = Session()
    prices = '{"m": {"input": 1, "output": 1}}'
    limits = Governance(max_cost=20 * 10**9, max_calls=50)
    defaults = Governance(deadline=9)
    async with door(
        session, tokens=tokens(), limits=limits, defaults=defaults, prices=prices, max_open_runs=11
    ) as gate:
        for token in (TEAM_A, TEAM_B):
            assert await gate.enter(visitor(gate.admit(CALL, headers(X_Leash_Token=token)))) is None

    first, second = session.opened
    assert (first.run, second.run) == ("team-a/default", "team-b/default")
    for opened in session.opened:
        assert (opened.kind, opened.max_open_runs, opened.limits.max_calls) == ("gateway", 11, 50)
        assert opened.defaults.deadline_ns == 9
        assert opened.prices_sha256 == hashlib.sha256(prices.encode()).digest()
    assert (first.limits.max_cost_nanodollars, first.max_runs) == (20 * 10**9, 0)
    assert (second.limits.max_cost_nanodollars, second.max_runs) == (2 * 10**9, 7)


async def test_prices_that_the_daemon_has_lost_are_stored_again() -> None:
    session = Session()
    session.failures = [SessionFailure(shim_pb2.FAILURE_CODE_PRICES_UNKNOWN, "not yet")]
    async with door(session, prices="{}") as gate:
        assert await gate.enter(visitor(gate.admit(CALL, headers()))) is None

    assert session.stored == [b"{}"]
    assert len(session.opened) == 2


@pytest.mark.parametrize(
    ("failure", "status", "code", "retry_after_seconds"),
    [
        (SessionFailure(shim_pb2.FAILURE_CODE_TOO_MANY_RUNS, "too many"), 402, "too_many_runs", 0),
        (SessionFailure(shim_pb2.FAILURE_CODE_TOO_MANY_OPEN, "too many"), 503, "too_many_runs", 5),
        (SessionFailure(shim_pb2.FAILURE_CODE_BUSY, "busy"), 503, "leash_unavailable", 1),
        (SessionFailure(shim_pb2.FAILURE_CODE_INVALID, "strict needs a deadline"), 503, "leash_unavailable", 0),
        (DaemonUnavailable("no daemon"), 503, "leash_unavailable", 1),
    ],
)
async def test_a_run_that_cannot_be_opened_is_told_with_the_daemons_sentence(
    failure: ClientError, status: int, code: str, retry_after_seconds: int
) -> None:
    session = Session()
    session.failures = [failure]
    async with door(session) as gate:
        denied = denial(await gate.enter(visitor(gate.admit(CALL, headers()))))
        assert await gate.enter(visitor(gate.admit(CALL, headers()))) is None, "the next one tries again"

    assert (denied.status, denied.code, denied.retry_after_seconds) == (status, code, retry_after_seconds)
    assert denied.message == str(failure)


async def test_a_reload_holds_for_who_comes_in_and_for_runs_that_are_open() -> None:
    session = Session()
    async with door(session, tokens=tokens()) as gate:
        found = visitor(gate.admit(CALL, headers(X_Leash_Token=TEAM_A)))
        assert await gate.enter(found) is None
        gate.leave(found)
        book, _ = parse_tokens(f"team-a: {TEAM_B} max-calls=3", source="tokens")
        gate.reload(gateway_config(tokens=book))

        assert denial(gate.admit(CALL, headers(X_Leash_Token=TEAM_A))).status == 401
        found = visitor(gate.admit(CALL, headers(X_Leash_Token=TEAM_B)))
        assert found.run == "team-a/default"
        assert await gate.enter(found) is None
        gate.leave(found)

    assert [opened.limits.max_calls for opened in session.opened] == [0, 3]
    assert session.closed == [("team-a/default", True)]
