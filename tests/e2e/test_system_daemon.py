"""A daemon of the whole host: two groups, each user her own runs, and those who may act for all (DESIGN 4.5)."""

from __future__ import annotations

import json
import os
import pwd
import re
import secrets
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from leash.v1 import runs_pb2, runs_pb2_grpc, shim_pb2, types_pb2
from tests.e2e.raw_daemon import WAIT_S, Place, Shim
from tests.e2e.users import PYTHON, User, why_not
from tests.harness import LEASHCTL, MODEL, PRICES, FakeProvider, Workspace, wait_until

# Groups of nobody on this host.
GROUP, ADMIN_GROUP = 54330, 54331

# A user of every Unix, and users without a name.
ALICE = User(pwd.getpwnam("daemon").pw_uid, (GROUP,))
BOB = User(54322, (GROUP,))
ADMIN = User(54323, (GROUP, ADMIN_GROUP))
WARDEN = User(54324, (ADMIN_GROUP,))
STRANGER = User(54325)

TAKE_A_TICKET = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
sys.stdout.write(connection.recv(1024).hex())
"""

AGENT = """
import json, os, sys, time, urllib.request
for _ in range(int(sys.argv[1])):
    body = json.dumps({"model": "demo-model", "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer x"}
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", body, headers)
    try:
        urllib.request.urlopen(request, timeout=30).read()
    except urllib.error.HTTPError as error:
        print(error.code, json.load(error)["error"]["message"])
if len(sys.argv) > 2:
    print("called", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True, scope="module")
def _may_be_others() -> None:
    if reason := why_not():
        pytest.skip(reason)


@dataclass(frozen=True, slots=True)
class Host:
    """A system daemon, and what users type."""

    workspace: Workspace
    place: Place

    def environ(self, user: User) -> dict[str, str]:
        home = self.workspace.root / f"home-{user.uid}"
        if not home.exists():
            home.mkdir(mode=0o700)
            os.chown(home, user.uid, user.uid)
        return {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "XDG_CONFIG_HOME": str(home)}

    def command(self, user: User, command: str, *arguments: str) -> tuple[str, ...]:
        return user.command(LEASHCTL, command, "--socket", str(self.place.socket), *arguments)

    def leashctl(self, user: User, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.workspace.run(*self.command(user, command, *arguments), environ=self.environ(user))

    def start(self, user: User, command: str, *arguments: str) -> subprocess.Popen[str]:
        return self.workspace.start(*self.command(user, command, *arguments), environ=self.environ(user))

    def runs(self, user: User) -> list[str]:
        listed = self.leashctl(user, "ps", "--all", "--json")
        assert listed.returncode == 0, listed.stderr
        return sorted(row["run"] for row in json.loads(listed.stdout))

    def entries(self, user: User, run: str) -> list[dict[str, Any]]:
        shown = self.leashctl(user, "inspect", run, "--json")
        assert shown.returncode == 0, shown.stderr
        entries: list[dict[str, Any]] = json.loads(shown.stdout)["entries"]
        return entries

    def ticket(self, user: User) -> bytes:
        taken = self.workspace.run(*user.command(PYTHON, "-c", TAKE_A_TICKET, str(self.place.tickets)))
        assert taken.returncode == 0, taken.stderr
        return bytes.fromhex(taken.stdout)

    def shim(self, user: User, secret: bytes | None = None) -> Shim:
        return Shim(self.place, secret, ticket=lambda: self.ticket(user))


@pytest.fixture
def host(workspace: Workspace) -> Iterator[Host]:
    for path in (workspace.root, workspace.root / "run"):
        path.chmod(0o755)  # others come by here
    place = Place(workspace.root, workspace.root / "run" / "made")
    place.serve("--system", "--group", str(GROUP), "--admin-group", str(ADMIN_GROUP))
    yield Host(workspace, place)
    for daemon in place.daemons:
        daemon.end()


@pytest.fixture
def wrapping(host: Host, fake_provider: Any) -> tuple[str, ...]:
    """The flags of a wrapped run, up to its command."""
    provider: FakeProvider = fake_provider()
    prices = host.workspace.write("prices.json", PRICES)
    prices.chmod(0o644)
    return ("--prices", str(prices), "--upstream", provider.base_url)


def test_each_socket_is_for_its_group_and_the_ledger_for_nobody(host: Host) -> None:
    place = host.place
    sockets = {path: path.stat() for path in (place.socket, place.control, place.tickets)}
    assert all(stat.S_ISSOCK(status.st_mode) for status in sockets.values())
    assert [(stat.S_IMODE(status.st_mode), status.st_gid) for status in sockets.values()] == [
        (0o660, GROUP),
        (0o660, ADMIN_GROUP),
        (0o666, os.getgid()),
    ]
    assert stat.S_IMODE(place.socket.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(place.ledger.stat().st_mode) == 0o600
    with place.channel(place.control) as channel:
        assert runs_pb2_grpc.RunsStub(channel).Info(runs_pb2.InfoRequest(), timeout=WAIT_S).system


def test_a_member_wraps_and_sees_her_own_runs_and_another_member_does_not(
    host: Host, wrapping: tuple[str, ...]
) -> None:
    wrapped = host.leashctl(
        ALICE, "wrap", *wrapping, "--run", "nightly", "--max-calls", "1", "--", PYTHON, "-c", AGENT, "2"
    )
    assert wrapped.returncode == 3, wrapped.stderr
    assert "429 leash stopped run nightly: max_calls" in wrapped.stdout
    assert "stopped run daemon/nightly after 1 calls" in wrapped.stderr
    assert host.leashctl(BOB, "wrap", *wrapping, "--run", "nightly", "--", PYTHON, "-c", AGENT, "1").returncode == 0

    assert host.runs(ALICE) == ["daemon/nightly"]
    assert host.runs(BOB) == ["uid-54322/nightly"]
    assert host.runs(ADMIN) == host.runs(WARDEN) == ["daemon/nightly", "uid-54322/nightly"]
    actors = {entry["kind"]: entry.get("actor_uid") for entry in host.entries(ALICE, "nightly")}
    assert actors.pop("opened") == ALICE.uid
    assert actors.keys() >= {"settled", "stopped"}
    assert set(actors.values()) == {None}
    assert "by daemon" in host.leashctl(ALICE, "inspect", "nightly").stdout
    unseen = host.leashctl(BOB, "inspect", "daemon/nightly")
    assert (unseen.returncode, unseen.stdout) == (1, "")
    assert "there is no run daemon/nightly: did you mean uid-54322/nightly?" in unseen.stderr
    unknown = host.leashctl(BOB, "inspect", "weekly").stderr
    assert "you have no run weekly" in unknown
    assert f"those of other users are for group {ADMIN_GROUP}" in unknown
    assert "no run of yours is running or stopped" in host.leashctl(BOB, "ps").stderr


def test_a_name_with_another_tenant_is_refused(host: Host, wrapping: tuple[str, ...]) -> None:
    for run in ("daemon/nightly", "root/nightly", "uid-1/nightly"):
        refused = host.leashctl(BOB, "wrap", *wrapping, "--run", run, "--", PYTHON, "-c", AGENT, "0")
        assert refused.returncode == 1
        assert f"run {run} is not of your tenant, uid-54322" in refused.stderr
    own = host.leashctl(BOB, "wrap", *wrapping, "--run", "uid-54322/nightly", "--", PYTHON, "-c", AGENT, "0")
    assert own.returncode == 0, own.stderr
    assert host.runs(ADMIN) == ["uid-54322/nightly"]


@pytest.mark.parametrize("command", ["ps", "wrap", "kill", "inspect"])
def test_who_is_of_no_group_is_told_which_it_takes(host: Host, wrapping: tuple[str, ...], command: str) -> None:
    rest = {"ps": (), "wrap": (*wrapping, "--", "true"), "kill": ("--all",), "inspect": ("r",)}[command]
    refused = host.leashctl(STRANGER, command, *rest)
    assert refused.returncode == 1
    assert re.search(rf"leashd\.sock may be opened by group {GROUP} only", refused.stderr), refused.stderr
    assert "usermod -aG" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_member_alone_may_not_change_even_her_own_run(host: Host) -> None:
    shim = host.shim(ALICE)
    assert shim.open("nightly", max_calls=1).account.run == "daemon/nightly"
    for command in (
        ("raise", "nightly", "--max-calls", "9"),
        ("kill", "nightly"),
        ("resolve", "nightly", "00", "--release"),
    ):
        refused = host.leashctl(ALICE, *command)
        assert refused.returncode == 1
        assert re.search(rf"control\.sock may be opened by group {ADMIN_GROUP} only", refused.stderr), refused.stderr
    [opened] = host.entries(ALICE, "nightly")
    assert opened["kind"] == "opened"
    shim.close()


def test_an_admin_acts_on_every_run_and_the_entries_say_who(host: Host) -> None:
    shim = host.shim(ALICE)
    shim.open("nightly", max_calls=3)
    call = secrets.token_bytes(16)
    assert shim.reserve(call, "nightly").HasField("admitted")
    shim.ask(abandon=shim_pb2.Abandon(call_id=call, run="nightly"))

    assert host.leashctl(ADMIN, "kill", "nightly").stdout == "killed daemon/nightly\n"
    assert shim.reserve(secrets.token_bytes(16), "nightly").refused.reason == types_pb2.REASON_KILL_SWITCH
    assert [push.run_stopped.run for push in shim.pushes] == ["nightly"]
    raised = host.leashctl(WARDEN, "raise", "nightly", "--max-calls", "9", "--resume")
    assert "daemon/nightly is running" in raised.stdout, raised.stderr
    resolved = host.leashctl(ADMIN, "resolve", "daemon/nightly", call.hex(), "--release")
    assert resolved.returncode == 0, resolved.stderr
    shim.close()

    actors = {entry["kind"]: entry.get("actor_uid") for entry in host.entries(ALICE, "nightly")}
    assert actors["opened"] == ALICE.uid
    assert actors["stopped"] == actors["resolved"] == ADMIN.uid
    assert actors["raised"] == WARDEN.uid


def test_nobody_opens_settles_or_closes_the_run_of_another(host: Host) -> None:
    alices = host.shim(ALICE)
    alices.open("r")
    call = secrets.token_bytes(16)
    assert alices.reserve(call).HasField("admitted")

    bobs = host.shim(BOB)
    for run in ("daemon/r", "root/r"):
        assert "not of your tenant" in bobs.open(run).failure.message
        assert bobs.settle(call, run).HasField("failure")
        assert bobs.ask(void=shim_pb2.Void(call_id=call, run=run)).HasField("failure")
        assert bobs.ask(close_run=shim_pb2.CloseRun(run=run)).HasField("failure")
        assert bobs.reserve(secrets.token_bytes(16), run).HasField("failure")
    assert bobs.settle(call).failure.code == shim_pb2.FAILURE_CODE_UNKNOWN
    assert alices.settle(call).closed.outcome == "settled"
    roots = Shim(host.place)
    assert roots.open("daemon/roots").account.run == "daemon/roots"
    closed = alices.ask(close_run=shim_pb2.CloseRun(run="roots"))  # of her tenant's name, and not hers
    assert closed.failure.code == shim_pb2.FAILURE_CODE_NOT_OPEN
    assert alices.ask(close_run=shim_pb2.CloseRun(run="r")).account.run == "daemon/r"
    assert alices.ask(close_run=shim_pb2.CloseRun(run="r")).account.run == "daemon/r"  # the first answer was lost
    assert bobs.open("r").account.run == "uid-54322/r"
    for shim in (alices, bobs, roots):
        shim.close()


def test_who_may_act_for_all_may_open_runs_of_every_tenant(host: Host) -> None:
    admins, roots, alices = host.shim(ADMIN), Shim(host.place), host.shim(ALICE)
    for shim, tenant in ((admins, "uid-54323"), (roots, "root")):
        assert shim.open("r").account.run == f"{tenant}/r"
        assert shim.open(f"daemon/for-{tenant}").account.run == f"daemon/for-{tenant}"
    assert alices.open("mine").account.run == "daemon/mine"
    assert admins.open("daemon/mine").account.owner_uid == ALICE.uid

    # What somebody else has opened for her tenant is not hers.
    refused = alices.open("for-root")
    assert refused.failure.code == shim_pb2.FAILURE_CODE_INVALID
    assert "another user" in refused.failure.message
    assert host.runs(ALICE) == ["daemon/mine"]
    for shim in (admins, roots, alices):
        shim.close()


def test_kill_now_ends_the_program_of_a_wrapped_run(host: Host, wrapping: tuple[str, ...]) -> None:
    process = host.start(ALICE, "wrap", *wrapping, "--run", "nightly", "--", PYTHON, "-c", AGENT, "1", "stay")
    assert process.stdout is not None
    assert process.stdout.readline() == "called\n"
    assert host.leashctl(WARDEN, "kill", "nightly", "--now").stdout == "killed daemon/nightly\n"
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 3, said
    assert "stopped run daemon/nightly after 1 calls" in said
    assert "(kill_switch)" in said


def test_runs_go_on_under_their_names_when_the_daemon_comes_back(host: Host, wrapping: tuple[str, ...]) -> None:
    process = host.start(ALICE, "wrap", *wrapping, "--run", "nightly", "--", PYTHON, "-c", AGENT, "1", "stay")
    assert process.stdout is not None
    assert process.stdout.readline() == "called\n"
    host.place.daemons[-1].kill()
    host.place.serve("--system", "--group", str(GROUP), "--admin-group", str(ADMIN_GROUP))

    def is_back() -> bool:
        shim_sessions = [entry["kind"] for entry in host.entries(ADMIN, "nightly")]
        listed = json.loads(host.leashctl(ADMIN, "ps", "--json").stdout)
        return bool(shim_sessions) and any(row["run"] == "daemon/nightly" and row["pid"] for row in listed)

    wait_until(is_back, "the session of the wrapped run is back")
    assert host.leashctl(ADMIN, "kill", "nightly", "--now").returncode == 0
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 3, said
    assert "run daemon/nightly" in said


def test_a_gateway_of_root_serves_tenants(host: Host, fake_provider: Any) -> None:
    provider: FakeProvider = fake_provider()
    tokens = host.workspace.write("tokens", "team-a: token-of-team-a-Goh4\n")
    prices = host.workspace.write("prices.json", PRICES)
    flags = ("--socket", str(host.place.socket), "--auth-token-file", str(tokens), "--prices", str(prices))
    gateway = host.workspace.gateway(*flags, "--upstream", provider.origin)
    call = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"X-Leash-Token": "token-of-team-a-Goh4", "X-Loop-Id": "nightly", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{gateway.origin}/v1/chat/completions", call, headers)
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        assert answer.status == 200
    gateway.stop()
    assert host.runs(ADMIN) == ["team-a/nightly"]
    assert host.runs(ALICE) == []


def test_a_group_that_is_not_there_or_not_ones_own_is_told(host: Host) -> None:
    place = Place(host.workspace.root / "home")
    daemon = place.start("--system", "--group", "no-such-group", "--admin-group", str(ADMIN_GROUP))
    assert daemon.wait() == 1
    assert "there is no group no-such-group: make it with `groupadd --system no-such-group`" in daemon.said
    assert "Traceback" not in daemon.said
    assert not place.socket.exists()

    home = Path(host.environ(BOB)["HOME"])
    where = ("--ledger", str(home / "leash.db"), "--socket", str(home / "leashd.sock"))
    groups = ("--group", str(GROUP), "--admin-group", str(ADMIN_GROUP))
    started = host.workspace.run(
        *BOB.command(PYTHON, "-m", "leashd", *where, "--system", *groups), environ=host.environ(BOB)
    )
    assert started.returncode == 1
    assert f"uid 54322 is no member of group {ADMIN_GROUP}" in started.stderr


def test_a_member_of_both_groups_may_run_it_for_the_host(host: Host) -> None:
    home = Path(host.environ(ADMIN)["HOME"])
    where = ("--ledger", str(home / "leash.db"), "--socket", str(home / "s" / "leashd.sock"), "--idle-exit", "1s")
    groups = ("--group", str(GROUP), "--admin-group", str(ADMIN_GROUP))
    leashd = host.workspace.start(*ADMIN.command(PYTHON, "-m", "leashd", *where, "--system", *groups))
    control = home / "s" / "control.sock"
    wait_until(lambda: control.exists() and control.stat().st_gid == ADMIN_GROUP, "leashd has given its socket away")
    _, said = leashd.communicate(timeout=WAIT_S)
    assert leashd.returncode == 0, said


def test_groups_are_for_a_system_daemon() -> None:
    place = ("--ledger", "/nonexistent/l", "--socket", "/nonexistent/s")
    refused = subprocess.run(
        [PYTHON, "-m", "leashd", *place, "--group", "leash"], check=False, capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "--system" in refused.stderr


def test_an_export_has_the_runs_that_may_be_seen_and_only_an_administrator_keeps_the_ledger(host: Host) -> None:
    for user in (ALICE, BOB):
        shim = host.shim(user)
        shim.open("nightly", max_calls=5)
        shim.close()

    def exported(user: User) -> tuple[dict[str, Any], list[str]]:
        ended = host.leashctl(user, "export")
        assert ended.returncode == 0, ended.stderr
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        assert {line["run"] for line in lines if line["type"] == "entry"} == {
            line["run"] for line in lines if line["type"] == "run"
        }
        return lines[0], [line["run"] for line in lines if line["type"] == "run"]

    header, runs = exported(ALICE)
    assert (header["own_runs_only"], runs) == (True, ["daemon/nightly"])
    header, runs = exported(ADMIN)
    assert (header["own_runs_only"], runs) == (False, ["daemon/nightly", "uid-54322/nightly"])
    hidden = host.leashctl(ALICE, "export", "uid-54322/nightly")
    assert (hidden.returncode, hidden.stdout) == (1, "")

    for command in (("verify",), ("backup", "-"), ("prune", "--older-than", "1d")):
        denied = host.leashctl(ALICE, *command)
        assert (denied.returncode, denied.stdout) == (1, "")
        assert str(ADMIN_GROUP) in denied.stderr or "group" in denied.stderr
    assert host.leashctl(ADMIN, "verify").returncode == 0
    copy = Path(host.environ(ADMIN)["HOME"]) / "copy.db"
    assert host.leashctl(ADMIN, "backup", str(copy)).returncode == 0
    assert (copy.stat().st_uid, stat.S_IMODE(copy.stat().st_mode)) == (ADMIN.uid, 0o600)
    pruned = host.leashctl(ADMIN, "prune", "--older-than", "0s")
    assert (pruned.returncode, "of 2 runs pruned" in pruned.stdout) == (0, True)
    told = host.leashctl(ADMIN, "restore", str(copy))
    assert (told.returncode, f"leashd restore {copy} --ledger {host.place.ledger}" in told.stderr) == (1, True)
