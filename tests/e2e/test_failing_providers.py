"""What a provider's failures come to, in every format: no failure of theirs stops a run as blind."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.harness import PYTHON, Workspace

# With the bounds that it has, a call of this model holds a known amount: (1,024 + its bytes) and 100 tokens at most.
PRICES = {"demo-model": {"input": 10, "output": 30, "context": 8_000, "max_output": 100}}

CHAT = "/v1/chat/completions"
PATHS = {
    "openai_chat": CHAT,
    "openai_responses": "/v1/responses",
    "openai_embeddings": "/v1/embeddings",
    "anthropic_messages": "/v1/messages",
    "gemini_content": "/v1beta/models/demo-model:generateContent",
    "ollama_generate": "/api/chat",
}

# Makes one call for each path that it is given, and prints what became of it.
PROGRAM = """\
import http.client, json, os, sys, urllib.error, urllib.request
origin = os.environ["OPENAI_BASE_URL"].rsplit("/openai", 1)[0]
body = {"model": "demo-model", "max_tokens": 100, "messages": [{"role": "user", "content": "go on"}], "input": "go on"}
for path in sys.argv[1:]:
    request = urllib.request.Request(origin + "/openai" + path, json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request) as answer:
            answer.read()
            print(answer.status, flush=True)
    except urllib.error.HTTPError as refusal:
        print(refusal.code, refusal.read().decode(), flush=True)
    except (http.client.HTTPException, ConnectionError) as error:
        print("cut", flush=True)
"""

USAGE = {"prompt_tokens": 1_000, "completion_tokens": 50}
RUNNING_CHUNK = b"data: " + json.dumps({"model": "demo-model", "choices": [], "usage": USAGE}).encode() + b"\n\n"


class Scripted(BaseHTTPRequestHandler):
    """Does what the first segment of the path says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        _, script, _ = self.path.split("/", 2)
        if script.isdecimal():
            self._answer(int(script), b'{"error":{"message":"as told","type":"told","code":null}}')
        elif script == "drop":
            self.close_connection = True
        elif script == "cut":
            self._start(200, "text/event-stream", 10_000)
            self.wfile.write(RUNNING_CHUNK)
            self.close_connection = True
        elif script == "in-band":
            self._answer(200, b'data: {"error":{"message":"overloaded","code":529}}\n\n', "text/event-stream")
        elif script == "no-usage":
            self._answer(200, b'{"model":"demo-model","choices":[]}')
        else:
            self._answer(200, json.dumps({"model": "demo-model", "choices": [], "usage": USAGE}).encode())

    def _answer(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self._start(status, content_type, len(body))
        self.wfile.write(body)

    def _start(self, status: int, content_type: str, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def wrap(workspace: Workspace, origin: str, *paths: str) -> subprocess.CompletedProcess[str]:
    prices = workspace.write("prices.json", PRICES)
    program = workspace.write("program.py", PROGRAM)
    flags = ("--run", "r", "--max-cost", "5", "--prices", str(prices), "--upstream", origin)
    return workspace.leashctl("wrap", *flags, "--", PYTHON, str(program), *paths)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_an_error_status_is_one_call_that_bills_nothing_and_no_failure_is_blind(
    workspace: Workspace, origin: str, path: str
) -> None:
    ended = wrap(workspace, origin, *(f"/{status}{path}" for status in (429, 500, 401)), f"/drop{path}")
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["429", "500", "401", "502"]
    assert ended.returncode == 0, ended.stderr
    account = workspace.account("r")
    assert (account["status"], account["calls"], account["unresolved_calls"]) == ("finished", 3, 1)
    assert account["total_cost"] == 0
    assert account["held_cost"] > 0


def test_nobody_there_is_a_call_that_never_was(workspace: Workspace) -> None:
    ended = wrap(workspace, "http://127.0.0.1:9", CHAT, CHAT)
    assert ended.stdout.count("502 ") == 2
    assert "Nothing was sent, and nothing counts." in ended.stdout
    account = workspace.account("r")
    assert (account["status"], account["calls"], account["unresolved_calls"]) == ("finished", 0, 0)
    assert account["held_cost"] == 0


def test_a_stream_that_is_cut_is_unresolved_with_what_it_had_reported(workspace: Workspace, origin: str) -> None:
    ended = wrap(workspace, origin, f"/ok{CHAT}", f"/cut{CHAT}", f"/ok{CHAT}")
    assert ended.stdout.split() == ["200", "cut", "200"]
    assert ended.returncode == 0, ended.stderr
    account = workspace.account("r")
    assert (account["status"], account["calls"], account["unresolved_calls"]) == ("finished", 2, 1)
    # 1,000 tokens at $10 and 50 at $30 a million, twice; and at least as much is held for the third.
    assert account["total_cost"] == pytest.approx(0.0230)
    assert account["held_cost"] >= 0.0115


def test_an_error_within_an_answer_is_unresolved_and_not_blind(workspace: Workspace, origin: str) -> None:
    ended = wrap(workspace, origin, f"/ok{CHAT}", f"/in-band{CHAT}", f"/ok{CHAT}")
    assert ended.stdout.split() == ["200"] * 3
    account = workspace.account("r")
    assert (account["status"], account["calls"], account["unresolved_calls"]) == ("finished", 2, 1)


def test_a_whole_answer_without_usage_is_blind(workspace: Workspace, origin: str) -> None:
    ended = wrap(workspace, origin, f"/ok{CHAT}", f"/no-usage{CHAT}", f"/ok{CHAT}")
    statuses = [line.split()[0] for line in ended.stdout.splitlines()]
    assert statuses == ["200", "200", "429"]
    assert ended.returncode == 3
    assert workspace.account("r")["reason"] == "meter_blind"
