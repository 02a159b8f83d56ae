"""The reading of a trace by itself: what it puts together, and what it refuses to make anything of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.power.answers import admitted
from tests.e2e.power.ledger_writes import LedgerWrites
from tests.e2e.power.trace import TraceError, read_trace
from tests.e2e.power.write_order import check_order


def _hex(text: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in text) + '"'


LEDGER = "/tmp/x/leash.db"
OPENED = [
    f"7 openat(AT_FDCWD, {_hex(LEDGER.encode())}, O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 14",
    f"7 openat(AT_FDCWD, {_hex(LEDGER.encode())}, O_WRONLY|O_DSYNC|O_CLOEXEC) = 15",
]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def _write(trace: Path, *lines: str) -> Path:
    trace.write_text("\n".join((*OPENED, *lines)) + "\n")
    return trace


def test_a_call_in_two_lines_is_put_together_with_both_their_places(trace: Path) -> None:
    _write(
        trace,
        "7 fdatasync(14 <unfinished ...>",
        "12345 recvmsg(20,  <unfinished ...>",
        f"12345 <... recvmsg resumed>{{msg_name=NULL, msg_iov=[{{iov_base={_hex(b'abc')}, iov_len=8192}}]}}, 0) = 3",
        "7 <... fdatasync resumed>)            = 0",
        "7 recvmsg(20, {msg_namelen=0}, 0) = -1 EAGAIN (Resource temporarily unavailable)",
        "7 +++ exited with 0 +++",
    )
    calls = read_trace(trace)[2:]

    assert [(call.name, call.result, call.entered, call.returned) for call in calls] == [
        ("recvmsg", 3, 4, 5),
        ("fdatasync", 0, 3, 6),
        ("recvmsg", -1, 7, 7),
    ]
    assert calls[0].data == b"abc"


def test_writes_are_placed_and_are_durable_as_their_descriptors_and_syncs_say(trace: Path) -> None:
    _write(
        trace,
        "7 lseek(14, 12288, SEEK_SET) = 12288",
        f"7 writev(14, [{{iov_base={_hex(b'ab')}, iov_len=2}}, {{iov_base={_hex(b'c')}, iov_len=1}}], 2) = 3",
        f"7 pwrite64(14, {_hex(b'page')}, 4, 8192) = 4",
        "7 fdatasync(14) = 0",
        f"7 pwrite64(15, {_hex(b'meta')}, 4, 32) = 4",
        f"7 pwrite64(14, {_hex(b'last')}, 4, 8192) = 4",
        f"7 pwrite64(99, {_hex(b'else')}, 4, 8192) = 4",
    )
    writes = LedgerWrites(read_trace(trace), LEDGER)

    assert [(write.offset, write.data) for write in writes.writes] == [
        (12288, b"abc"),
        (8192, b"page"),
        (32, b"meta"),
        (8192, b"last"),
    ]
    assert [writes.durable_at(write) for write in writes.writes] == [6, 6, 7, None]
    [commit] = writes.commits()
    assert (len(commit.pages), commit.meta.data) == (2, b"meta")


def test_a_string_that_was_cut_is_refused(trace: Path) -> None:
    calls = read_trace(_write(trace, f"7 pwrite64(14, {_hex(b'pa')}..., 4, 8192) = 4"))

    with pytest.raises(TraceError, match="larger -s"):
        LedgerWrites(calls, LEDGER)


def test_fewer_bytes_than_a_write_says_are_refused(trace: Path) -> None:
    calls = read_trace(_write(trace, f"7 pwrite64(14, {_hex(b'pa')}, 4, 8192) = 4"))

    with pytest.raises(TraceError, match="2 bytes of 4"):
        LedgerWrites(calls, LEDGER)


@pytest.mark.parametrize("line", ["what is this", "7 <... fdatasync resumed>) = 0"])
def test_a_line_that_does_not_fit_is_refused(trace: Path, line: str) -> None:
    with pytest.raises(TraceError, match="line 3"):
        read_trace(_write(trace, line))


def test_a_trace_without_writes_or_without_reserves_shows_nothing(trace: Path) -> None:
    with pytest.raises(TraceError, match="nothing was written"):
        LedgerWrites(read_trace(_write(trace)), LEDGER)
    _write(trace, f"7 pwrite64(15, {_hex(b'meta')}, 4, 32) = 4")
    assert admitted(read_trace(trace)) == []
    with pytest.raises(TraceError, match="no reserve"):
        check_order(trace, Path(LEDGER))
