"""The fields of a form, and nothing that only looks like one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter import multipart
from leash_shim.meter.multipart import is_multipart, read_fields

WANTED = ("model", "n", "stream")
TYPE = "multipart/form-data; boundary=b0"


def part(value: str | bytes, *, disposition: str = 'form-data; name="model"', more: str = "") -> bytes:
    content = value if isinstance(value, bytes) else value.encode()
    return f"--b0\r\nContent-Disposition: {disposition}\r\n{more}\r\n".encode() + content + b"\r\n"


def fields(*parts: bytes, content_type: str = TYPE) -> dict[str, str]:
    return read_fields(b"".join(parts) + b"--b0--\r\n", content_type, WANTED)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (TYPE, True),
        (" Multipart/Form-Data", True),
        ("multipart/mixed; boundary=b0", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_what_is_a_form(content_type: str, expected: bool) -> None:
    assert is_multipart(content_type) is expected


@pytest.mark.parametrize(
    "content_type",
    [TYPE, 'multipart/form-data; boundary="b0"', "multipart/form-data;charset=utf-8; Boundary=b0; x=y"],
)
def test_the_fields_that_are_wanted(content_type: str) -> None:
    found = fields(
        b"a preamble\r\n",
        part("gpt-image-1"),
        part(b"\x89PNG\r\n\r\n" * 100, disposition='form-data; name="image[]"; filename="a.png"'),
        part("2", disposition='form-data; name="n"', more="Content-Type: text/plain\r\n"),
        part("secret", disposition='form-data; name="prompt"'),
        content_type=content_type,
    )
    assert found == {"model": "gpt-image-1", "n": "2"}


@pytest.mark.parametrize(
    "disposition",
    [
        "form-data;name=model",
        'FORM-DATA; NAME="model"',
        'form-data; x="; name="; name="model"',
        'form-data; x="\\""; name="model"',
    ],
)
def test_a_field_may_be_named_in_many_ways(disposition: str) -> None:
    assert fields(part("m", disposition=disposition)) == {"model": "m"}


@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; name="model"; filename="a.png"',
        'form-data; filename="a.png"; name="model"',
        "form-data; filename*=UTF-8''a.png; name=\"model\"",
        'form-data; filename=""; name="model"',
        'form-data; x="name=model"',
        'form-data; names="model"',
        "form-data",
        "",
    ],
)
def test_a_file_or_a_part_without_a_name_is_no_field(disposition: str) -> None:
    assert fields(part("m", disposition=disposition)) == {}


def test_what_looks_like_a_field_within_a_file_is_none() -> None:
    inside = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\ncheap\r\n'
    assert fields(part(inside, disposition='form-data; name="file"; filename="a"'), part("dear")) == {"model": "dear"}


def test_a_field_that_is_too_long_has_no_value() -> None:
    assert fields(part("x" * 250)) == {"model": "x" * 250}
    assert fields(part("x" * 260), part("2", disposition='form-data; name="n"')) == {"model": "", "n": "2"}


def test_text_that_is_none_does_not_raise() -> None:
    assert fields(part(b"\xff")) == {"model": "\ufffd"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (part("one") + part("two") + b"--b0--", TYPE),
        (part("one"), TYPE),
        (part("one") + b"--b0", TYPE),
        (part("one", more=f"X: {'x' * 1_200}\r\n") + b"--b0--", TYPE),
        (part("one") + b"--b0\r\nno head\r\n--b0--", TYPE),
        (part("one").replace(b"\r\n", b"\n") + b"--b0--", TYPE),
        (part("one") * 1 + part("x", disposition="form-data; name=x") * 1_000 + b"--b0--", TYPE),
        (part("one") + b"--b0--", "multipart/form-data"),
        (part("one") + b"--b0--", "multipart/form-data; boundary=b1"),
        (part("one") + b"--b0--", "multipart/form-data; boundary=b\u00e9"),
        (b"", TYPE),
        (b'{"model":"m"}', TYPE),
    ],
)
def test_of_a_body_that_can_be_read_in_two_ways_nothing_is_read(body: bytes, content_type: str) -> None:
    assert read_fields(body, content_type, WANTED) == {}


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([b"--b0", b"\r\n", b"\r\n\r\n", b"--", b"m", b'Content-Disposition: form-data; name="model"'])
        | st.binary(max_size=5)
    )
)
def test_no_bytes_raise(tokens: list[bytes]) -> None:
    assert set(read_fields(b"".join(tokens), TYPE, WANTED)) <= {"model"}


@pytest.mark.parametrize(
    "head",
    [
        b"content-disposition:" * 50,
        b"content-disposition:" + b'; name="model"' * 60 + b"filename",
        b"content-disposition:" * 25 + b';name="a"' * 50 + b"filename",
        b"content-disposition:" + b";" * 900,
        b'content-disposition:;x="' + b"\\" * 900,
        b"content-disposition:;" + b"x" * 900,
    ],
)
def test_no_part_takes_long(head: bytes) -> None:
    body = (b"--b0\r\n" + head + b"\r\n\r\nvalue\r\n") * multipart._MAX_PARTS
    start = time.perf_counter()
    read_fields(body, TYPE, WANTED)
    # A thousand parts of a kilobyte: a twentieth of a second where the time of each is in proportion to its bytes,
    # and twenty seconds where its parameters are tried in all ways.
    assert time.perf_counter() - start < 2
