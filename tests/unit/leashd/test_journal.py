from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from leashd.journal import MAX_VALUE_BYTES, Journal, encoded, is_stderr_the_journal


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    # pytest's own directories may be too long for a socket's name.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("j")
        listener.settimeout(10)
        yield listener


def test_a_record_is_one_datagram_of_fields() -> None:
    assert encoded([("MESSAGE", "stopped"), ("LEASH_RUN", "a/n"), ("LEASH_RUN", "n")]) == (
        b"MESSAGE=stopped\nLEASH_RUN=a/n\nLEASH_RUN=n\n"
    )


def test_a_value_with_a_newline_can_forge_no_field() -> None:
    value = b"x\nLEASH_RUN=other"
    assert encoded([("MESSAGE", value.decode())]) == b"MESSAGE\n" + struct.pack("<Q", len(value)) + value + b"\n"


def test_a_long_value_is_cut() -> None:
    assert len(encoded([("MESSAGE", "x" * 2 * MAX_VALUE_BYTES)])) == MAX_VALUE_BYTES + len("MESSAGE=\n")


@pytest.mark.parametrize("name", ["lower", "_TRUSTED", "A B", "A=B", "", "A\nB"])
def test_a_name_that_the_journal_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a field"):
        encoded([(name, "x")])


def test_it_is_sent(journald: socket.socket) -> None:
    with closing(Journal(Path("j"))) as journal:
        assert journal.send([("MESSAGE", "hello")])
    assert journald.recv(1024) == b"MESSAGE=hello\n"


def test_a_journal_that_takes_nothing_is_not_waited_for(journald: socket.socket) -> None:
    taken = 0
    with closing(Journal(Path("j"))) as journal:
        while journal.send([("MESSAGE", "x" * 10_000)]):
            taken += 1
            assert taken < 10_000
    with closing(Journal(Path("nobody"))) as journal:
        assert not journal.send([("MESSAGE", "hello")])
    assert journald.recv(16)


def test_a_line_that_nobody_reads_is_not_waited_for() -> None:
    lines = "from leashd.journal import Journal; print({Journal().say('x' * 999 + chr(10)) for _ in range(10_000)})"
    command = [sys.executable, "-c", lines]
    stderr, reader = socket.socketpair()
    with stderr, reader:
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=stderr, timeout=60)
        assert (done.returncode, done.stdout) == (0, b"{True}\n")
        assert reader.recv(1000) == b"x" * 999 + b"\n"
    done = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"{False}\n", b""), "a pipe is written to as any program does"


def test_stderr_is_the_journal_only_where_the_variable_names_its_inode() -> None:
    status = os.fstat(2)
    assert is_stderr_the_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert not is_stderr_the_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
    assert not is_stderr_the_journal({})
