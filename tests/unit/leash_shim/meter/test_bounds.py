"""No body takes more than linear time to read, or is kept beyond its bound: docs/fuzzing.md names the bounds."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from leash_shim.meter import Asked, RequestFacts, route
from leash_shim.meter.json_outline import MAX_OUTLINE_BYTES
from leash_shim.meter.sse import MAX_EVENT_BYTES
from leash_shim.meter.usage_filter import UsageChunkFilter
from tests.exchanges.exchange import EVENTS, JSON, LINES

# Where a body comes in pieces of this size, whatever is done again for each piece shows.
PIECE_BYTES = 997

Work = Callable[[bytes], None]


def reading(path: str, content_type: str) -> Work:
    """Reading an answer to the end."""

    def work(body: bytes) -> None:
        wire_format = route("POST", path).format
        assert wire_format is not None
        meter = wire_format.meter(content_type=content_type, facts=RequestFacts(stream=True, other_tools=True))
        for at in range(0, len(body), PIECE_BYTES):
            meter.feed(body[at : at + PIECE_BYTES])
        meter.finish()

    return work


def filtering(body: bytes) -> None:
    visible = UsageChunkFilter()
    for at in range(0, len(body), PIECE_BYTES):
        visible.feed(body[at : at + PIECE_BYTES])
    visible.finish()


def asking(path: str, content_type: str = JSON) -> Work:
    """Reading a request, and splicing into it."""

    def work(body: bytes) -> None:
        wire_format = route("POST", path).format
        assert wire_format is not None
        wire_format.read_request(Asked(body, path, content_type))
        wire_format.prepare(body, inject=True)

    return work


# Every way in which a body is read: the formats share the rest.
ANSWERS = {
    "one body": reading("/v1/chat/completions", JSON),
    "an outline": reading("/v1/images/generations", JSON),
    "objects": reading("/v1beta/models/m:streamGenerateContent", JSON),
    "chat events": reading("/v1/chat/completions", EVENTS),
    "responses events": reading("/v1/responses", EVENTS),
    "messages events": reading("/v1/messages", EVENTS),
    "lines": reading("/api/chat", LINES),
    "the visible part": filtering,
}
REQUESTS = {
    "chat": asking("/v1/chat/completions"),
    "completions": asking("/v1/completions"),
    "responses": asking("/v1/responses"),
    "embeddings": asking("/v1/embeddings"),
    "messages": asking("/v1/messages"),
    "gemini": asking("/v1beta/models/m:generateContent"),
    "ollama": asking("/api/chat"),
    "a form": asking("/v1/images/edits", "multipart/form-data; boundary=b0"),
}

_CALL = b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"x"}}]}}],"usage":null}'
_NEW_CALL = b'{"choices":[{"delta":{"tool_calls":[{"id":"c%d","function":{"name":"f","arguments":"{"}}]}}]}'
_TEXT = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}'
_ITEM = b'{"type":"response.output_item.done","item":{"type":"function_call","name":"f","arguments":"{}"}}'
_PART = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}'

ANSWER_SHAPES: dict[str, Callable[[int], bytes]] = {
    "one line": lambda size: b"data: " + b"x" * size,
    "one line of JSON": lambda size: b'data: {"usage":"' + b"x" * size + b'"}\n\n',
    "empty lines": lambda size: b"\n" * size,
    "carriage returns": lambda size: b"\r" * size,
    "data lines": lambda size: b"data: {\n" * (size // 8),
    "broken events": lambda size: b"data: x\r\r" * (size // 9),
    "brackets": lambda size: b"[{" * (size // 2),
    "nested": lambda size: b'{"usage":' * (size // 9),
    "quotes": lambda size: b'"' * size,
    "backslashes": lambda size: b'{"a":"' + b"\\" * size,
    "escapes": lambda size: b'data: {"a":"' + b'\\"' * (size // 2) + b'"}\n\n',
    "objects": lambda size: b"[" + b"{}," * (size // 3) + b"{}]",
    "lines of JSON": lambda size: b'{"done":false}\n' * (size // 15),
    "chunks": lambda size: (b"data: " + _CALL + b"\n\n") * (size // len(_CALL)),
    "new calls": lambda size: b"".join(b"data: " + _NEW_CALL % at + b"\n\n" for at in range(size // len(_NEW_CALL))),
    "deltas": lambda size: (b"data: " + _TEXT + b"\n\n") * (size // len(_TEXT)),
    "items": lambda size: (b"data: " + _ITEM + b"\n\n") * (size // len(_ITEM)),
    "candidates": lambda size: b"[" + (_PART + b",\n") * (size // len(_PART)) + _PART + b"]",
    "nulls": lambda size: b'data: {"choices":[],"a":"' + b',"usage":null' * (size // 13) + b"\n\n",
    "comments": lambda size: b": c\n" * (size // 4),
    "digits": lambda size: b'{"usage":{"prompt_tokens":' + b"9" * size + b"}}",
}

REQUEST_SHAPES: dict[str, Callable[[int], bytes]] = {
    "a long text": lambda size: b'{"stream":true,"messages":[{"role":"user","content":"' + b"x" * size + b'"}]}',
    "many messages": lambda size: (
        b'{"stream":true,"messages":[' + b'{"content":"x"},' * (size // 16) + b'{"content":1}]}'
    ),
    "many tools": lambda size: b'{"stream":true,"tools":[' + b'{"type":"function"},' * (size // 20) + b"{}]}",
    "many members": lambda size: b'{"stream":true,' + b",".join(b'"a%d":1' % at for at in range(size // 9)) + b"}",
    "equal members": lambda size: b'{"stream":true' + b',"a":{"stream":true}' * (size // 20) + b"}",
    "many prompts": lambda size: (
        b'{"input":[' + b'"x",' * (size // 4) + b'"x"],"prompt":[[1]' + b",[1]" * (size // 4) + b"]}"
    ),
    "nested": lambda size: b'{"stream":' * (size // 10),
    "half pairs": lambda size: b'{"stream":true,"a":"' + b"\\ud83d" * (size // 6) + b'"}',
    "backslashes": lambda size: b'{"stream":true,"a":"' + b"\\" * size + b'"}',
    "garbage": lambda size: b"x" * size,
    "parts": lambda size: b'--b0\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * (size // 56),
    "delimiters": lambda size: b"\r\n--b0" * (size // 6),
    "line ends": lambda size: b"--b0" + b"\r\n" * (size // 2),
}

SMALL_BYTES = 400_000


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    """Keeps the garbage collector away, whose passes over all that the other tests left count for no body."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def is_linear(work: Work, shape: Callable[[int], bytes]) -> bool:
    """Whether four times the bytes take no more than ten times the time; sixteen would be quadratic."""
    small, large = shape(SMALL_BYTES), shape(4 * SMALL_BYTES)
    # It is this process's time that counts, and a machine that is busy with something else gets another try.
    for _ in range(3):
        start = time.process_time()
        work(small)
        between = time.process_time()
        work(large)
        end = time.process_time()
        # What takes less than a tenth of a second is too short to be compared.
        if end - between < max(10 * (between - start), 0.1):
            return True
    return False


