"""Metering OpenAI chat completions, as JSON and as event streams."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash.usage import Usage
from leash_shim.meter import Metered, RequestFacts
from leash_shim.meter.bodies import MAX_JSON_BYTES
from leash_shim.meter.openai_chat import OPENAI_CHAT

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
READ = Usage(input_tokens=9, output_tokens=3)
STREAM = "text/event-stream"


def metered(
    body: bytes | list[bytes], content_type: str = "application/json", *, want_fingerprint: bool = True, **facts: Any
) -> Metered:
    meter = OPENAI_CHAT.meter(content_type=content_type, facts=RequestFacts(**facts), want_fingerprint=want_fingerprint)
    for piece in [body] if isinstance(body, bytes) else body:
        meter.feed(piece)
    result = meter.finish()
    assert meter.finish() == result
    assert meter.peek() == result.usage
    return result


def completion(message: dict[str, Any] | None = None, **fields: Any) -> bytes:
    choices = [] if message is None else [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json.dumps({"model": "gpt-4o-2024-08-06", "choices": choices, "usage": USAGE, **fields}).encode()


def chunk(delta: dict[str, Any] | None = None, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": None}]
    value = {"model": "gpt-4o-2024-08-06", "choices": choices, **fields}
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def test_a_json_answer() -> None:
    result = metered(completion({"role": "assistant", "content": "hi"}, service_tier="priority"))
    assert result.usage == Usage(input_tokens=9, output_tokens=3, service_tier="priority")
    assert result.model == "gpt-4o-2024-08-06"
    assert len(result.fingerprint) == 8


def test_a_streamed_answer_in_every_two_pieces() -> None:
    stream = (
        chunk({"role": "assistant", "content": ""}, usage=None)
        + chunk({"content": "hi"}, usage=None)
        + chunk({}, usage=None)
        + chunk(usage=USAGE, service_tier="default")
        + DONE
    )
    expected = Metered(
        Usage(input_tokens=9, output_tokens=3, service_tier="default"),
        "gpt-4o-2024-08-06",
        metered(completion({"content": "hi"})).fingerprint,
    )
    for cut in range(len(stream) + 1):
        assert metered([stream[:cut], stream[cut:]], STREAM) == expected
    assert metered([stream[at : at + 1] for at in range(len(stream))], STREAM) == expected
    without = metered(stream, STREAM, want_fingerprint=False)
    assert without == Metered(expected.usage, expected.model, b"")


@pytest.mark.parametrize("content_type", ["text/event-stream; charset=utf-8", " Text/Event-Stream ", STREAM])
def test_the_content_type_tells_a_stream_whatever_was_asked(content_type: str) -> None:
    assert metered(chunk(usage=USAGE), content_type, stream=False).usage == READ


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", "application/problem+json"])
def test_anything_else_is_read_as_json_whatever_was_asked(content_type: str) -> None:
    assert metered(b"\n\n\n" + completion(), content_type, stream=True).usage == READ


@pytest.mark.parametrize(
    "stream",
    [
        # A running usage in every chunk: the last wins, and a null or empty one does not undo it.
        chunk({}, usage={"prompt_tokens": 9, "completion_tokens": 1}) + chunk({}, usage=USAGE) + chunk({}, usage=None),
        chunk({}, usage=USAGE) + chunk({}, usage={}) + DONE,
        # In the last delta instead of a chunk of its own, or in Groq's own member.
        chunk({"content": "x"}) + chunk({}, usage=USAGE) + DONE,
        chunk({"content": "x"}) + chunk({}, x_groq={"id": "req", "usage": USAGE}) + DONE,
        # Other line endings, comments, data of several lines, one line ending, no end.
        (b": OPENROUTER PROCESSING\n\n" + chunk({}) + chunk(usage=USAGE) + DONE).replace(b"\n", b"\r\n"),
        (chunk({}) + chunk(usage=USAGE) + DONE).replace(b"\n", b"\r"),
        b'data: {"choices":[],\ndata:"usage":{\ndata: "prompt_tokens":9,"completion_tokens":3}}\n\n',
        (chunk({}) + chunk(usage=USAGE) + DONE).replace(b"\n\n", b"\n"),
        chunk(usage=USAGE).rstrip(),
        # After the end, and after a broken event.
        DONE + chunk(usage=USAGE),
        b'data: {"usage":\n\ndata: {"usage":{}\n\n' + chunk(usage=USAGE),
        b"data: " + b'"usage"' * 300_000 + b"\n\n" + chunk(usage=USAGE),
        # An error after it.
        chunk(usage=USAGE) + b'data: {"error":{"message":"overloaded"}}\n\n',
    ],
)
@pytest.mark.parametrize("want_fingerprint", [True, False])
def test_what_vendors_do_otherwise(stream: bytes, want_fingerprint: bool) -> None:
    assert metered(stream, STREAM, want_fingerprint=want_fingerprint).usage == READ


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        DONE,
        chunk({"content": "x"}, usage=None) + DONE,
        chunk(usage={}) + DONE,
        chunk(usage={"total_tokens": 12}),
        chunk({"content": '"usage":{"prompt_tokens":9,"completion_tokens":3}'}),
        chunk(usage=USAGE, error={"message": "overloaded"}),
        b"event: error\n" + chunk(usage=USAGE),
        chunk(choice={"usage": USAGE}),
        completion(),
        chunk(usage=USAGE)[:-4],
    ],
)
def test_a_stream_without_readable_usage_is_blind(stream: bytes) -> None:
    assert metered(stream, STREAM).usage is None
    assert metered(stream, STREAM, want_fingerprint=False).usage is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"usage":',
        completion(usage=None),
        completion(usage={}),
        completion(error={"message": "overloaded"}),
        completion() + b"}",
        chunk(usage=USAGE),
    ],
)
def test_a_json_answer_without_readable_usage_is_blind(body: bytes) -> None:
    assert metered(body).usage is None


def test_not_a_number_elsewhere_in_the_answer_does_not_make_it_blind() -> None:
    assert metered(completion(logprobs=float("nan"))).usage == READ


def test_a_stream_can_be_asked_before_its_end() -> None:
    meter = OPENAI_CHAT.meter(content_type=STREAM, facts=RequestFacts())
    assert meter.peek() is None
    meter.feed(chunk({}, usage={"prompt_tokens": 9, "completion_tokens": 1}))
    assert meter.peek() == Usage(input_tokens=9, output_tokens=1)
    meter.feed(chunk({}, usage=USAGE)[:-9])
    assert meter.peek() == Usage(input_tokens=9, output_tokens=1)


def test_a_json_answer_can_be_asked_before_its_end() -> None:
    meter = OPENAI_CHAT.meter(content_type="application/json", facts=RequestFacts())
    body = completion()
    meter.feed(body[:-1])
    assert meter.peek() is None
    meter.feed(body[-1:])
    assert meter.peek() == READ
    meter.feed(b"\n")
    assert meter.finish().usage == READ


def test_a_model_that_a_first_chunk_leaves_empty_is_taken_from_a_later_one() -> None:
    azure = chunk(model="", prompt_filter_results=[]) + chunk({"content": "x"}) + chunk({}, model="\n")
    assert metered(azure, STREAM, want_fingerprint=False).model == "gpt-4o-2024-08-06"


def test_server_tools_of_the_request_are_counted() -> None:
    usage = metered(completion(), server_tools=True, web_search=True).usage
    assert usage is not None
    assert usage.web_search_requests == 1


def call(name: str, arguments: object, **fields: Any) -> dict[str, Any]:
    return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}, **fields}


def test_what_a_fingerprint_sees() -> None:
    messages: list[dict[str, Any]] = [
        {"content": "hi"},
        {"content": "ho"},
        {"refusal": "hi"},
        {"audio": {"id": "a", "transcript": "hi"}},
        {"content": None, "tool_calls": [call("f", '{"a":1}')]},
        {"content": None, "tool_calls": [call("f", '{"a":2}')]},
        {"content": None, "tool_calls": [call("g", '{"a":1}')]},
        {"content": "hi", "tool_calls": [call("f", '{"a":1}')]},
        {"content": None, "tool_calls": [call("f", '{"a":1}'), call("f", '{"a":1}')]},
        {"content": None, "tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "x"}}]},
        {"content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
    ]
    prints = [metered(completion(message)).fingerprint for message in messages]
    assert all(len(each) == 8 for each in prints)
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"content": "hi  there\n"}, {"content": " hi there"}),
        ({"content": "hi"}, {"content": [{"type": "text", "text": "hi"}]}),
        ({"content": "hi"}, {"content": "hi", "reasoning_content": "hm", "annotations": [], "refusal": None}),
        ({"tool_calls": [call("f", '{"a":1,"b":2}')]}, {"tool_calls": [call("f", '{ "b":2, "a":1}', id="call_9")]}),
        ({"tool_calls": [call("f", '{"a":1}')]}, {"tool_calls": [call("f", {"a": 1})]}),
    ],
)
def test_what_a_fingerprint_does_not_see(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert metered(completion(one)).fingerprint == metered(completion(other)).fingerprint != b""


@pytest.mark.parametrize(
    "message", [None, {}, {"content": None}, {"content": " \n"}, {"content": "", "tool_calls": []}]
)
def test_a_reply_with_neither_text_nor_call_has_no_fingerprint(message: dict[str, Any] | None) -> None:
    assert metered(completion(message)).fingerprint == b""
    assert metered(chunk(message) + DONE, STREAM).fingerprint == b""


def test_calls_that_a_stream_gives_no_index_are_told_apart_by_their_ids() -> None:
    expected = metered(completion({"tool_calls": [call("f", "{}"), call("g", "[]")]})).fingerprint
    for first, second in [({}, {}), ({"index": 0}, {"index": 0}), ({"index": 1}, {"index": 2})]:
        together = chunk({"tool_calls": [call("f", "{}", **first), call("g", "[]", **second)]})
        apart = (
            chunk({"tool_calls": [call("f", "", **first)]})
            + chunk({"tool_calls": [{"function": {"arguments": "{}"}, **first}]})
            + chunk({"tool_calls": [call("g", "[", **second)]})
            + chunk({"tool_calls": [{"id": "", "function": {"arguments": "]"}, **second}]})
        )
        assert metered(together, STREAM).fingerprint == expected
        assert metered(apart, STREAM).fingerprint == expected


TEXTS = (
    st.none() | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(["a b ", " "])
)
ARGUMENTS = st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=5), max_size=3).map(
    json.dumps
) | st.text(alphabet='{}":a \n', max_size=10)
MESSAGE = st.fixed_dictionaries(
    {"content": TEXTS},
    optional={
        "refusal": TEXTS,
        "tool_calls": st.lists(st.tuples(st.sampled_from(["f", "get_weather"]), ARGUMENTS), max_size=3),
        "function_call": st.fixed_dictionaries({"name": st.just("old"), "arguments": ARGUMENTS}),
    },
)


def cut_up(data: st.DataObject, text: str) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def deltas_of(data: st.DataObject, message: dict[str, Any]) -> list[dict[str, Any]]:
    """The deltas in which a stream may tell a message."""
    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    for kind in ("content", "refusal"):
        if message.get(kind) is not None:
            deltas += [{kind: piece} for piece in cut_up(data, message[kind])]
    for index, (name, arguments) in enumerate(message.get("tool_calls", [])):
        deltas.append({"tool_calls": [{"index": index, "id": f"call_{index}", "function": {"name": name}}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in cut_up(data, arguments)
        ]
    if "function_call" in message:
        deltas.append({"function_call": {"name": message["function_call"]["name"]}})
        deltas += [{"function_call": {"arguments": p}} for p in cut_up(data, message["function_call"]["arguments"])]
    return deltas


@settings(deadline=None, max_examples=150)
@given(st.lists(MESSAGE, min_size=1, max_size=3), st.data())
def test_a_reply_has_the_same_fingerprint_as_json_and_as_stream(
    messages: list[dict[str, Any]], data: st.DataObject
) -> None:
    choices = []
    streamed: list[list[bytes]] = []
    for index, message in enumerate(messages):
        whole = dict(message)
        if "tool_calls" in message:
            whole["tool_calls"] = [call(name, arguments) for name, arguments in message["tool_calls"]]
        choices.append({"index": index, "message": whole})
        streamed.append([chunk(choices=[{"index": index, "delta": delta}]) for delta in deltas_of(data, message)])
    # The choices of a stream come mixed.
    order = data.draw(st.permutations([index for index, chunks in enumerate(streamed) for _ in chunks]))
    stream = b"".join([streamed[index].pop(0) for index in order]) + chunk(usage=USAGE) + DONE
    cut = data.draw(st.integers(0, len(stream)))
    assert metered([stream[:cut], stream[cut:]], STREAM) == metered(completion(choices=choices))


@settings(deadline=None)
@given(
    st.sampled_from([STREAM, "application/json"]),
    st.lists(
        st.binary(max_size=30) | st.sampled_from([b"data: ", b'{"usage":', b'"choices":[', b"}", b"\n\n"]), max_size=8
    ),
    st.booleans(),
)
def test_no_bytes_raise(content_type: str, pieces: list[bytes], want_fingerprint: bool) -> None:
    metered(pieces, content_type, want_fingerprint=want_fingerprint)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                """choices index delta message content text refusal audio transcript tool_calls function_call function
            custom name arguments input id usage prompt_tokens completion_tokens prompt_tokens_details x_groq error
            model service_tier""".split()  # noqa: SIM905 - a line for each says no more
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@settings(deadline=None, max_examples=300)
@given(ANY_JSON)
def test_no_shape_of_json_raises(value: object) -> None:
    wrapped = {
        "choices": [{"delta": value}, {"message": value}, value],
        "usage": value,
        "x_groq": value,
        "model": value,
    }
    for each in (value, wrapped):
        body = json.dumps(each).encode()
        metered(body)
        metered(b"data: " + body + b"\n\n", STREAM)


@pytest.mark.long
@pytest.mark.parametrize("content_type", [STREAM, "application/json"])
@pytest.mark.parametrize("unit", [b"x", b'data: {"usage":', b"{", b"[", b"\r", b"data: x\n", b'"\\ud83d'])
def test_ten_megabytes_of_garbage_stay_bounded(content_type: str, unit: bytes) -> None:
    garbage = unit * (10_000_000 // len(unit))
    start = time.perf_counter()
    tracemalloc.start()
    try:
        result = metered([garbage[at : at + 65536] for at in range(0, len(garbage), 65536)], content_type)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result == Metered()
    assert peak_bytes < 60_000_000
    assert time.perf_counter() - start < 30


def test_an_endless_json_answer_is_given_up() -> None:
    meter = OPENAI_CHAT.meter(content_type="application/json", facts=RequestFacts())
    piece = b" " * (1 << 20)
    tracemalloc.start()
    try:
        for _ in range((MAX_JSON_BYTES >> 20) + 8):
            meter.feed(piece)
        meter.feed(completion())
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert meter.finish() == Metered()
    assert peak_bytes < 2.5 * MAX_JSON_BYTES


@pytest.mark.long
def test_very_many_calls_and_choices_stay_bounded() -> None:
    meter = OPENAI_CHAT.meter(content_type=STREAM, facts=RequestFacts())
    start = time.perf_counter()
    tracemalloc.start()
    try:
        for number in range(20_000):
            calls = [{"index": number, "id": str(number), "function": {"name": "f", "arguments": "{}"}}]
            meter.feed(chunk(choices=[{"index": number % 300, "delta": {"content": "x", "tool_calls": calls}}]))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(meter.finish().fingerprint) == 8
    assert peak_bytes < 30_000_000
    assert time.perf_counter() - start < 30


def test_prepare_asks_for_the_usage_only_where_it_would_be_missing() -> None:
    streaming = b'{"model":"m","stream":true}'
    prepared = OPENAI_CHAT.prepare(streaming, inject=True)
    assert prepared.hides_usage_chunk
    assert json.loads(prepared.body)["stream_options"] == {"include_usage": True}
    for body, inject in [
        (streaming, False),
        (b'{"model":"m"}', True),
        (b'{"stream":true,"stream_options":{"include_usage":true}}', True),
        (b"\xff", True),
    ]:
        prepared = OPENAI_CHAT.prepare(body, inject=inject)
        assert prepared.body is body
        assert not prepared.hides_usage_chunk


def test_a_filter_starts_anew_for_each_answer() -> None:
    first = OPENAI_CHAT.visible_filter()
    assert first.feed(b'data: {"choices":[],"usage":{}}\n') == b""
    second = OPENAI_CHAT.visible_filter()
    assert second.feed(b"\n") == b"\n"
    assert second.finish() == b""
