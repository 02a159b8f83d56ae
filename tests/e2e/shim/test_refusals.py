"""Who asks, and in which format, decides how leash answers for itself. The clients themselves are in tests/sdk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from leash.client.errors import DaemonUnavailable
from leash.v1 import shim_pb2, types_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

MESSAGE = "leash stopped run a3f9: max_calls (3 of 3 calls)"
STOP = shim_pb2.Refused(reason=types_pb2.REASON_MAX_CALLS, unit=types_pb2.UNIT_CALLS, used=3, limit=3, calls=3)

OPENAI = "/v1/chat/completions"
ANTHROPIC = "/v1/messages"
GEMINI = "/v1beta/models/gemini-3-pro:generateContent"
OLLAMA = "/api/chat"


def post(path: str, user_agent: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: shim\r\nUser-Agent: {user_agent}\r\nContent-Length: 2\r\nConnection: close"
    return f"{head}\r\n\r\n{{}}".encode()


@pytest.mark.parametrize(
    ("chosen", "user_agent", "status"),
    [
        (None, "OpenAI/Python 3.54.0", 429),
        (None, "codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm", 400),
        (None, "ai-sdk/openai/3.0.141 ai-sdk/provider-utils/4.0.66 runtime/node.js/v20.20.2", 402),
        (429, "codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm", 429),
        (400, "OpenAI/Python 3.54.0", 400),
    ],
)
async def test_the_status_follows_the_user_agent_unless_it_was_chosen(
    start: Callable[..., Any], chosen: int | None, user_agent: str, status: int
) -> None:
    async with start(refusal_status=chosen) as shim:
        shim.session.verdict = STOP
        got = await shim.ask(post(OPENAI, user_agent))
        assert (got.status, got.header("x-should-retry")) == (status, "false")


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, GEMINI, OLLAMA])
async def test_the_text_is_where_the_formats_clients_look(start: Callable[..., Any], path: str) -> None:
    async with start() as shim:
        shim.session.verdict = STOP
        body = json.loads((await shim.ask(post(path))).body)
        assert body["type"] == "error"
        if path == OLLAMA:
            assert (body["error"], body["leash"]["reason"]) == (MESSAGE, "max_calls")
        else:
            assert (body["error"]["message"], body["error"]["reason"]) == (MESSAGE, "max_calls")
            assert body["error"]["code"] == (429 if path == GEMINI else "max_calls")


async def test_a_failure_of_leash_is_told_in_the_format_as_well(start: Callable[..., Any]) -> None:
    async with start() as shim:
        shim.session.verdict = DaemonUnavailable("no daemon answers")
        got = await shim.ask(post(OLLAMA))
        assert (got.status, json.loads(got.body)["error"]) == (503, "no daemon answers")
