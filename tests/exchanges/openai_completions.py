"""Exchanges in the format of OpenAI's older text completions."""

from __future__ import annotations

from leash.usage import Usage
from tests.exchanges.exchange import EVENTS, Exchange, dump, events, pretty

_MODEL = "gpt-3.5-turbo-instruct:20230824-v2"
_PATH = "/v1/completions"
_ASKED = {"model": "gpt-3.5-turbo-instruct", "prompt": "It rains in", "max_tokens": 16}
_STREAMED = _ASKED | {"stream": True}
_USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
_READ = Usage(input_tokens=5, output_tokens=7)
_HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 1_760_000_000, "model": _MODEL}


def _choice(text: str, *, index: int = 0, finish_reason: str | None = None) -> dict[str, object]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason}


def _completion(*choices: dict[str, object], **fields: object) -> dict[str, object]:
    return _HEAD | {"choices": list(choices)} | fields


_CHUNKS = (_choice("Ber"), _choice("gen,\n"), _choice(" often", finish_reason="stop"))

EXCHANGES = (
    Exchange(
        name="completion",
        path=_PATH,
        request=dump(_ASKED),
        answer=pretty(_completion(_choice("Bergen,  often", finish_reason="stop"), usage=_USAGE)),
        usage=_READ,
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="completion-stream",
        path="/openai/deployments/instruct/completions",
        request=dump(_STREAMED),
        answer=events(*(_completion(each) for each in _CHUNKS), done=True),
        with_option=events(*(_completion(each, usage=None) for each in _CHUNKS), _completion(usage=_USAGE), done=True),
        answer_type=EVENTS,
        usage=_READ,
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="completion-two-prompts",
        path=_PATH,
        request=dump(_ASKED | {"prompt": ["It rains in", "It snows in"]}),
        answer=dump(_completion(_choice("Bergen", finish_reason="stop"), _choice("Bern", index=1), usage=_USAGE)),
        usage=_READ,
        model=_MODEL,
        says="two",
    ),
    Exchange(
        # A stream that ends in the middle of a text, behind a server that closes its connections.
        name="completion-stream-cut",
        path=_PATH,
        request=dump(_STREAMED | {"stream_options": {"include_usage": True}}),
        answer=events(*(_completion(each, usage=None) for each in _CHUNKS[:2])),
        answer_type=EVENTS,
        model=_MODEL,
        says="cut",
        broken_off=True,
    ),
)
