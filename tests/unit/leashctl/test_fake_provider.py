"""The fake provider as an ASGI application: what it adds to the answers of its formats."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from leashctl.fake_provider import FakeProvider, FakeProviderSettings

pytestmark = pytest.mark.anyio

OPENAI = "/v1/chat/completions"
ANTHROPIC = "/v1/messages"
GEMINI = "/v1beta/models/demo-model:generateContent"
OLLAMA = "/api/chat"


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes


class Trial:
    """A fake provider, asked without a server."""

    def __init__(self, **settings: Any) -> None:
        self._provider = FakeProvider(FakeProviderSettings(**settings), anyio.Event())

    async def ask(self, path: str, body: bytes = b"{}", *, method: str = "POST") -> Answered:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [(b"accept-encoding", b"gzip, br")],
        }
        await self._provider(scope, receive, send)
        head, *rest = sent
        headers = {name.decode(): value.decode() for name, value in head["headers"]}
        return Answered(head["status"], headers, b"".join(message["body"] for message in rest))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (OPENAI, {"error": {"message": "?", "type": "fake_provider_error", "param": None, "code": None}}),
        (ANTHROPIC, {"type": "error", "error": {"type": "overloaded_error", "message": "?"}}),
        (GEMINI, {"error": {"code": 529, "message": "?", "status": "UNKNOWN"}}),
        (OLLAMA, {"error": "?"}),
    ],
)
async def test_an_error_has_the_providers_own_shape(path: str, body: dict[str, Any]) -> None:
    answered = await Trial(status=529).ask(path)
    assert answered.status == 529
    told = answered.body.replace(b"The fake provider was told to answer so.", b"?")
    assert json.loads(told) == body


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, GEMINI, OLLAMA])
@pytest.mark.parametrize("body", [b"", b"[]", b'{"n":"many"', b"\xff"])
async def test_what_is_no_json_object_is_refused(path: str, body: bytes) -> None:
    assert (await Trial().ask(path, body)).status == 400


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (OPENAI, {"n": "many"}),
        (ANTHROPIC, {"max_tokens": "many"}),
        (GEMINI, {"generationConfig": [1]}),
        (OLLAMA, {"options": {"num_predict": "many"}}),
    ],
)
async def test_a_limit_that_is_no_number_is_refused(path: str, content: dict[str, Any]) -> None:
    answered = await Trial().ask(path, json.dumps(content).encode())
    assert (answered.status, b"could not parse" in answered.body) == (400, True)


@pytest.mark.parametrize(
    ("path", "header"), [(OPENAI, "x-request-id"), (ANTHROPIC, "request-id"), (GEMINI, None), (OLLAMA, None)]
)
async def test_an_answer_is_named_where_the_provider_names_it(path: str, header: str | None) -> None:
    trial = Trial()
    await trial.ask(path)
    named = {name for name, value in (await trial.ask(path)).headers.items() if value == "req_fake_2"}
    assert named == ({header} if header else set())


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, GEMINI, OLLAMA])
@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_compressed_is_the_same_answer(path: str, stream: bool) -> None:
    body = json.dumps({"stream": stream}).encode()
    plain = await Trial().ask(path, body)
    compressed = await Trial(gzip=True).ask(path, body)
    assert compressed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(compressed.body) == plain.body


async def test_it_tells_how_many_calls_it_was_asked_to_answer() -> None:
    trial = Trial()
    for path in (OPENAI, ANTHROPIC, GEMINI, OLLAMA, "/v1/embeddings", "/v1/files"):
        await trial.ask(path)
    assert json.loads((await trial.ask("/_stats", method="GET")).body) == {"served": 5}


async def test_it_lists_its_model_and_knows_nothing_else() -> None:
    trial = Trial(model="mine")
    assert json.loads((await trial.ask("/v1/models", method="GET")).body)["data"][0]["id"] == "mine"
    assert (await trial.ask(OPENAI, method="GET")).status == 404
    assert (await trial.ask("/v1/images/generations")).status == 404
