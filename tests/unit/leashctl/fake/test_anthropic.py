from __future__ import annotations

import json

import pytest

from tests.unit.leashctl.fake.asking import REPLY, data_events, streamed, whole


@pytest.mark.parametrize("path", ["/v1/messages", "/messages"])
def test_a_message_carries_its_usage(path: str) -> None:
    answer = whole(path, {"max_tokens": 1024})
    assert answer["content"] == [{"type": "text", "text": REPLY}]
    assert (answer["stop_reason"], answer["role"], answer["type"]) == ("end_turn", "assistant", "message")
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (1000, 500)
    assert answer["usage"]["service_tier"] == "standard"


def test_a_stream_tells_the_input_first_and_the_output_last() -> None:
    stream = streamed("/v1/messages", {"stream": True, "max_tokens": 1024}, chunks=2)
    events = data_events(stream)
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["usage"]["input_tokens"] == 1000
    assert "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta") == REPLY
    assert events[-2]["usage"] == {"output_tokens": 500}
    assert stream.startswith(b"event: message_start\ndata: ")


def test_the_limit_cuts_the_answer() -> None:
    answer = whole("/v1/messages", {"max_tokens": 4})
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == ("max_tokens", 4)
    assert data_events(streamed("/v1/messages", {"stream": True, "max_tokens": 4}))[-2]["delta"]["stop_reason"] == (
        "max_tokens"
    )


def test_a_tool_is_used_whole_and_in_pieces() -> None:
    [block] = whole("/v1/messages", {"max_tokens": 1024}, tool_calls=True)["content"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", "look_up", {"query": REPLY})
    events = data_events(streamed("/v1/messages", {"stream": True}, tool_calls=True))
    told = "".join(event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta")
    assert json.loads(told) == {"query": REPLY}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_without_usage_there_is_none() -> None:
    assert "usage" not in whole("/v1/messages", reports_usage=False)
    assert b"usage" not in streamed("/v1/messages", {"stream": True}, reports_usage=False)
