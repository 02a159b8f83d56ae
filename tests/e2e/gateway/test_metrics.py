"""The figures of a gateway agree with the ledger, whatever has come of its calls."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.harness import MODEL, PRICES, FakeProvider, Gateway, Workspace, wait_until

TOKEN = "token-Aechah7ohT1quaiY"
TENANT = "team-a"
PATIENCE_S = 20.0

CHAT = ("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "go on"}]})
STREAM = (CHAT[0], CHAT[1] | {"stream": True})
MESSAGE = ("/v1/messages", {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "go on"}]})
CONTENT = (f"/v1beta/models/{MODEL}:generateContent", {"contents": [{"parts": [{"text": "go on"}]}]})
CUT = ("/api/chat", {"model": MODEL, "messages": [{"role": "user", "content": "go on"}], "stream": False})
BROKEN = ("/api/generate", {"model": MODEL, "prompt": "go on", "stream": False})

# A part of the path -> how a provider fails there: with a status, without a usage, in the middle of its answer, and
# with an answer that tells so itself.
FAILURES = {
    b"/messages": (b"529 Overloaded", b"{}"),
    b":generateContent": (b"200 OK", b"{}"),
    b"/api/chat": (b"200 OK", b"{"),
    b"/api/generate": (b"200 OK", b'{"error":"out of memory"}'),
}

# The run -> what it asks for, how often, and the statuses that come of it. Runs go side by side, calls of one run in
# turn. The gateway's limit of five calls a run stops "greedy", and has it warned before.
LOAD: dict[str, tuple[tuple[str, dict[str, Any]], int, dict[int, int]]] = {
    "whole": (CHAT, 4, {200: 4}),
    "streams": (STREAM, 3, {200: 3}),
    "greedy": (CHAT, 8, {200: 5, 429: 3}),
    "overloaded": (MESSAGE, 2, {529: 2}),
    "blind": (CONTENT, 2, {200: 2}),
    "cut": (CUT, 2, {200: 2}),
    "broken": (BROKEN, 1, {200: 1}),
    "gone": (("/nowhere/v1/chat/completions", CHAT[1]), 2, {502: 2}),
}


@dataclass
class Figures:
    """One scrape, by name and labels."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The samples of a name that are not zero, added up by one label; ``labels`` choose among them."""
        added: Counter[str] = Counter()
        for (sample, found), value in self.samples.items():
            if sample == name and value and labels.items() <= dict(found).items():
                added[dict(found)[label]] += value
        return dict(added)


def _scrape(gateway: Gateway, *, accept: str = "text/plain") -> Figures:
    connection = http.client.HTTPConnection(urlsplit(gateway.admin).netloc, timeout=PATIENCE_S)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}", "Accept": accept})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200, text
    parse = parse_openmetrics if "openmetrics" in accept else parse_text
    return Figures(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse(text)
            for sample in family.samples
        }
    )


def _ask(gateway: Gateway, run: str, asked: tuple[str, dict[str, Any]] | None, path: str = "") -> int:
    """The status of an answer, which is read to its end. Each on its own connection, so that all workers get some."""
    connection = http.client.HTTPConnection(urlsplit(gateway.origin).netloc, timeout=PATIENCE_S)
    headers = {"X-Leash-Token": TOKEN, "X-Loop-Id": run, "Content-Type": "application/json"}
    if asked is None:
        connection.request("GET", path, headers=headers)
    else:
        connection.request("POST", asked[0], json.dumps(asked[1]), headers)
    answer = connection.getresponse()
    with suppress(http.client.IncompleteRead):
        answer.read()
    connection.close()
    return answer.status


def _hang_up(gateway: Gateway, run: str) -> None:
    """Leaves in the middle of a stream, which is then read on without its agent."""
    host, port = urlsplit(gateway.origin).netloc.split(":")
    body = json.dumps(STREAM[1]).encode()
    head = f"POST {STREAM[0]} HTTP/1.1\r\nhost: x\r\nx-leash-token: {TOKEN}\r\nx-loop-id: {run}\r\n"
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as agent:
        agent.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        assert agent.recv(1 << 16).startswith(b"HTTP/1.1 200")


