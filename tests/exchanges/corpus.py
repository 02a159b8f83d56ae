"""All exchanges, by name."""

from __future__ import annotations

from tests.exchanges import (
    anthropic,
    gemini,
    ollama,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_media,
    openai_responses,
    vendors,
)

_OPENAI = (openai_chat, vendors, openai_completions, openai_responses, openai_embeddings, openai_media)
_MODULES = (*_OPENAI, anthropic, gemini, ollama)

CORPUS = {exchange.name: exchange for module in _MODULES for exchange in module.EXCHANGES}
assert len(CORPUS) == sum(len(module.EXCHANGES) for module in _MODULES), "two exchanges have one name"
