"""How the fake provider behaves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeProviderSettings:
    """How the provider behaves, in every format.

    ``prompt_tokens`` and ``completion_tokens`` are reported for each call and choice. ``delay_s`` passes before each
    answer, ``chunk_delay_s`` before each of a stream's ``chunks`` pieces of text. A ``status`` other than 200 is every
    answer's. Without ``reports_usage`` no answer has a usage. ``tool_calls`` answers with a call of a function rather
    than with text. ``reply`` is every answer's text; empty, each answer has its own. ``gzip`` compresses for whoever
    accepts it.
    """

    model: str = "demo-model"
    prompt_tokens: int = 1000
    completion_tokens: int = 500
    delay_s: float = 0.0
    chunks: int = 10
    chunk_delay_s: float = 0.0
    status: int = 200
    reports_usage: bool = True
    tool_calls: bool = False
    reply: str = ""
    gzip: bool = False
