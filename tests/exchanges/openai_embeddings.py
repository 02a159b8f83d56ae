"""Exchanges in the format of OpenAI's embeddings, which have input tokens and say nothing."""

from __future__ import annotations

from leash.usage import Usage
from tests.exchanges.exchange import Exchange, dump, pretty

_MODEL = "text-embedding-3-small"
_ASKED = {"model": _MODEL, "input": ["It rains.", "It snows."]}
_VECTORS = [
    {"object": "embedding", "index": index, "embedding": [0.0023064255, -0.009327292, -0.0028842222]}
    for index in range(2)
]


def _list(**fields: object) -> dict[str, object]:
    return {"object": "list", "data": _VECTORS, "model": _MODEL, **fields}


EXCHANGES = (
    Exchange(
        name="embedding",
        path="/v1/embeddings",
        request=dump(_ASKED),
        answer=pretty(_list(usage={"prompt_tokens": 8, "total_tokens": 8})),
        usage=Usage(input_tokens=8),
        model=_MODEL,
    ),
    Exchange(
        name="embedding-azure-base64",
        path="/openai/deployments/vectors/embeddings",
        request=dump(_ASKED | {"encoding_format": "base64"}),
        answer=dump(
            {
                "data": [{"index": 0, "embedding": "x9cXO4zR"}],
                "model": _MODEL,
                "usage": {"prompt_tokens": 8, "total_tokens": 8},
            }
        ),
        usage=Usage(input_tokens=8),
        model=_MODEL,
    ),
    Exchange(
        # Voyage tells the total alone.
        name="embedding-total-only",
        path="/v1/embeddings",
        request=dump(_ASKED | {"model": "voyage-3.5", "input_type": "document"}),
        answer=dump(_list(model="voyage-3.5", usage={"total_tokens": 10})),
        usage=Usage(input_tokens=10),
        model="voyage-3.5",
    ),
    Exchange(
        # More than is ever kept of a body: two thousand vectors of three thousand numbers are a hundred megabytes.
        name="embedding-large",
        path="/v1/embeddings",
        request=dump(_ASKED),
        answer=b'{"object":"list","data":[%s],"model":"%s","usage":{"prompt_tokens":8,"total_tokens":8}}'
        % (b",".join([b'{"index":0,"embedding":[%s]}' % b",".join([b"-0.009327292"] * 100_000)] * 2), _MODEL.encode()),
        usage=Usage(input_tokens=8),
        model=_MODEL,
    ),
    Exchange(
        name="embedding-without-usage",
        path="/v1/embeddings",
        request=dump(_ASKED),
        answer=dump(_list(usage={})),
        model=_MODEL,
    ),
)
