"""Clients and daemons of different versions: they talk where they can, and say what to do where they cannot."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leash.client.paths import find_endpoint
from leash.protocol import NEWEST_PROTOCOL, OLDEST_PROTOCOL
from leash.v1 import shim_pb2, types_pb2
from tests.e2e.raw_daemon import Place, Shim
from tests.harness import MODEL, PRICES, PYTHON, FakeProvider, Workspace

# Another version of a program: the same code, which speaks other protocols.
OTHER_VERSION = """
import sys
import leash.protocol
leash.protocol.OLDEST_PROTOCOL, leash.protocol.NEWEST_PROTOCOL = int(sys.argv[1]), int(sys.argv[2])
del sys.argv[1:3]
{change}
from {module} import {program}
{program}()
"""

AGENT = f"""
import json, os, urllib.request
body = json.dumps({{"model": "{MODEL}", "messages": [{{"role": "user", "content": "hi"}}]}}).encode()
headers = {{"Content-Type": "application/json", "Authorization": "Bearer x"}}
request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", body, headers)
print(urllib.request.urlopen(request, timeout=30).status)
"""


@pytest.fixture
def place() -> Iterator[Place]:
    created = Place(Path(tempfile.mkdtemp(prefix="lv-", dir="/tmp")).resolve())
    yield created
    created.close()


def leashctl(oldest: int, newest: int) -> tuple[str, ...]:
    program = OTHER_VERSION.format(module="leashctl.main", program="leashctl", change="")
    return PYTHON, "-c", program, str(oldest), str(newest)


def start_daemon(workspace: Workspace, oldest: int, newest: int, change: str = "") -> subprocess.Popen[str]:
    """A daemon of another version, where the commands of this one look for the user's own."""
    endpoint = find_endpoint(
        socket=None, db=None, environ=workspace.environ, system_socket=workspace.root / "no-system" / "leashd.sock"
    )
    program = OTHER_VERSION.format(module="leashd.main", program="main", change=change)
    daemon = workspace.start(
        *(PYTHON, "-c", program, str(oldest), str(newest)),
        *("--ledger", str(workspace.ledger), "--socket", str(endpoint.socket)),
    )
    assert daemon.stderr is not None
    line = daemon.stderr.readline()
    assert "ready" in line, line + daemon.stderr.read()
    return daemon


@pytest.mark.parametrize(
    ("oldest", "newest"), [(0, NEWEST_PROTOCOL), (OLDEST_PROTOCOL, 99), (1, NEWEST_PROTOCOL), (1, 99)]
)
def test_the_daemon_picks_the_newest_that_both_speak(place: Place, oldest: int, newest: int) -> None:
    place.serve()
    shim = Shim(place, protocol=newest, oldest_protocol=oldest)

    assert shim.greeting.welcome.protocol == NEWEST_PROTOCOL
    assert shim.open().HasField("account")
    shim.close()


@pytest.mark.parametrize(
    ("oldest", "newest", "advice"), [(0, 1, "upgrade this leash, which is the older one"), (98, 99, "`kill {pid}`")]
)
def test_a_peer_with_no_common_protocol_is_told_what_to_do(place: Place, oldest: int, newest: int, advice: str) -> None:
    daemon = place.serve()
    shim = Shim(place, protocol=newest, oldest_protocol=oldest)

    assert shim.greeting.failure.code == shim_pb2.FAILURE_CODE_INVALID
    assert f"(pid {daemon.pid})" in shim.greeting.failure.message
    assert advice.format(pid=daemon.pid) in shim.greeting.failure.message
    shim.close()


def test_a_limit_that_only_a_newer_client_knows_is_refused_and_not_dropped(place: Place) -> None:
    place.serve()
    shim = Shim(place)
    limits = types_pb2.Limits.FromString(types_pb2.Limits(max_calls=5).SerializeToString() + b"\xf8\x3f\x01")
    answer = shim.ask(open_run=shim_pb2.OpenRun(run="r", limits=limits))

    assert answer.failure.code == shim_pb2.FAILURE_CODE_INVALID
    assert "does not know: upgrade and restart it" in answer.failure.message
    shim.close()


def test_a_newer_leashctl_governs_a_run_with_this_daemon(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    assert workspace.leashctl("wrap", "--run", "before", "--", "true").returncode == 0
    prices = str(workspace.write("prices.json", PRICES))
    flags = ("--run", "a", "--prices", prices, "--upstream", fake_provider().origin)
    newer = leashctl(OLDEST_PROTOCOL, NEWEST_PROTOCOL + 1)
    ended = workspace.run(*newer, "wrap", *flags, "--", PYTHON, "-c", AGENT)

    assert (ended.returncode, ended.stdout) == (0, "200\n"), ended.stderr
    assert workspace.account("a")["calls"] == 1


def test_an_older_daemon_is_named_by_its_pid_and_the_next_command_after_its_end_starts_another(
    workspace: Workspace,
) -> None:
    daemon = start_daemon(workspace, 1, OLDEST_PROTOCOL - 1)
    refused = workspace.leashctl("wrap", "--run", "a", "--", "true")
    assert refused.returncode == 1
    assert f"leashd is the older one. Upgrade it, and `kill {daemon.pid}`" in refused.stderr
    listed = workspace.leashctl("version", "--json")  # what has no session needs no protocol
    assert json.loads(listed.stdout)["leashd"]["pid"] == daemon.pid

    daemon.terminate()
    daemon.communicate(timeout=60)
    assert workspace.leashctl("wrap", "--run", "a", "--", "true").returncode == 0


def test_a_daemon_that_no_longer_speaks_this_protocol_says_who_is_older(workspace: Workspace) -> None:
    start_daemon(workspace, NEWEST_PROTOCOL + 1, NEWEST_PROTOCOL + 2)
    refused = workspace.leashctl("wrap", "--run", "a", "--", "true")

    assert refused.returncode == 1
    assert "upgrade this leash, which is the older one" in refused.stderr


def test_a_command_that_an_older_daemon_lacks_is_said_to_be_so(workspace: Workspace) -> None:
    lacks_prune = "import leashd.api.keeping; del leashd.api.keeping.Keeping.Prune"
    start_daemon(workspace, OLDEST_PROTOCOL, NEWEST_PROTOCOL, lacks_prune)
    refused = workspace.leashctl("prune", "--older-than", "1d")

    assert refused.returncode == 1
    assert "is older and does not know this command: restart it" in refused.stderr
