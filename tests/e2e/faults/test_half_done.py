"""Others do only half of their part: a shim that never settles, half a body, a stream without an end."""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.e2e.faults.site import Site
from tests.harness import PYTHON, REPOSITORY, WAIT_S, wait_until

pytestmark = pytest.mark.long

CHOICE = {"index": 0, "delta": {"content": "on "}}
EVENT = b"data: " + json.dumps({"model": "demo-model", "choices": [CHOICE]}).encode() + b"\n\n"
# What some providers keep a connection alive with; there may be any amount of it.
COMMENT = b": " + b"x" * 60_000 + b"\n\n"


# A shim that reserves a call, says so, and then lives without a word.
SILENT_SHIM = """\
import secrets, sys, time
from pathlib import Path
from tests.e2e.raw_daemon import Place, Shim
shim = Shim(Place(Path(sys.argv[1])))
shim.open("r", max_calls=1)
print(shim.reserve(secrets.token_bytes(16)).WhichOneof("kind"), flush=True)
time.sleep(600)
"""

# The bound of the test, and what the buffers of both ends may have on top.
MOST_BYTES = 64 << 20


class Endless(BaseHTTPRequestHandler):
    """A provider whose streams do not end. How many are under way, and how many were cut, is counted."""

    protocol_version = "HTTP/1.1"
    origin = ""
    sent_bytes = 0
    pause_s = 0.0
    begun = threading.Semaphore(0)
    cut = threading.Semaphore(0)
    stop = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.begun.release()
        event = EVENT if self.pause_s else COMMENT
        part = b"%x\r\n%s\r\n" % (len(event), event)
        try:
            while not self.stop.wait(self.pause_s):
                self.wfile.write(part)
                type(self).sent_bytes += len(part)
        except OSError:
            self.cut.release()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        """Says nothing."""


@pytest.fixture
def endless() -> Iterator[type[Endless]]:
    class Own(Endless):
        begun = threading.Semaphore(0)
        cut = threading.Semaphore(0)
        stop = threading.Event()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    server.daemon_threads = True
    Own.origin = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Own
    Own.stop.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_shim_that_never_settles_keeps_its_call_open_until_it_is_ended_and_the_hold_stays(site: Site) -> None:
    site.serve()
    program = str(site.workspace.write("silent.py", SILENT_SHIM))
    silent = site.workspace.start(PYTHON, program, str(site.socket.parent), environ={"PYTHONPATH": str(REPOSITORY)})
    assert silent.stdout is not None
    assert silent.stdout.readline() == "admitted\n"
    other = site.shim()
    other.open("r")

    account = site.account()
    assert (account["open_calls"], account["unresolved_calls"]) == (1, 0)
    silent.kill()
    wait_until(lambda: site.account()["unresolved_calls"] == 1, "its call is unresolved")
    refused = other.reserve(secrets.token_bytes(16)).refused
    assert "leashctl resolve" in refused.detail
    [call] = site.account()["unresolved"]
    resolved = site.leashctl("resolve", "r", call["call"], "--release")
    assert resolved.returncode == 0, resolved.stderr
    assert other.reserve(secrets.token_bytes(16)).HasField("admitted")
    other.close()


def test_half_a_body_is_answered_after_a_while_and_is_no_call(site: Site) -> None:
    site.serve()
    site.open_gateway("--idle-timeout", "1s")
    assert site.gateway is not None
    parts = urlsplit(site.gateway.origin)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: leash\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=WAIT_S) as connection:
        connection.sendall(head + b'{"model": "demo-')
        said = b""
        while part := connection.recv(65_536):  # and then it is closed
            said += part

    assert said.startswith(b"HTTP/1.1 400 "), said
    assert b'"body_timeout"' in said
    assert b'"leash_gateway"' in said
    assert b"nothing of the request's body came for 1 s" in said
    assert json.loads(site.leashctl("ps", "--all", "--json").stdout) == []
    site.until_it_works()
    site.until_recorded(calls=site.served)


def _leave_a_stream(site: Site, endless: type[Endless]) -> None:
    with site.connected() as connection:
        answer = site.begin(connection, streams=True)
        assert answer.status == 200
        assert endless.begun.acquire(timeout=WAIT_S)
        assert answer.read(10)
        assert site.account()["open_calls"] == 1


@pytest.mark.parametrize(
    ("bound", "pause_s"),
    [
        pytest.param("DRAIN_BYTES = 4 << 20", 0.0, id="at full speed"),
        pytest.param("DRAIN_SECONDS = 1.0", 0.05, id="slowly"),
    ],
)
def test_a_stream_without_an_end_is_read_within_bounds_when_its_agent_has_left(
    site: Site, endless: type[Endless], bound: str, pause_s: float
) -> None:
    """Nobody wants to wait for the bounds as they are, so they are less here."""
    endless.pause_s = pause_s
    (site.workspace.root / "planted").mkdir()
    site.workspace.write("planted/sitecustomize.py", f"import leash_shim.flow\nleash_shim.flow.{bound}\n")
    site.chosen["PYTHONPATH"] = str(site.workspace.root / "planted")
    site.serve()
    site.open_gateway(upstream=endless.origin)
    with site.connected() as connection:
        answer = site.begin(connection, streams=True)
        assert answer.status == 200
        assert endless.begun.acquire(timeout=WAIT_S)
        assert answer.read(10)
        assert site.account()["open_calls"] == 1

    assert endless.cut.acquire(timeout=WAIT_S)
    assert endless.sent_bytes < MOST_BYTES
    account = site.until_recorded(calls=0, unresolved=1)
    assert account["unresolved"][0]["call"]


def test_a_stream_without_an_end_is_cut_by_a_kill(site: Site, endless: type[Endless]) -> None:
    endless.pause_s = 0.05
    site.serve()
    site.open_gateway(upstream=endless.origin)
    with site.connected() as connection:
        answer = site.begin(connection, streams=True)
        assert answer.read(10)
        assert site.leashctl("kill", "r", "--now").returncode == 0
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert endless.cut.acquire(timeout=WAIT_S)
    site.until_recorded(calls=0, unresolved=1)
    assert site.end_daemon(signal.SIGTERM) == 0
