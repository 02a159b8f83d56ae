"""leashd whose stderr is the journal: records with fields, as `journalctl LEASH_RUN=…` finds them."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.harness import PYTHON, Workspace, wait_until

# The journal's own socket is one path for the whole host; for this daemon it is another.
DAEMON = """
import sys
from pathlib import Path
import leashd.journal
leashd.journal.JOURNAL_SOCKET = Path(sys.argv.pop(1))
from leashd.main import main
main()
"""


class FakeJournal:
    """Where journald would listen, and the stream that a service has as its stderr."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = workspace.root / "journal"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listener.bind(str(self.path))
        self.listener.setblocking(False)
        self.stream, self.reader = socket.socketpair()
        self.reader.setblocking(False)
        self.records: list[list[tuple[str, str]]] = []

    @property
    def variable(self) -> str:
        """JOURNAL_STREAM, as the service manager sets it."""
        status = os.fstat(self.stream.fileno())
        return f"{status.st_dev}:{status.st_ino}"

    def find(self, **fields: str) -> list[tuple[str, str]] | None:
        """The first record that has all these fields, as journalctl matches them."""
        while True:
            try:
                datagram = self.listener.recv(65_536).decode()
            except BlockingIOError:
                break
            self.records.append([tuple(line.split("=", 1)) for line in datagram.splitlines()])  # type: ignore[misc]
        return next((each for each in self.records if all(field in each for field in fields.items())), None)

    def close(self) -> None:
        for each in (self.listener, self.stream, self.reader):
            each.close()


@pytest.fixture
def journal(workspace: Workspace) -> Iterator[FakeJournal]:
    created = FakeJournal(workspace)
    yield created
    created.close()


def test_what_happens_to_a_run_is_found_by_its_name(workspace: Workspace, journal: FakeJournal) -> None:
    sock = str(workspace.root / "run" / "j.sock")
    daemon = subprocess.Popen(
        [PYTHON, "-c", DAEMON, str(journal.path), "--ledger", str(workspace.root / "j.db"), "--socket", sock],
        env=workspace.environ | {"JOURNAL_STREAM": journal.variable},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=journal.stream,
    )
    try:
        wait_until(lambda: journal.find(LEASH_EVENT="ready"), "the daemon is ready")
        assert workspace.leashctl("wrap", "--socket", sock, "--run", "nightly", "--", "true").returncode == 0
        assert workspace.leashctl("kill", "--socket", sock, "nightly").returncode == 0
        wait_until(lambda: journal.find(LEASH_RUN="nightly", LEASH_REASON="kill_switch"), "the kill is in the journal")
    finally:
        daemon.terminate()
        assert daemon.wait(30) == 0

    record = dict(journal.find(LEASH_EVENT="run_killed") or [])
    assert record == {
        "MESSAGE": f"run_killed run=nightly reason=kill_switch uid={os.getuid()}",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "leashd",
        "LEASH_EVENT": "run_killed",
        "LEASH_RUN": "nightly",
        "LEASH_REASON": "kill_switch",
        "LEASH_UID": str(os.getuid()),
    }
    with pytest.raises(BlockingIOError):
        journal.reader.recv(1)  # nothing is told twice
