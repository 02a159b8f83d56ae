"""JSON that no provider and no client sends, in every place of the JSON that they do send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.exchanges.exchange import dump

_ODD: tuple[Any, ...] = (None, True, -1, 1.5, 2**70, float("nan"), "", "\ud800", [], [[]], {}, {"x": [{}]}, 2**53, "x")


def odd_bodies(body: bytes) -> Iterator[bytes]:
    """The body with another value in one place of its JSON, be it whole, events or lines."""
    try:
        whole = json.loads(body)
    except ValueError:
        yield from _odd_lines(body)
    else:
        yield from map(dump, _variants(whole))


def _odd_lines(body: bytes) -> Iterator[bytes]:
    lines = body.splitlines(keepends=True)
    for at, line in enumerate(lines):
        start = line.find(b"{")
        if start < 0:
            continue
        try:
            value = json.loads(line[start:])
        except ValueError:
            continue
        for variant in _variants(value):
            yield b"".join((*lines[:at], line[:start], dump(variant), b"\n", *lines[at + 1 :]))


def _variants(value: Any) -> Iterator[Any]:
    """The value with one place in it replaced, and then the others in turn."""
    yield from _ODD
    if isinstance(value, dict):
        for key, each in value.items():
            yield {other: kept for other, kept in value.items() if other != key}
            for variant in _variants(each):
                yield value | {key: variant}
    elif isinstance(value, list):
        for at, each in enumerate(value):
            for variant in _variants(each):
                yield [*value[:at], variant, *value[at + 1 :]]
