"""Stall: an agent that repeats one tool call and says nothing is stopped, whatever format it speaks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import MODEL, PYTHON, FakeProvider, Workspace

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "go on"}]}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "go on"}]}]}
STREAM = {"stream": True}

# Path and query, and body, by format and by how it is answered.
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", CHAT),
    "chat-events": ("/v1/chat/completions", CHAT | STREAM),
    "responses": ("/v1/responses", {"model": MODEL, "input": "go on"}),
    "responses-events": ("/v1/responses", {"model": MODEL, "input": "go on"} | STREAM),
    "anthropic": ("/v1/messages", CHAT | {"max_tokens": 600}),
    "anthropic-events": ("/v1/messages", CHAT | {"max_tokens": 600} | STREAM),
    "gemini": (f"/v1beta/models/{MODEL}:generateContent", GEMINI),
    "gemini-events": (f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse", GEMINI),
    "gemini-array": (f"/v1beta/models/{MODEL}:streamGenerateContent", GEMINI),
    "ollama": ("/api/chat", CHAT | {"stream": False}),
    "ollama-lines": ("/api/chat", CHAT),
}

# Asks the same five times, or until it is refused. What is mounted nowhere goes to the provider by its path.
PROGRAM = """\
import os, sys, urllib.error, urllib.request
url = os.environ["OPENAI_BASE_URL"].rsplit("/openai", 1)[0] + sys.argv[1]
for _ in range(5):
    request = urllib.request.Request(url, sys.argv[2].encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            print(answer.status, "look_up" in answer.read().decode())
    except urllib.error.HTTPError as refusal:
        print(refusal.code, "stall" in refusal.read().decode())
        break
"""


def ask(workspace: Workspace, provider: FakeProvider, kind: str) -> subprocess.CompletedProcess[str]:
    """Wraps the program under a limit of three equal replies in a row, and no other."""
    path, body = REQUESTS[kind]
    program = workspace.write("program.py", PROGRAM)
    asked = workspace.write("body.json", body).read_text(encoding="utf-8")
    flags = ("--run", "r", "--stall", "3", "--max-cost", "0", "--upstream", provider.origin)
    return workspace.leashctl("wrap", *flags, "--", PYTHON, str(program), path, asked)


# What a fingerprint is made of has unit tests for each format.
kinds = pytest.mark.parametrize(
    "kind",
    [kind if kind in ("chat", "anthropic-events") else pytest.param(kind, marks=pytest.mark.long) for kind in REQUESTS],
)


@kinds
def test_one_tool_call_again_and_again_is_stopped(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider], kind: str
) -> None:
    provider = fake_provider("--tool-calls", "--reply", "rain in Bergen")
    ended = ask(workspace, provider, kind)
    assert ended.stdout.splitlines() == ["200 True"] * 3 + ["429 True"], ended.stderr
    assert ended.returncode == 3
    assert provider.served() == 3
    account = workspace.account("r")
    assert (account["status"], account["reason"], account["calls"]) == ("stopped", "stall", 3)


@kinds
def test_one_tool_with_other_arguments_each_time_goes_on(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider], kind: str
) -> None:
    provider = fake_provider("--tool-calls")
    ended = ask(workspace, provider, kind)
    assert ended.stdout.splitlines() == ["200 True"] * 5, ended.stderr
    assert ended.returncode == 0
    account = workspace.account("r")
    assert (account["status"], account["calls"], account["unresolved_calls"]) == ("finished", 5, 0)
    assert account["input_tokens"] == 5_000
