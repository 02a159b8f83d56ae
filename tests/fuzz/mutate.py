"""Changes to the JSON in a body, which a mutation of bytes mostly breaks."""

from __future__ import annotations

import json
from random import Random
from typing import Any

_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 2**31, 2**53, 2**53 + 1, 2**63, 2**64, 10**40, 1e300, float("inf")),
    *(
        "",
        "x",
        "0",
        "12",
        "error",
        "search",
        "\ud83c",
        "x" * 300,
        "\u0000",
        [],
        [[]],
        {},
        [None],
        {"": {}},
        {"type": []},
    ),
)


def mutate_json(body: bytes, random: Random) -> bytes:
    """The body with another value in one place of one of its JSON values; as it is where it has none."""
    spans = list(_json_spans(body))
    if not spans:
        return body
    start, end, value = random.choice(spans)
    try:
        changed = json.dumps(_changed(value, random), separators=(",", ":"))
    except RecursionError:
        return body
    return body[:start] + changed.encode() + body[end:]


def _json_spans(body: bytes) -> list[tuple[int, int, Any]]:
    """Where the JSON values of a body stand: it is one itself, or has one in each of its lines."""
    whole = _loaded(body)
    if whole is not None:
        return [(0, len(body), whole)]
    spans = []
    start = 0
    for line in body.splitlines(keepends=True):
        opening = line.find(b"{")
        value = _loaded(line[opening:]) if opening >= 0 else None
        if value is not None:
            spans.append((start + opening, start + len(line.rstrip()), value))
        start += len(line)
    return spans


def _loaded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _changed(value: Any, random: Random) -> Any:
    """The value with one of its places, at random, put out, said twice, renamed or replaced."""
    if not isinstance(value, (dict, list)) or not value or random.random() < 0.1:
        return random.choice(_ODD)
    if isinstance(value, list):
        at = random.randrange(len(value))
        match random.randrange(6):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value, value[at]]
            case _:
                return [*value[:at], _changed(value[at], random), *value[at + 1 :]]
    key = random.choice(list(value))
    match random.randrange(8):
        case 0:
            return {other: each for other, each in value.items() if other != key}
        case 1:
            return value | {random.choice(list(value)): value[key]}
        case 2:
            return {random.choice(("type", "usage", "error", "index", "x", "")): value[key]} | value
        case _:
            return value | {key: _changed(value[key], random)}
