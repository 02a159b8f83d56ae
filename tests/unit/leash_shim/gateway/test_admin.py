from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from leash.client.errors import DaemonUnavailable
from leash.client.paths import Endpoint
from leash.v1 import shim_pb2
from leash_shim.gateway import admin
from leash_shim.gateway.admin import AdminApp
from leash_shim.gateway.status_board import StatusBoard
from leash_shim.gateway.status_page import StatusPage
from leash_shim.gateway.tokens import TokenBook, parse_tokens
from tests.unit.leash_shim.gateway.figures import count

pytestmark = pytest.mark.anyio

TOKEN = "token-Aechah7ohT1quaiY"
BOUND_TOKEN = "token-Ieng1Oovaefoo8ah"
BOOK, _ = parse_tokens(f"team-a: {TOKEN}\nteam-b: {BOUND_TOKEN} run=nightly\n", source="tokens")
ENDPOINT = Endpoint(Path("/nowhere/leashd.sock"), Path("/nowhere/control.sock"), None, "socket")
PROBED = shim_pb2.Probed(open_runs=3, commits=7, operations=30, commits_by_size=[4, 2, 0, 0, 1])


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    def figures(self) -> dict[str, Metric]:
        return {family.name: family for family in parse_text(self.body)}


class Admin:
    """An admin listener's application, and who asks it."""

    def __init__(self, directory: Path) -> None:
        self.draining = False
        self.book: TokenBook | None = None
        self.probe: Callable[[], Awaitable[shim_pb2.Probed]] = self._answers
        self.asked = 0
        self.app = AdminApp(
            probe=self._ask,
            is_draining=lambda: self.draining,
            tokens=lambda: self.book,
            metrics_dir=str(directory),
            version="1.2.3",
            page=StatusPage(StatusBoard(ENDPOINT)),
        )

    async def get(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "headers": fields}
        await self.app(scope, receive, send)
        start, body = sent
        answered = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], answered, body["body"].decode())

    async def _ask(self) -> shim_pb2.Probed:
        self.asked += 1
        return await self.probe()

    async def _answers(self) -> shim_pb2.Probed:
        return PROBED


@pytest.fixture
def asked(tmp_path: Path) -> Admin:
    return Admin(tmp_path)


async def unavailable() -> shim_pb2.Probed:
    raise DaemonUnavailable("leashd has not answered for 5 s")


async def never() -> shim_pb2.Probed:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_gateway_that_lives_says_so_whatever_the_daemon_does(asked: Admin) -> None:
    asked.probe, asked.draining, asked.book = unavailable, True, BOOK
    answer = await asked.get("/healthz")
    assert (answer.status, answer.body) == (200, "ok")
    assert asked.asked == 0


async def test_a_gateway_whose_daemon_writes_is_ready(asked: Admin) -> None:
    asked.book = BOOK
    answer = await asked.get("/readyz")
    assert (answer.status, answer.body) == (200, "ready")
    assert asked.asked == 1
    assert answer.headers["cache-control"] == "no-store"


async def test_a_gateway_without_a_daemon_says_why_it_is_not_ready(asked: Admin) -> None:
    asked.probe = unavailable
    answer = await asked.get("/readyz")
    assert (answer.status, answer.body) == (503, "leashd has not answered for 5 s")


async def test_a_daemon_that_takes_too_long_is_not_waited_for(asked: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "READY_WITHIN_S", 0.01)
    asked.probe = never
    answer = await asked.get("/readyz")
    assert (answer.status, answer.body) == (503, "leashd has not written to its ledger within 0.01 s")


async def test_a_gateway_that_drains_is_not_ready_and_asks_nobody(asked: Admin) -> None:
    asked.draining = True
    answer = await asked.get("/readyz")
    assert (answer.status, answer.body) == (503, "draining")
    assert asked.asked == 0


async def test_the_figures_are_those_of_all_workers_and_of_the_daemon(asked: Admin, tmp_path: Path) -> None:
    count(tmp_path, 11, "counter", 3, reason="stall")
    count(tmp_path, 12, "counter", 4, reason="stall")
    answer = await asked.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    figures = answer.figures()
    assert [sample.value for sample in figures["leash_counter"].samples] == [7]
    assert figures["leash_active_runs"].samples[0].value == 3
    assert figures["leash_ready"].samples[0].value == 1
    assert figures["leash_build_info"].samples[0].labels == {"version": "1.2.3"}


async def test_the_sizes_of_commits_are_a_histogram(asked: Admin) -> None:
    sizes = (await asked.get("/metrics")).figures()["leash_commit_batch_size"]
    assert sizes.type == "histogram"
    assert {sample.labels.get("le", sample.name): sample.value for sample in sizes.samples} == {
        "1.0": 4,
        "2.0": 6,
        "4.0": 6,
        "8.0": 6,
        "16.0": 7,
        "+Inf": 7,
        "leash_commit_batch_size_count": 7,
        "leash_commit_batch_size_sum": 30,
    }


