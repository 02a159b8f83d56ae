"""How figures of runs are written for people, on a terminal and on a page. Pure.

Everything that came from outside is shown without control characters, which a terminal would obey.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from leash.units import PPM_PER_ONE
from leash.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

_SPARKS = "▁▂▃▄▅▆▇█"


def status_name(account: types_pb2.Account) -> str:
    """The stable outside name of a status, such as ``running``."""
    return types_pb2.Status.Name(account.status).removeprefix("STATUS_").lower()


def reason_name(reason: types_pb2.Reason.ValueType) -> str:
    """The stable outside name of a reason, such as ``cost_budget``."""
    return types_pb2.Reason.Name(reason).removeprefix("REASON_").lower()


def printable(text: str) -> str:
    """The text without the characters that a terminal would obey, each as its escape."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def sparkline(values: Sequence[int]) -> str:
    """Values as a line of bars, the largest as the highest; zero is a blank."""
    most = max(values, default=0)
    if most <= 0:
        return " " * len(values)
    top = len(_SPARKS) - 1
    return "".join(_SPARKS[min(value * top // most, top)] if value > 0 else " " for value in values)


def bar(used_ppm: int, width: int, *, ascii_only: bool = False) -> str:
    """A bar of ``width`` cells, full from a million parts on."""
    used_ppm = min(max(used_ppm, 0), PPM_PER_ONE)
    if ascii_only:
        full = used_ppm * width // PPM_PER_ONE
        return "#" * full + "." * (width - full)
    eighths = used_ppm * width * 8 // PPM_PER_ONE
    full, rest = divmod(eighths, 8)
    partial = "▏▎▍▌▋▊▉"[rest - 1] if rest else ""
    return "█" * full + partial + "░" * (width - full - len(partial))


def percent_text(ppm: int) -> str:
    """Parts per million as whole percents, rounded down: 100% is reached, and not nearly."""
    return f"{ppm // 10_000}%"


def count_text(count: int) -> str:
    """A count in at most five characters: ``980``, ``12.3k``, ``4.1M``."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            shown = count / size
            return f"{shown:.1f}{unit}" if shown < 100 else f"{shown:.0f}{unit}"
    return f"{count}"


def size_text(size_bytes: int) -> str:
    """A size of memory for people: ``74M``, ``1.2G``."""
    mebibytes = size_bytes / (1 << 20)
    return f"{mebibytes:.0f}M" if mebibytes < 1000 else f"{mebibytes / 1024:.1f}G"


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF") for each in text)
