"""What strace saw of a process, call by call, with the bytes that went each way.

Made for ``strace -f -xx -s LARGE -o FILE``: one file for all threads, in the order in which they were stopped, and
every string whole and in hexadecimal. A call that another thread's came between stands in two lines, and is put
together here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    *("openat", "close", "rename", "lseek", "pwrite64", "pwritev", "writev", "write"),
    *("fdatasync", "fsync", "sendmsg", "recvmsg"),
)
COMMAND = ("strace", "-D", "-f", "-xx", "-s", "16777216", "-e", "signal=none", "-e", f"trace={','.join(CALLS)}", "-o")

_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)[^=]*$")
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*?) *<unfinished \.\.\.>$")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?)[^=]*$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


class TraceError(Exception):
    """The trace is not what was asked for: nothing can be told from it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call. ``entered`` and ``returned`` are line numbers: they order the calls of all threads."""

    name: str
    arguments: str
    result: int
    entered: int
    returned: int

    @property
    def descriptor(self) -> int:
        """The first argument of a call about a file or a socket."""
        return int(self.arguments.split(",", 1)[0])

    @property
    def strings(self) -> list[bytes]:
        """Every string among the arguments. Raises TraceError for one that strace has cut."""
        strings = []
        for found in _STRING.finditer(self.arguments):
            if found[2]:
                raise TraceError(f"a string of {self.name} was cut: trace with a larger -s")
            strings.append(bytes.fromhex(found[1].replace("\\x", "")))
        return strings

    @property
    def data(self) -> bytes:
        """What was written, sent or received: as many bytes as the call says."""
        return b"".join(self.strings)[: max(0, self.result)]

    @property
    def last_number(self) -> int:
        """The last argument, such as an offset."""
        return int(self.arguments.rsplit(",", 1)[1])


def read_trace(path: Path) -> list[Call]:
    """The calls of a trace that returned, in the order in which they did."""
    with path.open() as lines:
        return list(_calls(lines))


def _calls(lines: Iterator[str]) -> Iterator[Call]:
    begun: dict[str, tuple[str, str, int]] = {}
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\n")
        if found := _WHOLE.match(text):
            if found[4] != "?":
                yield Call(found[2], found[3], int(found[4]), number, number)
        elif found := _BEGUN.match(text):
            begun[found[1]] = (found[2], found[3], number)
        elif found := _RESUMED.match(text):
            name, arguments, entered = begun.pop(found[1], ("", "", 0))
            if name != found[2]:
                raise TraceError(f"line {number} goes on with {found[2]}, which was not begun")
            if found[4] != "?":
                yield Call(name, arguments + found[3], int(found[4]), entered, number)
        elif "+++" not in text and "---" not in text and "= ?" not in text and "<unfinished" not in text:
            raise TraceError(f"line {number} is none of strace's: {text[:200]}")