@contextmanager
def _failing_provider() -> Iterator[str]:
    """A provider that fails in the way of ``FAILURES`` for a path; its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked = connection.recv(1 << 16)
                head, body = next(answer for path, answer in FAILURES.items() if path in asked)
                framing = b"connection: close\r\ncontent-length: %d" % max(len(body), 2)
                typed = b"content-type: application/json"
                connection.sendall(b"\r\n".join((b"HTTP/1.1 " + head, typed, framing, b"", body)))

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        server.join()


def _work(gateway: Gateway) -> Counter[int]:
    """Carries out the load; how often each status came."""

    def go(run: str) -> Counter[int]:
        asked, times, _ = LOAD[run]
        return Counter(_ask(gateway, run, asked) for _ in range(times))

    with ThreadPoolExecutor(len(LOAD)) as agents:
        came = dict(zip(LOAD, agents.map(go, LOAD), strict=True))
    assert came == {run: Counter(statuses) for run, (_, _, statuses) in LOAD.items()}
    return sum(came.values(), Counter())


def _listed(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """The runs of the ledger, as ``leashctl ps`` lists them."""
    listed = json.loads(workspace.leashctl("ps", "--json").stdout)
    return {row["run"].removeprefix(f"{TENANT}/"): row for row in listed if row["ledger"] == str(workspace.ledger)}


def _inspected(workspace: Workspace, *runs: str) -> dict[str, dict[str, Any]]:
    with ThreadPoolExecutor(2) as readers:
        return dict(zip(runs, readers.map(workspace.account, runs), strict=True))


def _serve(workspace: Workspace, fake_provider: Callable[..., FakeProvider], failing: str) -> Gateway:
    workspace.write("tokens", f"{TENANT}: {TOKEN}\n").chmod(0o600)
    prices = workspace.write("prices.json", PRICES)
    upstreams = {
        "openai": fake_provider("--chunk-delay", "20ms").origin,
        "anthropic": failing,
        "gemini": failing,
        "ollama": failing,
        "nowhere": "http://127.0.0.1:1",
    }
    return workspace.gateway(
        *("--auth-token-file", str(workspace.root / "tokens"), "--prices", str(prices), "--workers", "2"),
        *("--max-cost", "1", "--max-calls", "5", "--on-blind", "warn", "--warn-at", "0.9"),
        *(flag for name, origin in upstreams.items() for flag in ("--upstream", f"{name}={origin}")),
        admin=True,
    )


def test_the_counters_agree_with_the_ledger(workspace: Workspace, fake_provider: Callable[..., FakeProvider]) -> None:
    with _failing_provider() as failing:
        gateway = _serve(workspace, fake_provider, failing)
        came = _work(gateway)
        _hang_up(gateway, "hung-up")
        came[200] += 1
        came[_ask(gateway, "whole", None, "/v1/models")] += 1
        came[_ask(gateway, "not/a/name", CHAT)] += 1
        assert workspace.leashctl("kill", "streams").returncode == 0
        came[_ask(gateway, "streams", STREAM)] += 1
        settled = 4 + 3 + 5 + 2 + 2 + 1
        wait_until(lambda: _has_come_to(gateway, settled=settled, answers=came.total()), "all is counted")
        figures, listed = _scrape(gateway), _listed(workspace)

        def summed(column: str) -> float:
            return sum(row[column] for row in listed.values())

        # Calls: those of "gone" reached nobody, and those of "cut" and "broken" are unresolved.
        assert summed("calls") == settled
        assert summed("unresolved_calls") == 2 + 1
        assert figures("leash_settle_duration_seconds_count") == settled
        decided = {"admitted": settled + 3 + 2, "refused": 4, "passed": 1, "denied": 1}
        assert figures.by("decision", "leash_calls_total") == decided
        assert figures("leash_reserve_duration_seconds_count") == decided["admitted"] + decided["refused"]

        # What they came to.
        assert summed("input_tokens") == 13 * 1000
        for kind in ("input", "output", "reasoning"):
            assert figures("leash_tokens_total", kind=kind) == summed(f"{kind}_tokens"), kind
        assert round(figures("leash_token_cost_usd_total"), 9) == round(summed("token_cost"), 9) == 0.325

        # What was refused, stopped, warned of and wrong.
        inspected = _inspected(workspace, "greedy", "streams", "blind", "overloaded", "cut", "broken")
        entries = [entry for account in inspected.values() for entry in account["entries"]]
        for name, kind, reasons in (
            ("leash_stops_total", "stopped", {"max_calls", "kill_switch"}),
            ("leash_budget_warnings_total", "warned", {"max_calls", "meter_blind"}),
        ):
            recorded = Counter(entry["reason"] for entry in entries if entry["kind"] == kind)
            assert recorded.keys() == reasons
            assert figures.by("reason", name) == recorded
        assert figures.by("reason", "leash_refusals_total") == {"max_calls": 3, "kill_switch": 1}
        assert figures("leash_blind_calls_total") == inspected["blind"]["blind_calls"] == 2
        errors = {"server": inspected["overloaded"]["error_calls"], "cut": 3 + 2}
        assert figures.by("kind", "leash_upstream_errors_total") == errors
        assert figures("leash_ledger_errors_total") == 0

        # What agents saw, and what is under way.
        assert figures.by("code", "leash_responses_total") == {str(status): count for status, count in came.items()}
        assert figures("leash_request_duration_seconds_count") == came.total()
        assert figures("leash_requests_in_flight") == 0
        assert figures("leash_held_cost_usd") == 0
        assert figures("leash_active_runs") == len(listed)
        assert figures("leash_ready") == 1

        _replace_a_worker(gateway)
        assert _of_workers(_scrape(gateway, accept="application/openmetrics-text")) == _of_workers(figures)


def _has_come_to(gateway: Gateway, *, settled: int, answers: int) -> bool:
    """Whether so many calls are settled and so many requests over: what is counted last of each."""
    figures = _scrape(gateway)
    over = sum(figures.by("code", "leash_responses_total").values())
    return (figures("leash_settle_duration_seconds_count"), over) == (settled, answers)


def _of_workers(figures: Figures) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What the workers have counted: the daemon goes on, with other runs open."""
    told = ("leash_commit_batch_size", "leash_active_runs")
    return {key: value for key, value in figures.samples.items() if not key[0].startswith(told)}


def _replace_a_worker(gateway: Gateway) -> None:
    """Kills one, and waits until another one serves in its place."""
    before = {worker.pid for worker in gateway.workers()}
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len({worker.pid for worker in gateway.workers()} - before) == 1, "another worker starts")
    wait_until(lambda: len({worker.pid for worker in gateway.workers()}) == len(before), "the killed one is cleared")
