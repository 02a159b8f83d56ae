"""Another user of the host, and a page in a browser, before the port of a wrapped program (docs/security.md)."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from leash_shim.families import FAMILIES
from tests.e2e.threats.doors import RUN, Door, wrapped
from tests.harness import LEASHCTL, PYTHON, Workspace, wait_until

NOBODY = 65534

# Everything that a program is given to know where leash is.
TELL = """\
import json, os, sys
print(json.dumps(dict(os.environ)), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def victim() -> Iterator[Door]:
    with wrapped() as opened:
        yield opened


@contextmanager
def as_nobody() -> Iterator[None]:
    """This process as another user, as far as files, sockets and /proc are concerned."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def secret_of(door: Door) -> str:
    return door.base.decode().split("/")[1]


def test_a_request_without_the_secret_goes_nowhere(victim: Door) -> None:
    secret = secret_of(victim).encode()
    assert len(secret) == 32
    chat = b"/openai/v1/chat/completions"
    paths = {
        "none": chat,
        "none, and no mount": b"/v1/chat/completions",
        "the root": b"/",
        "a shorter one": b"/" + secret[:-1] + chat,
        "a longer one": b"/" + secret + b"0" + chat,
        "another one": b"/" + secret[::-1] + chat,
        "in capitals": b"/" + secret.upper() + b"X" + chat,
        "escaped": b"/%%%02x" % secret[0] + secret[1:] + chat,
        "behind dots": b"/x/../" + secret + chat,
        "behind a slash": b"//" + secret + chat,
        "behind the mount": b"/openai/" + secret + b"/v1/chat/completions",
        "in the query": chat + b"?secret=" + secret,
    }
    attacks = {name: victim.request(path) for name, path in paths.items()}
    attacks["in a header"] = victim.request(
        chat, fields=b"X-Leash-Token: %s\r\nAuthorization: Bearer %s\r\n" % (secret, secret)
    )
    answers = victim.refuses(attacks, 404)
    assert {answer.code for answer in answers} == {"unknown_address"}
    assert not [answer for answer in answers if secret in answer.raw]


def test_a_page_in_a_browser_does_not_have_it_either(victim: Door) -> None:
    # No browser asks before it sends this, and a name of the page's own may lead to the loopback.
    fields = b"Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n"
    request = victim.request(b"/openai/v1/chat/completions", fields=fields)
    page = request.replace(b"Host: leash", b"Host: rebound.evil.example", 1).replace(
        b"application/json", b"text/plain", 1
    )
    victim.refuses({"a form": page, "a look": victim.request(b"/openai/v1/models", method=b"GET", fields=fields)}, 404)


def test_every_address_that_the_program_is_given_has_it(workspace: Workspace) -> None:
    told = []
    given = {
        "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com",
        "OLLAMA_HOST": "gpu:1/below",
        "VLLM_BASE_URL": "http://v/v1",
    }
    program = str(workspace.write("tell.py", TELL))
    for _ in range(2):
        ended = workspace.leashctl("wrap", "--max-cost", "0", "--", PYTHON, program, environ=given)
        environ = json.loads(ended.stdout)
        addresses = {name: urlsplit(value) for name, value in environ.items() if value.startswith("http://127.0.0.1:")}
        assert addresses.keys() >= {
            variable for family in FAMILIES if family.default_url for variable in family.variables
        } - {"OPENAI_API_BASE"}
        assert addresses.keys() >= given.keys()
        [secret] = {address.path.split("/")[1] for address in addresses.values()}
        told.append(secret)
    assert [len(secret) for secret in told] == [32, 32]
    assert told[0] != told[1]


def test_the_secret_is_written_nowhere() -> None:
    with wrapped() as door:
        secret = secret_of(door)
        shown = [
            door.ask(door.request(path)).raw for path in (door.path, b"/x", door.base + b"/../x", door.base + b"/v1/x")
        ]
        door.ask(b"GET /%s HTTP/9\r\n\r\n" % secret.encode())
        listed = [word for process in psutil.process_iter() for word in _command(process)]
        assert [word for word in listed if RUN in word]
        said = [door.workspace.leashctl(*command).stdout for command in (("ps", "--json"), ("inspect", RUN, "--json"))]
        assert door.process.stdin is not None
        door.process.stdin.close()
        assert door.process.stderr is not None
        said.append(door.process.stderr.read())
        assert "settled" in said[-1]  # the log at debug level
        written = {str(path): path.read_bytes() for path in door.workspace.root.rglob("*") if path.is_file()}
        assert [path for path in written if path.endswith("leash.db")]
    assert not [text for text in (*said, *listed) if secret in text]
    assert not [path for path, content in written.items() if secret.encode() in content]
    assert not [answer for answer in shown if secret.encode() in answer]
    assert secret.encode() not in door.provider.received


def test_another_user_reads_no_environment(victim: Door) -> None:
    program = _program(victim)
    for pid in (victim.process.pid, program.pid):
        for name in ("environ", "mem", "maps"):
            with as_nobody(), pytest.raises(PermissionError):
                Path(f"/proc/{pid}/{name}").read_bytes()
    with as_nobody():
        answer = victim.ask(victim.request(b"/openai/v1/chat/completions"))
    assert (answer.status, answer.code) == (404, "unknown_address")


def test_another_user_opens_no_socket_and_no_file(victim: Door) -> None:
    root = victim.workspace.root
    made = [path for place in ("run", "state") for path in (root / place).rglob("*")]
    sockets = [path for path in made if path.is_socket()]
    files = [path for path in made if path.is_file()]
    assert {path.name for path in sockets} == {"leashd.sock", "control.sock", "ticket.sock"}
    assert {path.name for path in files} >= {"leash.db", "leash.db.log", "leash.db.pid", "start.lock"}
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in sockets + files} == dict.fromkeys(
        sockets + files, 0o600
    )
    directories = [path for path in made if path.is_dir()]
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in directories} == dict.fromkeys(directories, 0o700)

    # Each by itself keeps others out, where a directory above has been opened.
    opened = [root, root / "run", root / "state", *directories]
    for directory in opened:
        directory.chmod(0o755)
    try:
        for path in sockets:
            with as_nobody(), socket.socket(socket.AF_UNIX) as client, pytest.raises(PermissionError):
                client.connect(str(path))
        for path in files:
            with as_nobody(), pytest.raises(PermissionError):
                path.read_bytes()
    finally:
        for directory in opened:
            directory.chmod(0o700)


@pytest.mark.parametrize("squat", ["a link", "a directory of another user", "a directory for all", "a file"])
def test_a_runtime_directory_that_somebody_else_has_made_is_refused(workspace: Workspace, squat: str) -> None:
    directory = workspace.root / "run" / "leash"
    match squat:
        case "a link":
            elsewhere = workspace.root / "elsewhere"
            elsewhere.mkdir(mode=0o700)
            directory.symlink_to(elsewhere)
        case "a directory of another user":
            if os.geteuid() != 0:
                pytest.skip("only root can make a directory of another user")
            directory.mkdir(mode=0o700)
            os.chown(directory, NOBODY, NOBODY)
        case "a directory for all":
            directory.mkdir()
            directory.chmod(0o777)
        case _:
            directory.touch()
    refused = workspace.leashctl("wrap", "--max-cost", "0", "--", "echo", "ran")
    assert refused.returncode not in (0, 3)
    assert refused.stdout == ""
    assert str(directory) in refused.stderr


@pytest.mark.parametrize("name", ["l.db.log", "l.db.pid"])
def test_a_link_beside_the_ledger_has_no_other_file_written(workspace: Workspace, name: str) -> None:
    shared = workspace.root / "shared"
    shared.mkdir()
    precious = workspace.write("precious", "mine")
    (shared / name).symlink_to(precious)
    refused = workspace.run(
        LEASHCTL, "wrap", "--db", str(shared / "l.db"), "--max-cost", "0", "--run", "a", "--", "echo", "ran"
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert precious.read_text() == "mine"


def test_a_link_in_the_place_of_the_lock_is_refused(workspace: Workspace) -> None:
    # Where the private directory has been opened to all by its own user.
    assert workspace.leashctl("wrap", "--max-cost", "0", "--", "true").returncode == 0
    workspace.stop_daemons()
    [lock] = (workspace.root / "run").rglob("start.lock")
    lock.parent.chmod(0o777)
    refused = workspace.leashctl("wrap", "--max-cost", "0", "--run", "a", "--", "echo", "ran")
    lock.parent.chmod(0o700)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "can be written by others" in refused.stderr


def test_when_wrap_has_gone_the_port_serves_nobody() -> None:
    with wrapped() as door:
        program = _program(door)
        door.process.kill()
        door.process.wait()
        with pytest.raises(ConnectionRefusedError):
            door.ask(door.request())
        assert door.provider.received == b""
        program.kill()
        wait_until(lambda: not program.is_running(), "the program has gone")


def _program(door: Door) -> psutil.Process:
    children = psutil.Process(door.process.pid).children()
    return next(child for child in children if "idle.py" in " ".join(_command(child)))


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