@pytest.mark.parametrize("shape", ANSWER_SHAPES)
@pytest.mark.parametrize("way", ANSWERS)
def test_the_time_for_an_answer_grows_with_its_bytes(way: str, shape: str) -> None:
    assert is_linear(ANSWERS[way], ANSWER_SHAPES[shape])


@pytest.mark.parametrize("shape", REQUEST_SHAPES)
@pytest.mark.parametrize("way", REQUESTS)
def test_the_time_for_a_request_grows_with_its_bytes(way: str, shape: str) -> None:
    assert is_linear(REQUESTS[way], REQUEST_SHAPES[shape])


TEN_MEGABYTES = 10_000_000

# The most that is held at a time, beside the body itself: all of it where a body, an event or a line may be so long,
# and a few times that while it is put together and read.
WHOLE = 4

KEPT_BYTES = {
    "one body": WHOLE * TEN_MEGABYTES,
    "an outline": 2 * MAX_OUTLINE_BYTES,
    "objects": WHOLE * TEN_MEGABYTES,
    "chat events": 4 * MAX_EVENT_BYTES,
    "responses events": WHOLE * TEN_MEGABYTES,
    "messages events": 4 * MAX_EVENT_BYTES,
    "lines": WHOLE * TEN_MEGABYTES,
    "the visible part": 4 * MAX_EVENT_BYTES,
}


@pytest.mark.long
@pytest.mark.parametrize("start", [b"", b'data: {"a":"', b'[{"usage":{"a":"', b"data: {"], ids=repr)
@pytest.mark.parametrize("filling", [b"x", b"\\", b" ", b"9,"], ids=repr)
@pytest.mark.parametrize("way", ANSWERS)
def test_ten_megabytes_of_garbage_on_one_line_are_kept_within_a_bound(way: str, filling: bytes, start: bytes) -> None:
    body = start + filling * (TEN_MEGABYTES // len(filling))
    tracemalloc.start()
    try:
        ANSWERS[way](body)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < KEPT_BYTES[way]
