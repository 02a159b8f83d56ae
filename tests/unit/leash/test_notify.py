"""What is sent to systemd, over a real socket; sd_notify(3) is the protocol."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from leash.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The socket of a service manager, and how it names it."""
    if request.param == "path":
        address = name = str(tmp_path / "notify")
    else:
        name = f"@leash-test-{secrets.token_hex(8)}"
        address = f"\0{name[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        try:
            receiver.bind(address)
        except OSError:
            pytest.skip("this system has no abstract sockets")
        receiver.settimeout(10)
        yield receiver, name


def test_a_life_is_told_from_its_start_to_its_end(manager: tuple[socket.socket, str]) -> None:
    receiver, name = manager
    environ = {"NOTIFY_SOCKET": name}
    notifier = Notifier.taken_from(environ)
    assert environ == {}

    notifier.ready("serving\nin two lines")
    assert receiver.recv(4096) == b"READY=1\nSTATUS=serving in two lines"
    notifier.status("x" * 1000)
    assert receiver.recv(4096) == b"STATUS=" + b"x" * 400
    notifier.reloading()
    assert receiver.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    notifier.alive()
    assert receiver.recv(4096) == b"WATCHDOG=1"
    notifier.stopping("bye")
    assert receiver.recv(4096) == b"STOPPING=1\nSTATUS=bye"


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_where_it_watches_this_process(environ: dict[str, str], interval_s: float | None) -> None:
    environ = {"NOTIFY_SOCKET": "/nonexistent/notify", "HOME": "/h", **environ}
    assert Notifier.taken_from(environ).watchdog_interval_s == interval_s
    assert environ == {"HOME": "/h"}


def test_nobody_is_told_where_nobody_has_asked_and_a_manager_that_is_gone_is_no_error() -> None:
    Notifier.taken_from({}).ready("serving")
    Notifier.taken_from({"NOTIFY_SOCKET": "/nonexistent/notify"}).ready("serving")
