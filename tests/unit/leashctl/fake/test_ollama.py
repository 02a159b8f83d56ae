from __future__ import annotations

import json
from typing import Any

import pytest

from leashctl.fake.answer import VECTOR
from tests.unit.leashctl.fake.asking import REPLY, streamed, whole

CHAT = "/api/chat"
GENERATE = "/api/generate"


def text_of(line: dict[str, Any]) -> str:
    return str(line["message"]["content"] if "message" in line else line["response"])


@pytest.mark.parametrize("path", [CHAT, GENERATE])
def test_it_streams_lines_unless_it_is_told_not_to(path: str) -> None:
    lines = [json.loads(line) for line in streamed(path, chunks=2).splitlines()]
    assert [line["done"] for line in lines] == [False, False, True]
    assert "".join(map(text_of, lines)) == REPLY
    answer = whole(path, {"stream": False})
    assert text_of(answer) == REPLY
    for last in (lines[-1], answer):
        assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("stop", 1000, 500)


@pytest.mark.parametrize(("limit", "tokens", "reason"), [(8, 8, "length"), (-1, 500, "stop"), (0, 500, "stop")])
def test_the_limit_of_the_options_cuts_the_answer(limit: int, tokens: int, reason: str) -> None:
    answer = whole(CHAT, {"stream": False, "options": {"num_predict": limit}})
    assert (answer["eval_count"], answer["done_reason"]) == (tokens, reason)


def test_a_function_is_called_once() -> None:
    call = {"function": {"name": "look_up", "arguments": {"query": REPLY}}}
    assert whole(CHAT, {"stream": False}, tool_calls=True)["message"]["tool_calls"] == [call]
    lines = [json.loads(line) for line in streamed(CHAT, tool_calls=True).splitlines()]
    assert [line["message"].get("tool_calls") for line in lines] == [[call], None]


@pytest.mark.parametrize(("given", "vectors"), [("text", 1), (["a", "b"], 2)])
def test_there_is_a_vector_for_each_input(given: Any, vectors: int) -> None:
    answer = whole("/api/embed", {"input": given})
    assert answer["embeddings"] == [list(VECTOR)] * vectors
    assert answer["prompt_eval_count"] == 1000


@pytest.mark.parametrize("path", [CHAT, GENERATE, "/api/embed"])
def test_without_usage_there_is_none(path: str) -> None:
    answer = whole(path, {"stream": False}, reports_usage=False)
    assert "prompt_eval_count" not in answer
    assert "eval_count" not in answer
