"""Asks a fake provider's formats without a server."""

from __future__ import annotations

import json
from typing import Any

from leashctl.fake.answer import Asked, Streamed, Whole
from leashctl.fake.endpoints import endpoint
from leashctl.fake.settings import FakeProviderSettings

REPLY = "The same text in every answer, again and again."


def ask(path: str, content: dict[str, Any] | None = None, *, number: int = 7, **settings: Any) -> Whole | Streamed:
    """The answer to a request to ``path``, which may carry a query."""
    route, _, query = path.partition("?")
    asked_at = endpoint(route)
    assert asked_at is not None, path
    asked = Asked(content=content or {}, query=query, number=number)
    return asked_at.answer(FakeProviderSettings(**({"reply": REPLY} | settings)), asked)


def whole(path: str, content: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    answer = ask(path, content, **settings)
    assert isinstance(answer, Whole)
    return dict(json.loads(json.dumps(answer.content)))


def streamed(path: str, content: dict[str, Any] | None = None, **settings: Any) -> bytes:
    answer = ask(path, content, **settings)
    assert isinstance(answer, Streamed)
    return b"".join(answer.parts)


def data_events(stream: bytes) -> list[dict[str, Any]]:
    """The JSON of each server-sent event that has some, in order."""
    lines = [line.removeprefix(b"data: ") for line in stream.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]
