from __future__ import annotations

import json

import pytest

from leashctl.fake.answer import VECTOR
from tests.unit.leashctl.fake.asking import REPLY, data_events, streamed, whole

MODEL = "/v1beta/models/demo-model"
VERTEX = "/v1/projects/p/locations/l/publishers/google/models/demo-model"


@pytest.mark.parametrize("model", [MODEL, VERTEX])
def test_a_content_carries_its_usage(model: str) -> None:
    answer = whole(f"{model}:generateContent")
    [candidate] = answer["candidates"]
    assert candidate["content"] == {"parts": [{"text": REPLY}], "role": "model"}
    assert candidate["finishReason"] == "STOP"
    assert answer["usageMetadata"]["candidatesTokenCount"] == 500
    assert answer["usageMetadata"]["totalTokenCount"] == 1500


def test_each_candidate_is_answered_and_counted() -> None:
    config = {"generationConfig": {"candidateCount": 2, "maxOutputTokens": 6}}
    answer = whole(f"{MODEL}:generateContent", config)
    assert [candidate["finishReason"] for candidate in answer["candidates"]] == ["MAX_TOKENS"] * 2
    assert answer["usageMetadata"]["candidatesTokenCount"] == 12


def test_the_same_chunks_come_as_events_and_as_one_array() -> None:
    events = streamed(f"{MODEL}:streamGenerateContent?alt=sse", chunks=3)
    array = streamed(f"{MODEL}:streamGenerateContent", chunks=3)
    chunks = data_events(events)
    assert events.endswith(b"}\r\n\r\n")
    assert json.loads(array) == chunks
    assert "".join(chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks) == REPLY
    assert [chunk["candidates"][0].get("finishReason") for chunk in chunks] == [None, None, "STOP"]
    assert [chunk["usageMetadata"]["candidatesTokenCount"] for chunk in chunks] == [166, 333, 500]


def test_a_function_is_called() -> None:
    expected = [{"functionCall": {"name": "look_up", "args": {"query": REPLY}}}]
    assert whole(f"{MODEL}:generateContent", tool_calls=True)["candidates"][0]["content"]["parts"] == expected
    [chunk] = data_events(streamed(f"{MODEL}:streamGenerateContent?alt=sse", tool_calls=True))
    assert chunk["candidates"][0]["content"]["parts"] == expected
    assert chunk["candidates"][0]["finishReason"] == "STOP"


def test_vectors_come_alone_and_in_a_batch() -> None:
    alone = whole(f"{MODEL}:embedContent")
    assert (alone["embedding"]["values"], alone["usageMetadata"]["promptTokenCount"]) == (list(VECTOR), 1000)
    batch = whole(f"{MODEL}:batchEmbedContents", {"requests": [{}, {}, {}]})
    assert [item["values"] for item in batch["embeddings"]] == [list(VECTOR)] * 3


@pytest.mark.parametrize("method", ["generateContent", "embedContent", "batchEmbedContents"])
def test_without_usage_there_is_none(method: str) -> None:
    assert "usageMetadata" not in whole(f"{MODEL}:{method}", reports_usage=False)
