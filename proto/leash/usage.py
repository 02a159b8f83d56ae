"""What a provider reported for one call, in one shape for every wire format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts and server-side tool requests of one call, as reported on the wire.

    ``input_tokens`` and ``output_tokens`` are totals. Cached, cache-write, audio and image input tokens are subsets of
    ``input_tokens``; reasoning, audio and image output tokens are subsets of ``output_tokens``. A meter that reads a
    format which reports them apart (Anthropic's cache fields) adds them up first. The ledger stores the fields by
    their position: new ones stand at the end.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    reasoning_tokens: int = 0
    web_search_requests: int = 0
    web_fetch_requests: int = 0
    other_tool_requests: int = 0
    service_tier: str = ""
    image_input_tokens: int = 0
    image_output_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together, which is what the rate boundary counts."""
        return self.input_tokens + self.output_tokens
