"""The small fields of a ``multipart/form-data`` body, such as its model.

The rule: nothing is copied but the fields that are asked for, and a body that is odd in any way has none of them.
Source: RFC 7578, RFC 2046 section 5.1
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_PARAMETER = re.compile(rb';[ \t]*([^\s=;"]+)=(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*))', re.DOTALL)
_DISPOSITION = b"content-disposition"

# No field that shapes a call is longer; what is longer is a file or a prompt.
_MAX_VALUE_BYTES = 256
# A part's headers, and how many parts there may be: no SDK comes near.
_MAX_HEAD_BYTES = 1_024
_MAX_PARTS = 1_000


def is_multipart(content_type: str) -> bool:
    """Whether a body of this Content-Type has parts."""
    return content_type.strip().lower().startswith("multipart/form-data")


def read_fields(body: bytes, content_type: str, wanted: Collection[str]) -> dict[str, str]:
    """The wanted fields by name, as text; those that are missing or long are left out.

    Readers disagree on a body in which a wanted field stands twice, a part has no readable head, or whose end is
    missing, so that nothing is read of it.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        return {}
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    # The line end before it belongs to a delimiter, but for the first, which may begin the body.
    body = b"\r\n" + body
    start = body.find(delimiter)
    fields: dict[str, str] = {}
    for _ in range(_MAX_PARTS):
        if start < 0:
            return {}
        start += len(delimiter)
        if body.startswith(b"--", start):
            return fields
        end = body.find(delimiter, start)
        head_end = body.find(b"\r\n\r\n", start, start + _MAX_HEAD_BYTES)
        if not 0 <= head_end < end:
            return {}
        name = _field_name(body[start:head_end])
        value = body[head_end + 4 : end] if end - head_end <= _MAX_VALUE_BYTES else b""
        if name in fields:
            return {}
        if name in wanted:
            fields[name] = value.decode("utf-8", "replace")
        start = end
    return {}


def _field_name(head: bytes) -> str:
    """The name of a part by its headers; empty for a file, and for a part without a name."""
    for line in head.split(b"\r\n"):
        header, _, value = line.partition(b":")
        if header.strip().lower() == _DISPOSITION:
            found = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(value)}
            is_file = b"filename" in found or b"filename*" in found
            return "" if is_file else found.get(b"name", b"").decode("latin-1")
    return ""
