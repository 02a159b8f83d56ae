"""The life of a gateway's processes: how they end, by which signal and by which accident, and what they take anew."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import psutil
import pytest
import trustme

from tests.harness import LEASHCTL, MODEL, WAIT_S, FakeProvider, Gateway, Workspace, wait_until

TOKEN, OTHER_TOKEN = "first-token-oot7Eezei6", "second-token-Ahf3ohng1u"

OPEN = ("--insecure", "--max-cost", "0", "--max-calls", "0")
CALL = {"model": MODEL, "messages": [{"role": "user", "content": "go on"}]}


@contextmanager
def connected(origin: str, context: ssl.SSLContext | None = None) -> Iterator[http.client.HTTPConnection]:
    """A connection that is kept between calls."""
    parts = urlsplit(origin)
    assert parts.hostname
    if context is None:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=WAIT_S)
    else:
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=WAIT_S, context=context)
    with closing(connection):
        yield connection


def begin(
    connection: http.client.HTTPConnection, token: str = "", *, streams: bool = False
) -> http.client.HTTPResponse:
    """The answer to a call, as soon as it begins."""
    headers = {"Content-Type": "application/json"} | ({"X-Leash-Token": token} if token else {})
    connection.request("POST", "/v1/chat/completions", json.dumps(CALL | {"stream": streams}), headers)
    return connection.getresponse()


def status_of(origin: str, token: str = "", context: ssl.SSLContext | None = None) -> int:
    """The status of a call on a connection of its own."""
    with connected(origin, context) as connection:
        answer = begin(connection, token)
        answer.read()
        return answer.status


def ready(gateway: Gateway) -> int:
    """The status of ``/readyz``."""
    with connected(gateway.admin) as connection:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        answer.read()
        return answer.status


def said(gateway: Gateway, pattern: str) -> str:
    """What a gateway says, up to the line that is waited for."""
    assert gateway.process.stderr is not None
    text = ""
    for line in gateway.process.stderr:
        text += line
        if re.search(pattern, line):
            return text
    raise AssertionError(f"it did not say {pattern!r}, but: {text}")


@pytest.fixture
def start(workspace: Workspace) -> Callable[..., Gateway]:
    """Starts a gateway in front of a provider whose streams take a second."""
    provider: list[FakeProvider] = []

    def started(*flags: str, admin: bool = False) -> Gateway:
        provider.append(workspace.fake_provider("--chunks", "20", "--chunk-delay", "50ms"))
        return workspace.gateway(*flags, "--upstream", provider[0].origin, admin=admin)

    return started


def test_a_gateway_that_is_told_to_end_says_so_at_once_and_ends_what_it_began(
    workspace: Workspace, start: Callable[..., Gateway]
) -> None:
    gateway = start(*OPEN, "--workers", "2", "--drain-delay", "500ms", admin=True)
    done = workspace.leashctl("healthcheck", environ={"LEASH_ADMIN": urlsplit(gateway.admin).netloc})
    assert (done.returncode, done.stdout) == (0, "ready\n")
    with connected(gateway.origin) as streaming, connected(gateway.origin) as kept, connected(gateway.origin) as idle:
        begin(kept).read()
        begin(idle).read()
        answer = begin(streaming, streams=True)
        gateway.process.terminate()
        wait_until(lambda: ready(gateway) == 503, "it is not ready any more")
        # During the delay it takes whoever comes all the same.
        assert status_of(gateway.origin) == 200
        assert answer.read().rstrip().endswith(b"[DONE]")
        # Whoever had a connection still has his answer, and then connects anew.
        last = begin(kept)
        last.read()
        assert (last.status, last.getheader("connection")) == (200, "close")
        gateway.process.wait(timeout=WAIT_S)
    assert gateway.process.returncode == 0
    with pytest.raises(ConnectionRefusedError):
        status_of(gateway.origin)


def test_a_second_signal_cuts(workspace: Workspace, start: Callable[..., Gateway]) -> None:
    gateway = start(*OPEN)
    with connected(gateway.origin) as streaming:
        answer = begin(streaming, streams=True)
        gateway.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        gateway.process.send_signal(signal.SIGINT)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert gateway.process.wait(timeout=WAIT_S) == 0
    assert workspace.account("default")["unresolved_calls"] == 1


def test_a_reload_takes_all_files_or_none(workspace: Workspace, start: Callable[..., Gateway]) -> None:
    before, after = trustme.CA(), trustme.CA()
    certificate, key, tokens = (workspace.root / name for name in ("cert.pem", "key.pem", "tokens"))

    def certify(authority: trustme.CA) -> ssl.SSLContext:
        issued = authority.issue_cert("127.0.0.1")
        certificate.write_bytes(issued.cert_chain_pems[0].bytes())
        key.write_bytes(issued.private_key_pem.bytes())
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    def write(text: str) -> None:
        tokens.write_text(text)
        tokens.chmod(0o600)

    write(f"team: {TOKEN}\n")
    trusting_before = certify(before)
    gateway = start(
        *("--auth-token-file", str(tokens), "--max-cost", "0", "--workers", "2"),
        *("--tls-cert", str(certificate), "--tls-key", str(key)),
    )
    with connected(gateway.origin, trusting_before) as streaming:
        answer = begin(streaming, TOKEN, streams=True)
        assert answer.status == 200

        write(f"team: {OTHER_TOKEN}\n")
        certificate.write_text("no certificate")
        gateway.process.send_signal(signal.SIGHUP)
        assert "nothing was reloaded" in said(gateway, "cert.pem")
        assert status_of(gateway.origin, TOKEN, trusting_before) == 200
        assert status_of(gateway.origin, OTHER_TOKEN, trusting_before) == 401

        trusting_after = certify(after)
        gateway.process.send_signal(signal.SIGHUP)
        said(gateway, "reloaded")
        for _ in range(4):
            assert status_of(gateway.origin, OTHER_TOKEN, trusting_after) == 200
            assert status_of(gateway.origin, TOKEN, trusting_after) == 401
        with pytest.raises(ssl.SSLCertVerificationError):
            status_of(gateway.origin, OTHER_TOKEN, trusting_before)

        write("a line of three words\n")
        gateway.process.send_signal(signal.SIGHUP)
        assert f"{tokens}, line 1" in said(gateway, "nothing was reloaded")
        assert status_of(gateway.origin, OTHER_TOKEN, trusting_after) == 200
        assert answer.read().rstrip().endswith(b"[DONE]")
    gateway.stop()


def test_a_worker_that_is_killed_is_replaced_and_who_waited_for_it_is_served(start: Callable[..., Gateway]) -> None:
    gateway = start(*OPEN)
    [worker] = gateway.workers()
    worker.kill()
    said(gateway, r"worker 0 .* was ended by signal 9")
    assert status_of(gateway.origin) == 200
    assert gateway.workers() != [worker]
    gateway.stop()


def test_workers_whose_supervisor_is_killed_end_their_calls_and_leave(start: Callable[..., Gateway]) -> None:
    gateway = start(*OPEN, "--workers", "2")
    workers = gateway.workers()
    with connected(gateway.origin) as streaming:
        answer = begin(streaming, streams=True)
        gateway.process.kill()
        assert answer.read().rstrip().endswith(b"[DONE]")
    _, alive = psutil.wait_procs(workers, timeout=WAIT_S)
    assert not alive
    with closing(socket.socket()) as successor:
        successor.bind(("127.0.0.1", urlsplit(gateway.origin).port or 0))


def test_an_address_in_use_is_said_to_be(workspace: Workspace, start: Callable[..., Gateway]) -> None:
    gateway = start(*OPEN, "--workers", "2")
    address = urlsplit(gateway.origin).netloc
    for workers in ("1", "2"):
        done = workspace.leashctl("serve", *OPEN, "--listen", address, "--workers", workers)
        assert done.returncode == 1
        assert done.stderr == f"leash: {address} cannot be listened on: somebody else listens there\n"
    gateway.stop()


def test_a_gateway_without_a_daemon_says_why(workspace: Workspace) -> None:
    done = workspace.leashctl("serve", *OPEN, "--listen", "127.0.0.1:0", "--socket", str(workspace.root / "none.sock"))
    assert done.returncode == 1
    assert f"no leashd answers on {workspace.root / 'none.sock'}" in done.stderr


# What systemd does with a socket that it has bound: it is descriptor 3 of the program, which is told so.
ACTIVATE = """\
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_socket_that_systemd_passes_is_served_by_all_workers(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    program = str(workspace.write("activate.py", ACTIVATE))
    upstream = fake_provider().origin
    process = workspace.start(
        *(sys.executable, program, LEASHCTL, "serve", *OPEN, "--workers", "2", "--upstream", upstream),
    )
    gateway = Gateway("", "", process)
    [origin] = re.findall(r"gateway on (http://\S+), 2 workers", said(gateway, "gateway on"))
    assert status_of(origin) == 200
    gateway.stop()


def test_a_worker_that_is_starting_while_tokens_are_read_again_has_the_new_ones(
    workspace: Workspace, start: Callable[..., Gateway]
) -> None:
    tokens = workspace.write("tokens", f"team: {TOKEN}\n")
    gateway = start("--auth-token-file", str(tokens), "--max-cost", "0", "--max-calls", "0")
    [worker] = gateway.workers()
    worker.kill()
    wait_until(lambda: gateway.workers() not in ([], [worker]), "another one starts")
    workspace.write("tokens", f"team: {OTHER_TOKEN}\n")
    gateway.process.send_signal(signal.SIGHUP)
    said(gateway, "reloaded")

    assert [status_of(gateway.origin, TOKEN) for _ in range(5)] == [401] * 5
    assert status_of(gateway.origin, OTHER_TOKEN) == 200
    gateway.stop()