@pytest.mark.parametrize(("draining", "probe"), [(True, None), (False, unavailable)])
async def test_a_gateway_that_is_not_ready_says_so_in_its_figures(
    asked: Admin, *, draining: bool, probe: Callable[[], Awaitable[shim_pb2.Probed]] | None
) -> None:
    asked.draining = draining
    asked.probe = probe or asked.probe
    assert (await asked.get("/metrics")).figures()["leash_ready"].samples[0].value == 0


async def test_what_the_daemon_does_not_tell_is_left_out(asked: Admin, tmp_path: Path) -> None:
    asked.probe = unavailable
    count(tmp_path, 11, "counter", 3, reason="stall")
    answer = await asked.get("/metrics")
    assert answer.status == 200
    assert answer.figures().keys() == {"leash_counter", "leash_build_info", "leash_ready"}


async def test_somebody_who_asks_for_openmetrics_gets_it(asked: Admin, tmp_path: Path) -> None:
    count(tmp_path, 11, "gauge_livesum", 3)
    answer = await asked.get("/metrics", accept="application/openmetrics-text; version=1.0.0,text/plain;q=0.5")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in parse_openmetrics(answer.body)}
    assert families["leash_gauge"].samples[0].value == 3


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=new", "text/plain;version=é", ";=,;"])
async def test_somebody_who_asks_for_what_there_is_none_of_gets_the_figures(asked: Admin, accept: str) -> None:
    answer = await asked.get("/metrics", accept=accept)
    assert (answer.status, "leash_ready 1.0\n" in answer.body) == (200, True)


@pytest.mark.parametrize(
    "headers",
    [
        {"x_leash_token": TOKEN},
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer  {TOKEN} "},
        {"x_leash_token": TOKEN, "authorization": "Basic of-a-proxy"},
    ],
)
async def test_a_token_of_the_gateway_shows_the_figures(asked: Admin, headers: dict[str, str]) -> None:
    asked.book = BOOK
    assert (await asked.get("/metrics", **headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_leash_token": "token-of-nobody-shie3Iet"},
        {"x_leash_token": BOUND_TOKEN},
        {"authorization": f"Bearer {BOUND_TOKEN}"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"x_leash_token": "token-of-nobody-shie3Iet", "authorization": f"Bearer {TOKEN}"},
    ],
)
async def test_nobody_else_sees_the_figures(asked: Admin, headers: dict[str, str]) -> None:
    asked.book = BOOK
    answer = await asked.get("/metrics", **headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "leash_ready" not in answer.body
    assert "token-" not in answer.body
    assert asked.asked == 0


async def test_tokens_are_those_of_now(asked: Admin) -> None:
    asked.book = BOOK
    assert (await asked.get("/metrics", x_leash_token="another-token-of-mine")).status == 401
    asked.book, _ = parse_tokens("another-token-of-mine", source="tokens")
    assert (await asked.get("/metrics", x_leash_token="another-token-of-mine")).status == 200
    assert (await asked.get("/metrics", x_leash_token=TOKEN)).status == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8089", 200),
        ("[::1]:8089", 200),
        ("localhost:8089", 200),
        ("gateway", 200),
        ("evil.example:8089", 421),
        ("127.0.0.1.evil.example", 421),
    ],
)
async def test_a_name_that_somebody_else_can_have_lead_here_shows_no_runs_without_a_token(
    asked: Admin, monkeypatch: pytest.MonkeyPatch, host: str, status: int
) -> None:
    monkeypatch.setattr("leash_shim.gateway.status_board._FIRST_S", 0.01)  # nobody tells it of runs here
    assert (await asked.get("/", host=host)).status == status
    asked.book = BOOK
    assert (await asked.get("/", host=host, x_leash_token=TOKEN)).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_a_head_is_the_answer_without_its_body(asked: Admin, path: str) -> None:
    whole, head = await asked.get(path), await asked.get(path, method="HEAD")
    assert (head.status, head.headers, head.body) == (whole.status, whole.headers, "")
    assert int(head.headers["content-length"]) == len(whole.body)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_can_be_done_here(asked: Admin, method: str) -> None:
    answer = await asked.get("/readyz", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert asked.asked == 0


@pytest.mark.parametrize("path", ["/status", "/v1/chat/completions", "/metrics/", "//metrics", "/METRICS"])
async def test_there_is_nothing_else(asked: Admin, path: str) -> None:
    answer = await asked.get(path)
    assert answer.status == 404
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
