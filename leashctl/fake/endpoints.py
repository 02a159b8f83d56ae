"""Which path is answered in which format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leashctl.fake import (
    anthropic_messages,
    gemini,
    ollama,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_responses,
    openai_shared,
)
from leashctl.fake.answer import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from leashctl.fake.answer import Asked, Streamed, Whole
    from leashctl.fake.settings import FakeProviderSettings

    Answering = Callable[[FakeProviderSettings, Asked], Whole | Streamed]


def _openai(suffix: str, answer: Answering) -> Endpoint:
    header = openai_shared.REQUEST_ID_HEADER
    return Endpoint(suffix=suffix, answer=answer, error=openai_shared.error, request_id_header=header)


def _gemini(suffix: str, answer: Answering) -> Endpoint:
    return Endpoint(suffix=suffix, answer=answer, error=gemini.error)


def _ollama(suffix: str, answer: Answering) -> Endpoint:
    return Endpoint(suffix=suffix, answer=answer, error=ollama.error)


# The first whose suffix fits: a longer suffix stands before one that it ends with.
_ENDPOINTS = (
    _openai("/chat/completions", openai_chat.answer),
    _openai("/completions", openai_completions.answer),
    _openai("/responses", openai_responses.answer),
    _openai("/embeddings", openai_embeddings.answer),
    Endpoint(
        suffix="/messages",
        answer=anthropic_messages.answer,
        error=anthropic_messages.error,
        request_id_header=anthropic_messages.REQUEST_ID_HEADER,
    ),
    _gemini(":generateContent", gemini.answer),
    _gemini(":streamGenerateContent", gemini.stream),
    _gemini(":embedContent", gemini.embed),
    _gemini(":batchEmbedContents", gemini.embed_batch),
    _ollama("/api/chat", ollama.chat),
    _ollama("/api/generate", ollama.generate),
    _ollama("/api/embed", ollama.embed),
)


def endpoint(path: str) -> Endpoint | None:
    """The endpoint that answers a POST to ``path``; None where there is none."""
    return next((known for known in _ENDPOINTS if path.endswith(known.suffix)), None)
