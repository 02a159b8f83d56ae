"""The splice that asks for the usage of a stream, and what takes its traces out of the answer.

The rule: bytes elsewhere are untouched, and where a text is odd in any way (duplicate keys, another type than the API
has) all of it is. What goes out is the input with one insertion or replacement; nothing is serialised anew.

OpenAI's ``stream_options.include_usage`` changes a stream in two ways: an extra chunk before the end has the usage and
no choices, and every other chunk gets a member ``"usage":null``. Both are taken out again, so that the client gets
what the provider would have sent without the option.
"""

from __future__ import annotations

import re

from leash_shim.meter import json_text
from leash_shim.meter.wire import Prepared

_OPTION = b'"include_usage":true'

# A member "usage":null that must be one of the outermost object, since only plain members (of a string without
# escapes, a number or a word) stand between it and the object's end. Every chunk of a stream has it there, and it is
# found so in a tenth of the time that it takes to locate all members.
_PLAIN = rb'"[^"\\]*":(?:"[^"\\]*"|[^"\\{}\[\],:\s]+)'
_NULL_MEMBER = b',"usage":null'
_NULL_AT_END = re.compile(_NULL_MEMBER + rb"((?:," + _PLAIN + rb")*\})\Z")


def prepare(body: bytes, *, inject: bool) -> Prepared:
    """The body with the option set where a stream would come without its usage, and whether it was."""
    spliced = splice_include_usage(body) if inject else None
    return Prepared(body, False) if spliced is None else Prepared(spliced, True)


def splice_include_usage(body: bytes) -> bytes | None:
    """The request body with the option set; None where it does not stream, has the option, or is odd."""
    if b'"stream"' not in body:
        return None
    members = json_text.locate_members(body)
    if members is None or "stream" not in members:
        return None
    stream = members["stream"]
    if body[stream.value_start : stream.value_end] != b"true":
        return None
    options = members.get("stream_options")
    if options is None:
        start = body.index(b"{") + 1
        return body[:start] + b'"stream_options":{' + _OPTION + b"}," + body[start:]
    value = body[options.value_start : options.value_end]
    spliced = b"{" + _OPTION + b"}" if value == b"null" else _with_option(value)
    if spliced is None:
        return None
    return body[: options.value_start] + spliced + body[options.value_end :]


def _with_option(options: bytes) -> bytes | None:
    members = json_text.locate_members(options)
    if members is None:
        return None
    member = members.get("include_usage")
    if member is None:
        start = options.index(b"{") + 1
        return options[:start] + _OPTION + (b"," if members else b"") + options[start:]
    if options[member.value_start : member.value_end] not in (b"false", b"null"):
        return None
    return options[: member.value_start] + b"true" + options[member.value_end :]


def visible_chunk(chunk: bytes) -> bytes | None:
    """What the client sees of a chunk that was asked for with the option; None for the extra chunk.

    ``chunk`` is one whole JSON object. The extra chunk is one with a usage, no choices and no error. Some other
    vendors send ``"usage":null`` unasked: their clients miss it then, which none can tell from a null.
    """
    if b'"usage"' not in chunk or b'"choices"' not in chunk:
        return chunk
    if match := _NULL_AT_END.match(chunk, max(chunk.rfind(_NULL_MEMBER), 0)):
        return chunk[: match.start()] + match[1]
    values = json_text.read_members(chunk)
    if values is None or "usage" not in values or "choices" not in values:
        return chunk
    if values["usage"] == b"null":
        return _without_usage(chunk)
    if not values["usage"].startswith(b"{") or values.get("error", b"null") != b"null":
        return chunk
    return None if json_text.parse(values["choices"]) in ([], None) else chunk


def _without_usage(chunk: bytes) -> bytes:
    """The chunk without its member ``usage``, and the comma before it, or after it where it is the first."""
    members = json_text.locate_members(chunk)
    if members is None:
        return chunk
    usage = members["usage"]
    before = [member.value_end for member in members.values() if member.key_start < usage.key_start]
    if before:
        return chunk[: max(before)] + chunk[usage.value_end :]
    after = min(member.key_start for member in members.values() if member.key_start > usage.key_start)
    return chunk[: usage.key_start] + chunk[after:]
