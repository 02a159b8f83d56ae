"""OpenAI's responses: what is counted, what is said, and what ends a stream."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from leash.usage import Usage
from leash_shim.meter import Metered, RequestFacts
from leash_shim.meter.fingerprint import MAX_CALLS
from leash_shim.meter.openai_responses import OPENAI_RESPONSES

USAGE = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
READ = Usage(input_tokens=9, output_tokens=3)
STREAM = "text/event-stream"

Item = dict[str, Any]


def metered(body: bytes, content_type: str = "application/json", **facts: Any) -> Metered:
    meter = OPENAI_RESPONSES.meter(content_type=content_type, facts=RequestFacts(**facts))
    meter.feed(body)
    assert meter.finish() == meter.finish()
    return meter.finish()


def response(*items: object, **fields: Any) -> dict[str, Any]:
    return {"object": "response", "model": "gpt-5", "output": list(items), "usage": USAGE, **fields}


def of(*items: object, **facts: Any) -> Metered:
    return metered(json.dumps(response(*items)).encode(), **facts)


def event(kind: str, **fields: Any) -> bytes:
    return b"data: " + json.dumps({"type": kind, **fields}).encode() + b"\n\n"


def message(text: str) -> Item:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def call(kind: str, **fields: Any) -> Item:
    return {"type": kind, "id": "x_1", "status": "completed", **fields}


@pytest.mark.parametrize(
    ("action", "searches"),
    [
        ({"type": "search", "query": "rain"}, 1),
        ({"type": "open_page", "url": "https://a"}, 0),
        ({"type": "find_in_page", "url": "https://a", "pattern": "b"}, 0),
        # A call that does not tell what it did is one that bills.
        ({}, 1),
        (None, 1),
        ({"type": None}, 0),
    ],
)
def test_a_search_bills_and_a_look_at_a_page_does_not(action: object, searches: int) -> None:
    usage = of(call("web_search_call", action=action)).usage
    assert usage is not None
    assert (usage.web_search_requests, usage.other_tool_requests) == (searches, 0)


@pytest.mark.parametrize(
    ("told", "searches"),
    [
        ({"web_search": {"num_requests": 0}}, 0),
        ({"web_search": {"num_requests": 5}}, 5),
        ({"web_search": {"num_requests": "5"}}, 2),
        ({"web_search": None}, 2),
        ({}, 2),
        (None, 2),
    ],
)
def test_what_the_response_says_of_its_searches_counts(told: object, searches: int) -> None:
    search = call("web_search_call", action={"type": "search"})
    usage = metered(json.dumps(response(search, search, tool_usage=told)).encode()).usage
    assert usage is not None
    assert usage.web_search_requests == searches


@pytest.mark.parametrize(
    ("item", "others"),
    [
        (call("file_search_call"), 1),
        (call("code_interpreter_call"), 1),
        (call("image_generation_call"), 1),
        (call("computer_call"), 0),
        (call("mcp_call"), 0),
        (call("function_call"), 0),
        (call("local_shell_call"), 0),
        (call("tool_search_call"), 0),
        (call("shell_call_output"), 0),
        ({"type": ["file_search_call"]}, 0),
        ("file_search_call", 0),
        (None, 0),
    ],
)
def test_which_tools_bill_beside_the_tokens(item: object, others: int) -> None:
    usage = of(item).usage
    assert usage is not None
    assert usage.other_tool_requests == others


@pytest.mark.parametrize(
    ("environment", "requested", "others"),
    [
        ({"type": "local"}, True, 0),
        ({"type": "local"}, False, 0),
        ({"type": "container_reference", "container_id": "c"}, False, 1),
        (None, True, 1),
        (None, False, 0),
        ({}, True, 1),
    ],
)
def test_a_shell_bills_where_the_provider_runs_it(environment: object, requested: bool, others: int) -> None:
    usage = of(call("shell_call", environment=environment), other_tools=requested).usage
    assert usage is not None
    assert usage.other_tool_requests == others


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([message("hi  there")], [message(" hi there\n")]),
        # Whether and how it reasoned is hidden.
        ([call("function_call", name="f")], [{"type": "reasoning"}, call("function_call", name="f", call_id="c")]),
        ([message("a"), {"type": "reasoning"}, message("b")], [message("ab")]),
        (
            [call("function_call", name="f", arguments='{"a":1,"b":2}')],
            [call("function_call", name="f", arguments='{"b": 2, "a": 1}', id="fc_9", call_id="c_9")],
        ),
        # What came of it is not what was done.
        (
            [call("code_interpreter_call", code="1", container_id="c_1", outputs=[])],
            [call("code_interpreter_call", code="1", container_id="c_2", outputs=[{"logs": "1"}])],
        ),
        (
            [call("file_search_call", queries=["a"], results=None)],
            [call("file_search_call", queries=["a"], results=[{"score": 1}], status="incomplete")],
        ),
        (
            [call("computer_call", action={"type": "wait"}, pending_safety_checks=[{"id": "s_1"}])],
            [call("computer_call", action={"type": "wait"}, pending_safety_checks=[])],
        ),
        (
            [call("mcp_call", name="f", arguments="{}", output="a", server_label="s")],
            [call("mcp_call", name="f", arguments="{}", output="b", error={"code": 1}, server_label="s")],
        ),
    ],
)
def test_what_a_fingerprint_does_not_see(one: list[Item], other: list[Item]) -> None:
    assert of(*one).fingerprint == of(*other).fingerprint != b""


def test_what_a_fingerprint_sees() -> None:
    replies: list[list[Item]] = [
        [message("a")],
        [message("b")],
        [{"type": "message", "content": [{"type": "refusal", "refusal": "a"}]}],
        [call("function_call", name="f", arguments="{}")],
        [call("function_call", name="g", arguments="{}")],
        [call("function_call", name="f", arguments='{"a":1}')],
        [call("custom_tool_call", name="f", input="ls")],
        [call("function_call", name="f"), call("function_call", name="f")],
        [call("web_search_call", action={"type": "search", "query": "a"})],
        [call("web_search_call", action={"type": "search", "query": "b"})],
        [call("shell_call", action={"commands": ["ls"]})],
        [call("local_shell_call", action={"commands": ["ls"]})],
        [call("apply_patch_call", operation={"type": "delete_file", "path": "a"})],
        [call("computer_call", action={"type": "wait"})],
        [call("mcp_approval_request", name="f", arguments="{}", server_label="s")],
        [call("mcp_approval_request", name="f", arguments="{}", server_label="t")],
        [message("a"), call("function_call", name="f", arguments="{}")],
    ]
    prints = [of(*reply).fingerprint for reply in replies]
    assert all(len(each) == 8 for each in prints)
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize("items", [[], [{"type": "reasoning"}], [message(" \n")], [{"type": "compaction"}], [None]])
def test_a_reply_with_neither_text_nor_call_has_no_fingerprint(items: list[object]) -> None:
    assert of(*items).fingerprint == b""


def test_only_so_many_calls_count() -> None:
    calls = [call("function_call", name=f"f{number}") for number in range(MAX_CALLS + 1)]
    assert of(*calls).fingerprint == of(*calls[:-1]).fingerprint != of(*calls[:-2]).fingerprint


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (response(), Metered(READ, "gpt-5")),
        (response(usage=None), Metered(None, "gpt-5")),
        (response(usage=None, status="failed"), Metered(None, "gpt-5", broken_off=True)),
        (response(usage=None, status="cancelled"), Metered(None, "gpt-5", broken_off=True)),
        (response(usage=None, error={"code": "server_error"}), Metered(None, "gpt-5", broken_off=True)),
        (response(status="failed"), Metered(READ, "gpt-5")),
        (response(usage={"input_tokens": 9}), Metered(Usage(input_tokens=9), "gpt-5")),
        (response(usage={"seconds": 9}), Metered(None, "gpt-5")),
        ({"output": [], "usage": USAGE}, Metered(READ)),
        ({"usage": USAGE}, Metered(READ)),
        ({"error": {"message": "overloaded"}}, Metered(broken_off=True)),
        ({"type": "error", "message": "overloaded"}, Metered(broken_off=True)),
        ({"error": None}, Metered()),
        ([response()], Metered()),
        (None, Metered()),
    ],
)
def test_one_body(body: object, expected: Metered) -> None:
    assert metered(json.dumps(body).encode()) == expected


CREATED = event("response.created", response=response(usage=None, status="in_progress"))
COMPLETED = event("response.completed", response=response())


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (CREATED + COMPLETED, Metered(READ, "gpt-5")),
        (COMPLETED, Metered(READ, "gpt-5")),
        (CREATED + event("response.done", response=response()), Metered(READ, "gpt-5")),
        (CREATED, Metered(None, "gpt-5", broken_off=True)),
        (event("response.output_text.delta", delta="a"), Metered(broken_off=True)),
        (event("response.output_item.done", item={"type": "reasoning"}), Metered(broken_off=True)),
        (CREATED + event("error", message="overloaded"), Metered(None, "gpt-5", broken_off=True)),
        (event("error", message="overloaded"), Metered(broken_off=True)),
        # An error after the end does not take the usage back.
        (COMPLETED + event("error", message="overloaded"), Metered(READ, "gpt-5")),
        (CREATED + event("response.completed", response=response(usage=None)), Metered(None, "gpt-5")),
        (CREATED + event("response.completed"), Metered(None, "gpt-5")),
        (b"data: [DONE]\n\n", Metered()),
        (b": ping\n\n", Metered()),
        (b"", Metered()),
        # What a proxy answers without streaming, in one event.
        (b"data: " + json.dumps(response()).encode() + b"\n\n", Metered(READ, "gpt-5")),
    ],
)
def test_a_stream(stream: bytes, expected: Metered) -> None:
    assert metered(stream, STREAM) == expected
    assert metered(stream.replace(b"\n", b"\r\n"), STREAM) == expected


def test_the_last_event_is_read_by_its_name_where_it_has_no_type() -> None:
    stream = b"event: response.completed\ndata: " + json.dumps({"response": response()}).encode() + b"\n\n"
    assert metered(stream, STREAM) == Metered(READ, "gpt-5")


def test_what_was_said_already_may_be_left_out_of_the_last_event() -> None:
    items = [message("a"), call("function_call", name="f"), call("web_search_call"), call("file_search_call")]
    told = b"".join(event("response.output_item.done", item=item) for item in items)
    whole = metered(CREATED + event("response.completed", response=response(*items)), STREAM)
    assert whole.usage == Usage(input_tokens=9, output_tokens=3, web_search_requests=1, other_tool_requests=1)
    # Where it is told twice it counts once.
    for items_at_the_end in ([], items):
        last = event("response.completed", response=response(*items_at_the_end))
        assert metered(CREATED + told + last, STREAM) == whole


def test_a_stream_of_endless_items_is_not_kept() -> None:
    item = event("response.output_item.done", item=call("code_interpreter_call", code="x" * 100_000))
    meter = OPENAI_RESPONSES.meter(content_type=STREAM, facts=RequestFacts())
    tracemalloc.start()
    try:
        for _ in range(300):
            meter.feed(item)
        kept_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    meter.feed(COMPLETED)
    usage = meter.finish().usage
    assert usage is not None
    assert usage.other_tool_requests == 300
    assert kept_bytes < 4_000_000
