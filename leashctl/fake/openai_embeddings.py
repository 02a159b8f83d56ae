"""OpenAI's embeddings, as numbers or in base64, which its SDKs ask for.

Source: https://platform.openai.com/docs/api-reference/embeddings.
"""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING

from leashctl.fake.answer import VECTOR, Asked, Whole, inputs

if TYPE_CHECKING:
    from leashctl.fake.settings import FakeProviderSettings


def answer(settings: FakeProviderSettings, asked: Asked) -> Whole:
    """The answer to one request."""
    packed = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode("ascii")
    vector = packed if asked.content.get("encoding_format") == "base64" else list(VECTOR)
    count = inputs(asked.content.get("input"))
    vectors = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
    content = {"object": "list", "data": vectors, "model": settings.model}
    usage = {"prompt_tokens": settings.prompt_tokens, "total_tokens": settings.prompt_tokens}
    return Whole(content | {"usage": usage} if settings.reports_usage else content)
