"""JSON on the wire: its values, and where the members of an object stand."""

from __future__ import annotations

import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter import json_text

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(), JSON, max_size=6),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")]),
    st.sampled_from(["", " ", "\n\t"]),
)
def test_every_member_is_located_exactly(
    value: dict[str, object], ascii_only: bool, separators: tuple[str, str], padding: str
) -> None:
    text = (padding + json.dumps(value, ensure_ascii=ascii_only, separators=separators) + padding).encode(
        "utf-8", "surrogatepass"
    )
    located = json_text.locate_members(text)
    assert located is not None
    assert list(located) == list(value)
    for key, member in located.items():
        assert json.loads(text[member.value_start : member.value_end]) == value[key]
        assert text[member.key_start : member.key_start + 1] == b'"'
        assert json.loads(text[member.key_start : member.value_start].rstrip().removesuffix(b":")) == key


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b'{"a":1}}',
        b'{"a":01}',
        b'{"a":1,"a":2}',
        b'{"a":12,"a":1}',
        b'{"a":1,"a":12}',
        b'{"a":1,"a":"x,1234"}',
        b'{"a":1,"\\u0061":1}',
        b'{"a":[],"b":2,"a":[]}',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_broken_or_ambiguous_object_has_no_positions(text: bytes) -> None:
    assert json_text.locate_members(text) is None


def test_escaped_keys_are_read() -> None:
    located = json_text.locate_members(b'{"str\\u0065am":true}')
    assert located is not None
    assert list(located) == ["stream"]


@pytest.mark.parametrize("half", [r"\ud83d", r"\uD83D x", r"\ude00", r"\\\ud800\u0041", r"\ud83d\ud83d\ude00"])
def test_half_a_surrogate_pair_does_not_hide_the_other_members(half: str) -> None:
    text = b'{"a":"' + half.encode() + b'","b":"\\ud83d\\ude00\\\\ud800","c":[1]}'
    located = json_text.locate_members(text)
    assert located is not None
    assert {key: text[member.value_start : member.value_end] for key, member in located.items()} == {
        "a": b'"' + half.encode() + b'"',
        "b": b'"\\ud83d\\ude00\\\\ud800"',
        "c": b"[1]",
    }
    assert json_text.is_object(text)


def test_not_a_number_is_read_as_python_writes_it() -> None:
    value = json_text.parse(b'{"a":NaN,"b":1}')
    assert isinstance(value, dict)
    assert math.isnan(value["a"])
    assert value["b"] == 1


@pytest.mark.parametrize("value", [0, 1, 2**53])
def test_a_count_is_a_whole_number(value: int) -> None:
    assert json_text.count(value) == value


@pytest.mark.parametrize("value", [None, True, False, -1, 2**53 + 1, 10**30, 1.0, 1.5, math.nan, math.inf, "1", [], {}])
def test_anything_else_is_no_count(value: object) -> None:
    assert json_text.count(value) is None


@pytest.mark.parametrize("value", [None, 1, "a" * 257, "a\nb", "\x1b[31m", "\ud800"])
def test_what_cannot_be_shown_is_no_name(value: object) -> None:
    assert json_text.name(value) == ""


@settings(deadline=None)
@given(st.binary() | st.text(alphabet='{}[]",:\\ud8a0 trueNn1-.e').map(str.encode))
def test_nothing_raises(text: bytes) -> None:
    json_text.parse(text)
    json_text.read_members(text)
    json_text.locate_members(text)
    json_text.is_object(text)


@pytest.mark.parametrize("unit", [b"[", b'{"a":', b'"\\ud83d",', b'"a":1,', b"\\", b'"', b"9"])
def test_megabytes_of_nonsense_take_little_time(unit: bytes) -> None:
    text = b"{" + unit * (2_000_000 // len(unit))
    start = time.perf_counter()
    json_text.locate_members(text)
    json_text.parse(text)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a":"\xff","b":1}', {"a": "\ufffd", "b": 1}),
        (b'{"a":"\xf0\x9f","b":1}', {"a": "\ufffd", "b": 1}),
        (b'{"a\xc3":[NaN]}', {"a\ufffd": [pytest.approx(math.nan, nan_ok=True)]}),
        (b"\xff", None),
        (b'{"a":"\xff"', None),
        (b"\x00{", None),
        (b"\xff\xfe{", None),
        (b"[" * 100_000 + b"\xff", None),
    ],
)
def test_bytes_that_are_no_text_cost_themselves(text: bytes, value: object) -> None:
    assert json_text.parse(text) == value
    assert json_text.parse(bytearray(text)) == value


@pytest.mark.parametrize(
    "text",
    [
        b'{"model":"dear","model":"cheap"}',
        b'{"model":"dear","messages":[],"m\\u006fdel":"cheap"}',
        b'{"model":"dear","Model":"cheap"}',
        b'{"max_tokens":5,"maxTokens":5000}',
        b'{"generation_config":{},"generationConfig":{}}',
        b'{"a":"\\ud83d","model":1,"model":2}',
    ],
)
def test_an_object_with_one_name_twice_is_ambiguous(text: bytes) -> None:
    assert json_text.is_ambiguous(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b"{}",
            b"[]",
            b"{",
            b"null",
            b'"model"',
            b'{"model":"a","models":["b"]}',
            b' {"a" : {"a" : 1} , "b":[{"a":1}]} ',
        ),
        *(b'{"max_tokens":1,"max_completion_tokens":2,"n":1}', b"--boundary\r\n", b"\xff\xfe{", b'{"a":"\\ud83d"}'),
    ],
)
def test_any_other_text_is_not(text: bytes) -> None:
    assert not json_text.is_ambiguous(text)
