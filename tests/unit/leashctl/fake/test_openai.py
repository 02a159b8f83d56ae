from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from leashctl.fake.answer import VECTOR
from tests.unit.leashctl.fake.asking import REPLY, data_events, streamed, whole

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"


def text_of(events: list[dict[str, Any]]) -> str:
    """The text that the deltas of a stream make up, in whichever of the three forms."""
    responses = [event["delta"] for event in events if event.get("type") == "response.output_text.delta"]
    choices = [choice for event in events for choice in event.get("choices", ())]
    completions = [choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices]
    return "".join(responses + completions)


def test_a_chat_stream_is_the_same_to_the_byte() -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 2}
    head = (
        b'data: {"id":"chatcmpl-fake-7","object":"chat.completion.chunk","created":1700000000,"model":"demo-model",'
        b'"service_tier":"default","system_fingerprint":"fp_fake","choices":['
    )
    assert streamed(CHAT, asked, chunks=1, reply="hi") == (
        head
        + b'{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}'
        + b'],"usage":null}\n\n'
        + head
        + b'{"index":0,"delta":{"content":"hi"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
        + head
        + b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],"usage":null}\n\n'
        + head
        + b'],"usage":{"prompt_tokens":1000,"completion_tokens":2,"total_tokens":1002,'
        + b'"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
        + b'"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
        + b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}\n\n'
        + b"data: [DONE]\n\n"
    )


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_each_choice_is_answered_and_counted(path: str) -> None:
    answer = whole(path, {"n": 3})
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 3 * 500
    assert answer["usage"]["total_tokens"] == 1000 + 3 * 500
    events = data_events(streamed(path, {"n": 2, "stream": True, "stream_options": {"include_usage": True}}))
    assert text_of(events) == 2 * REPLY
    assert events[-1]["usage"]["completion_tokens"] == 2 * 500


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_stream_has_usage_only_where_it_was_asked_for(path: str) -> None:
    stream = streamed(path, {"stream": True})
    assert b"usage" not in stream
    assert stream.endswith(b"data: [DONE]\n\n")
    asked = data_events(streamed(path, {"stream": True, "stream_options": {"include_usage": True}}))
    assert [event["usage"] is None for event in asked] == [True] * (len(asked) - 1) + [False]


@pytest.mark.parametrize(
    ("path", "limit", "where"),
    [
        (CHAT, {"max_tokens": 9}, "completion_tokens"),
        (CHAT, {"max_completion_tokens": 9}, "completion_tokens"),
        (COMPLETIONS, {"max_tokens": 9}, "completion_tokens"),
        (RESPONSES, {"max_output_tokens": 9}, "output_tokens"),
    ],
)
def test_the_requests_own_limit_cuts_the_answer(path: str, limit: dict[str, int], where: str) -> None:
    answer = whole(path, limit)
    assert answer["usage"][where] == 9
    assert "length" in str(answer) or answer["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_response_is_one_message_with_its_usage() -> None:
    answer = whole(RESPONSES, {"instructions": "Be brief."})
    assert (answer["object"], answer["status"], answer["instructions"]) == ("response", "completed", "Be brief.")
    [message] = answer["output"]
    assert message["content"][0]["text"] == REPLY
    assert answer["usage"] == {
        "input_tokens": 1000,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 500,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 1500,
    }


def test_a_response_stream_goes_from_created_to_completed_in_numbered_events() -> None:
    stream = streamed(RESPONSES, {"stream": True}, chunks=2)
    events = data_events(stream)
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert text_of(events) == REPLY
    assert events[-1]["response"] == whole(RESPONSES, {"stream": False})
    assert stream.startswith(b"event: response.created\ndata: ")


def test_a_response_stream_that_is_cut_ends_incomplete() -> None:
    events = data_events(streamed(RESPONSES, {"stream": True, "max_output_tokens": 3}))
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["usage"]["output_tokens"] == 3


def test_a_chat_calls_a_function() -> None:
    [choice] = whole(CHAT, tool_calls=True)["choices"]
    [call] = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], call["function"]["name"]) == ("tool_calls", "look_up")
    assert json.loads(call["function"]["arguments"]) == {"query": REPLY}
    events = data_events(streamed(CHAT, {"stream": True}, tool_calls=True))
    deltas = [call for event in events for call in event["choices"][0]["delta"].get("tool_calls", ())]
    assert "".join(delta["function"]["arguments"] for delta in deltas) == call["function"]["arguments"]


def test_a_response_calls_a_function() -> None:
    [call] = whole(RESPONSES, tool_calls=True)["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", "look_up", {"query": REPLY})
    events = data_events(streamed(RESPONSES, {"stream": True}, tool_calls=True))
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == call["arguments"]
    assert events[-1]["response"]["output"] == [call]


def test_embeddings_come_as_numbers_or_in_base64() -> None:
    answer = whole(EMBEDDINGS, {"input": ["one", "two"]})
    assert [item["embedding"] for item in answer["data"]] == [list(VECTOR)] * 2
    assert answer["usage"] == {"prompt_tokens": 1000, "total_tokens": 1000}
    [packed] = whole(EMBEDDINGS, {"input": "one", "encoding_format": "base64"})["data"]
    assert struct.unpack("<4f", base64.b64decode(packed["embedding"])) == VECTOR


@pytest.mark.parametrize(("given", "vectors"), [("text", 1), ([1, 2, 3], 1), ([[1], [2]], 2), (["a", "b", "c"], 3)])
def test_there_is_a_vector_for_each_input(given: Any, vectors: int) -> None:
    assert len(whole(EMBEDDINGS, {"input": given})["data"]) == vectors


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS])
def test_without_usage_there_is_none(path: str) -> None:
    assert not whole(path, {"input": "x"}, reports_usage=False).get("usage")
