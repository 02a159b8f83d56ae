"""OpenAI's older completions, which vLLM and llama.cpp serve as well.

Source: https://platform.openai.com/docs/api-reference/completions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leashctl.fake.answer import CREATED, EVENT_STREAM, Asked, Streamed, Whole, choices, data_event, pieces, reply
from leashctl.fake.openai_shared import usage, wants_usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leashctl.fake.settings import FakeProviderSettings


def answer(settings: FakeProviderSettings, asked: Asked) -> Whole | Streamed:
    """The answer to one request."""
    content = asked.content
    said = reply(settings, asked.number, content.get("max_tokens"))
    count = choices(content.get("n"))
    include_usage = wants_usage(content)
    finish_reason = "length" if said.is_cut else "stop"
    reported = {"usage": usage(settings, said.tokens * count)} if settings.reports_usage else {}
    head = {
        "id": f"cmpl-fake-{asked.number}",
        "object": "text_completion",
        "created": CREATED,
        "model": settings.model,
        "system_fingerprint": "fp_fake",
    }

    def events() -> Iterator[bytes]:
        for index in range(count):
            for piece in pieces(said.text, settings.chunks):
                yield chunk(_choice(index, piece, None))
            yield chunk(_choice(index, "", finish_reason))
        if include_usage and reported:
            yield data_event(head | {"choices": []} | reported)
        yield b"data: [DONE]\n\n"

    def chunk(choice: dict[str, Any]) -> bytes:
        return data_event(head | {"choices": [choice]} | ({"usage": None} if include_usage else {}))

    if content.get("stream"):
        return Streamed(EVENT_STREAM, events())
    alternatives = [_choice(index, said.text, finish_reason) for index in range(count)]
    return Whole(head | {"choices": alternatives} | reported)


def _choice(index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason}
