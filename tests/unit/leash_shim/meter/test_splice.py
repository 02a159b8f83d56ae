"""The include_usage splice: one insertion, and nothing where the body is odd."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter.splice import splice_include_usage, visible_chunk

OPTION = b'"stream_options":{"include_usage":true},'

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n", "\t: ")])


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "n", 'a"b', "stream ", "{", "é"]) | st.text(), VALUES, max_size=5
    ),
    st.permutations(["stream", "model"]),
    SEPARATORS,
    st.booleans(),
    st.sampled_from(["", " ", "\r\n\t"]),
)
def test_taking_the_splice_out_gives_the_original_body(
    others: dict[str, object], order: list[str], separators: tuple[str, str], ascii_only: bool, padding: str
) -> None:
    others.pop("stream_options", None)
    fields = {**others, **{name: True if name == "stream" else "gpt-4o" for name in order}}
    text = padding + json.dumps(fields, separators=separators, ensure_ascii=ascii_only) + padding
    body = text.encode("utf-8", "surrogatepass")
    spliced = splice_include_usage(body)
    assert spliced is not None
    assert json.loads(spliced) == {**json.loads(body), "stream_options": {"include_usage": True}}
    assert spliced.count(OPTION) >= 1
    assert spliced.replace(OPTION, b"", 1) == body


@settings(deadline=None)
@given(
    st.none() | st.dictionaries(st.sampled_from(["include_obfuscation", "x", "include_usage "]), VALUES, max_size=3),
    st.sampled_from([..., None, False]),
    SEPARATORS,
)
def test_existing_options_keep_what_they_have(
    options: dict[str, object] | None, asked: object, separators: tuple[str, str]
) -> None:
    if options is not None and asked is not ...:
        options = {"first": 1, "include_usage": asked, **options}
    fields = {"stream": True, "stream_options": options, "messages": [{"stream_options": {"include_usage": False}}]}
    body = json.dumps(fields, separators=separators).encode()
    spliced = splice_include_usage(body)
    assert spliced is not None
    assert json.loads(spliced) == {**fields, "stream_options": {**(options or {}), "include_usage": True}}
    before = next(at for at, (old, new) in enumerate(zip(body, spliced, strict=False)) if old != new)
    tail = body[before:].removeprefix(b"null").removeprefix(b"false")
    assert spliced.endswith(tail)


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}',
        b'{"stream":true,"stream_options":{"include_usage":1}}',
        b'{"stream":true,"stream_options":{"include_usage":"false"}}',
        b'{"stream":true,"stream_options":{"include_usage":false,"include_usage":true}}',
        b'{"stream":true,"stream_options":{"include_us\\u0061ge":true}}',
        b'{"stream":true,"stream_options":[]}',
        b'{"stream":true,"stream_options":"x"}',
        b'{"stream":true,"stream_options":null,"stream_options":null}',
        b'{"stream":true,"stream_options":null,"stream_opti\\u006fns":null}',
        b'{"stream":true,"stream":false}',
        b'{"stream":false,"stream":true}',
        b'{"stream":true,"model":"a","model":"b"}',
        b'{"stream":false}',
        b'{"stream":null}',
        b'{"stream":"true"}',
        b'{"stream":1}',
        b'{"model":"stream"}',
        b'{"x":{"stream":true}}',
        b'[{"stream":true}]',
        b'{"stream":true',
        b'{"stream":true}}',
        b'{"stream":true,}',
        b'\xef\xbb\xbf{"stream":true}',
        b'"stream"',
        b"",
        '{"stream":true}'.encode("utf-16"),
    ],
)
def test_what_does_not_stream_or_asks_itself_or_is_odd_is_left_alone(body: bytes) -> None:
    assert splice_include_usage(body) is None


def test_half_an_emoji_in_the_prompt_does_not_keep_it_from_being_spliced() -> None:
    body = b'{"messages":[{"content":"cut \\ud83d"}],"stream":true}'
    assert splice_include_usage(body) == b"{" + OPTION + body[1:]


@settings(deadline=None)
@given(
    st.binary() | st.text(alphabet='{}[]",:\\ truefalsnm"stream"').map(lambda text: b'{"stream":true' + text.encode())
)
def test_nothing_raises(body: bytes) -> None:
    splice_include_usage(body)
    visible_chunk(body)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["id", "model", "obfuscation", "x"]), VALUES, max_size=4),
    st.integers(0, 5),
    st.booleans(),
    SEPARATORS,
)
def test_only_the_null_usage_of_the_chunk_itself_is_taken_out(
    others: dict[str, object], place: int, usage_first: bool, separators: tuple[str, str]
) -> None:
    inner = {"usage": None, "content": ',"usage":null}'}
    members = [*others.items(), ("choices", [{"delta": inner, "usage": None}])]
    without = json.dumps(dict(members), separators=separators).encode()
    members.insert(0 if usage_first else min(place, len(members)), ("usage", None))
    chunk = json.dumps(dict(members), separators=separators).encode()
    assert visible_chunk(chunk) == without
    assert visible_chunk(without) == without


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}',
        b'{"usage":{},"choices":[]}',
        b'{"id":"x","choices":null,"usage":{"total_tokens":1}}',
        b'{"id":"x","choices": [ ] ,"usage": {"total_tokens":1},"error":null}',
    ],
)
def test_a_chunk_with_usage_and_no_choices_is_hidden(chunk: bytes) -> None:
    assert visible_chunk(chunk) is None


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}',
        b'{"choices":[],"prompt_filter_results":[]}',
        b'{"choices":[],"usage":{"prompt_tokens":1},"error":{"message":"overloaded"}}',
        b'{"choices":{},"usage":{"prompt_tokens":1}}',
        b'{"choices":[],"usage":7}',
        b'{"usage":{"prompt_tokens":1}}',
        b'{"usage":null}',
        b'{"x":{"choices":[],"usage":{"prompt_tokens":1}}}',
        b'{"choices":[],"x":{"a":1,"usage":null}}',
        b'{"choices":[],"x":[{"usage":null,"a":1}]}',
        b'{"choices":"\\"usage\\":null"}',
    ],
)
def test_any_other_chunk_is_left_alone(chunk: bytes) -> None:
    assert visible_chunk(chunk) is chunk
