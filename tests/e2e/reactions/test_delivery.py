"""What webhooks and hooks are told, and what a bad endpoint or a bad hook costs: nothing but its own notices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

from leash.v1 import control_pb2, shim_pb2, types_pb2
from tests.e2e.raw_daemon import Shim
from tests.e2e.reactions.conftest import Scene
from tests.harness import PYTHON, wait_until

# Of the user who runs the tests, so that the daemon may give its sockets to it.
SYSTEM = ("--system", "--group", f"{os.getgid()}", "--admin-group", f"{os.getgid()}")

_VERIFY = """
import json, sys
from standardwebhooks.webhooks import Webhook
given = json.load(sys.stdin)
print(json.dumps(Webhook(given["key"]).verify(given["body"], given["headers"])))
"""


def test_a_life_is_told_in_order_with_everything_that_the_contract_has(scene: Scene) -> None:
    scene.place.serve()
    shim = Shim(scene.place)
    scene.open(shim, scene.reactions(scene.url(), scene.hook()), "nightly-7", max_calls=2, warn_at_ppm=500_000)
    for number in range(2):
        shim.reserve(bytes([number]) * 16, "nightly-7")
        shim.settle(bytes([number]) * 16, "nightly-7")
    shim.reserve(bytes([9]) * 16, "nightly-7")
    raised = control_pb2.RaiseRequest(run="nightly-7", limits=types_pb2.Limits(max_calls=5))
    scene.ask(lambda stub: stub.Raise(raised))
    shim.reserve(bytes([3]) * 16, "nightly-7")
    shim.ask(abandon=shim_pb2.Abandon(call_id=bytes([3]) * 16, run="nightly-7"))
    shim.ask(close_run=shim_pb2.CloseRun(run="nightly-7"))
    scene.kill("nightly-7")
    scene.wait_told()
    told = [post["told"] for post in scene.posted()]

    assert [notice["event"] for notice in told] == [
        "warning", "stopped", "raised", "unresolved", "finished", "killed",
    ]  # fmt: skip
    assert [line.split()[:2] for line in scene.hook_lines()] == [[n["event"], n["id"]] for n in told]
    assert len({notice["id"] for notice in told}) == 6
    assert [notice["reason"] for notice in told] == [
        "max_calls", "max_calls", "max_calls", "unresolved_calls", "child_exited", "kill_switch",
    ]  # fmt: skip
    stopped = told[1]
    assert (stopped["used"], stopped["limit"], stopped["unit"], stopped["fraction"]) == (2, 2, "calls", 1)
    assert (stopped["run"], stopped["calls"], stopped["total_cost"]) == ("nightly-7", 2, 0)
    shim.close()


def test_the_signature_is_checked_by_the_official_library_in_another_process(scene: Scene) -> None:
    scene.place.serve()
    shim = Shim(scene.place)
    # Without a file of its own: the daemon's key.
    shim.ask(open_run=shim_pb2.OpenRun(run="r", reactions=shim_pb2.Reactions(webhook=scene.url())))
    scene.kill("r")
    wait_until(scene.posted, "the webhook is there")
    post = scene.posted()[0]
    key = scene.ask(lambda stub: stub.WebhookSecret(control_pb2.WebhookSecretRequest())).secret

    assert not post["signed"], "the endpoint has another key"
    assert (scene.root / "leash.db.webhook-secret").stat().st_mode & 0o777 == 0o600
    given = json.dumps({"key": key, "body": post["body"], "headers": post["headers"]})
    checked = subprocess.run((PYTHON, "-c", _VERIFY), input=given, capture_output=True, text=True, check=True)
    assert '"killed"' in checked.stdout
    forged = given.replace("killed", "raised")
    refused = subprocess.run((PYTHON, "-c", _VERIFY), input=forged, capture_output=True, text=True, check=False)
    assert "WebhookVerificationError" in refused.stderr
    shim.close()


def test_an_endpoint_that_is_down_is_told_when_it_is_back_and_the_hook_meanwhile(scene: Scene) -> None:
    scene.place.serve()
    scene.stop_receiving()
    shim = Shim(scene.place)
    scene.open(shim, scene.reactions(scene.url(), scene.hook()), deadline_ns=10**12)
    scene.kill("r")
    wait_until(lambda: scene.hook_lines("killed"), "the hook is told")
    wait_until(lambda: scene.notices() and scene.notices()[0].attempts >= 2, "the webhook is tried")
    waiting = scene.notices()
    scene.receive(scene.port)
    scene.wait_told()

    assert [(notice.target, notice.dead) for notice in waiting] == [("webhook", False)]
    assert "127.0.0.1" in waiting[0].last_error
    assert [post["id"] for post in scene.posted()] == [waiting[0].id]
    shim.close()


def test_an_endpoint_that_never_answers_holds_up_no_call_no_hook_and_no_other_endpoint(scene: Scene) -> None:
    scene.place.serve()
    shim = Shim(scene.place)
    hanging = [f"hanging{number}" for number in range(12)]
    for run in hanging:
        scene.open(shim, scene.reactions(scene.url("hang"), scene.hook()), run)
    other = scene.url().replace("127.0.0.1", "localhost")
    scene.open(shim, scene.reactions(other), "other")
    scene.kill(*hanging)
    wait_until(lambda: len(scene.posted()) >= 4, "the endpoint hangs at as much as it may")
    scene.kill("other")
    wait_until(lambda: scene.posted("killed", run="other"), "the other endpoint is told")
    wait_until(lambda: len(scene.hook_lines()) == 12, "every hook is told")
    shim.open("governed")
    for number in range(200):
        call = number.to_bytes(16, "big")
        assert shim.reserve(call, "governed").HasField("admitted")
        shim.settle(call, "governed")

    assert {notice.run for notice in scene.notices()} == set(hanging), "what hangs is told still"
    shim.close()


def test_a_redirect_is_not_followed_and_a_body_without_an_end_is_not_read(scene: Scene) -> None:
    scene.place.serve()
    shim = Shim(scene.place)
    scene.open(shim, scene.reactions(scene.url("moved")), "moved")
    scene.open(shim, scene.reactions(scene.url("trickle")), "trickle")
    scene.kill("moved", "trickle")
    wait_until(lambda: scene.notices() and all(notice.attempts for notice in scene.notices()), "one was told")

    assert [notice.run for notice in scene.notices()] == ["moved"]
    assert "redirects" in scene.notices()[0].last_error
    assert {post["path"] for post in scene.posted()} == {"/moved", "/trickle"}
    shim.close()


def test_a_hook_that_hangs_is_killed_with_what_it_has_started(scene: Scene) -> None:
    scene.place.serve()
    shim = Shim(scene.place)
    pids = scene.root / "pids"
    hook = scene.script(f"sleep 300 & echo $! > {pids}; echo begun; wait")
    scene.open(shim, scene.reactions(hook=(str(hook),), timeout_s=0.5))
    scene.kill("r")
    wait_until(lambda: scene.notices() and scene.notices()[0].attempts, "it was given up once")
    child = int(pids.read_text())

    assert "did not end within 0.5 s" in scene.notices()[0].last_error
    wait_until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie", "its child is gone")
    assert "begun" in scene.place.daemons[0].said, "what it said is in the log"
    shim.close()


def test_a_hook_is_over_when_it_exits_whatever_it_leaves_and_its_output_is_bounded(scene: Scene) -> None:
    scene.place.serve()
    shim = Shim(scene.place)
    child = scene.root / "child"
    script = scene.script(f"sleep 60 & echo $! > {child}; head -c 1000000 /dev/zero | tr '\\0' x; echo $1 $HOME")
    scene.open(shim, scene.reactions(hook=(str(script), "$(touch evil) ; a b")))
    scene.kill("r")
    scene.wait_told()

    psutil.Process(int(child.read_text())).kill()  # it was left running, with the pipe of the hook open
    assert len(scene.place.daemons[0].said) < 10_000
    assert not list(Path("/").glob("evil"))
    assert not (Path.home() / "evil").exists()
    shim.close()


def test_a_hook_that_fails_is_tried_again_and_a_gone_endpoint_is_given_up_at_once(scene: Scene) -> None:
    scene.place.serve()
    shim = Shim(scene.place)
    mark = scene.root / "failed-once"
    hook = scene.hook(f"test -e {mark} || {{ touch {mark}; exit 7; }}")
    scene.open(shim, scene.reactions(scene.url("410"), hook))
    scene.kill("r")
    wait_until(lambda: len(scene.hook_lines()) == 2, "the hook is run again")
    wait_until(lambda: len(scene.notices()) == 1, "the hook is told")
    [dead] = scene.notices()

    assert len(set(scene.hook_lines())) == 1, "with the same id"
    assert (dead.target, dead.dead, dead.attempts) == ("webhook", True, 1)
    scene.place.daemons[0].terminate()
    scene.place.serve()
    assert scene.notices() == [dead], "it is kept"
    retried = scene.ask(lambda stub: stub.RetryNotices(control_pb2.RetryNoticesRequest()))
    assert retried.notices == 1
    wait_until(lambda: len(scene.posted()) == 2, "it is tried again")
    wait_until(lambda: scene.notices()[0].dead, "it is given up again")
    assert scene.posted()[0]["id"] == scene.posted()[1]["id"] == dead.id
    dropped = scene.ask(lambda stub: stub.DropNotices(control_pb2.DropNoticesRequest()))
    assert dropped.notices == 1
    assert scene.notices() == []
    shim.close()


def test_a_daemon_that_leaves_by_itself_stays_as_long_as_there_is_something_to_tell(scene: Scene) -> None:
    daemon = scene.place.serve("--idle-exit", "1s")
    scene.stop_receiving()
    shim = Shim(scene.place)
    scene.open(shim, scene.reactions(scene.url()))
    scene.kill("r")
    shim.close()
    time.sleep(2.5)  # longer than it would stay without
    assert daemon.process.poll() is None
    scene.receive(scene.port)

    assert daemon.wait() == 0
    assert [post["told"]["event"] for post in scene.posted()] == ["killed"]


def test_a_daemon_that_ends_ends_its_hooks_and_the_next_one_runs_them_again(scene: Scene) -> None:
    daemon = scene.place.serve()
    shim = Shim(scene.place)
    pid = scene.root / "pid"
    first = scene.root / "first"
    hook = scene.hook(
        f"test -e {first} && exit; touch {first}; sleep 300 & echo $! > {pid}.part; mv {pid}.part {pid}; wait"
    )
    scene.open(shim, scene.reactions(hook=hook))
    scene.kill("r")
    wait_until(pid.exists, "the hook runs")
    child = int(pid.read_text())

    assert daemon.terminate() == 0
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"
    scene.place.serve()
    scene.wait_told()
    assert len(scene.hook_lines("killed")) == 2
    assert len(set(scene.hook_lines("killed"))) == 1
    shim.close()


def test_what_a_client_gives_is_checked_and_an_empty_one_turns_it_off(scene: Scene) -> None:
    scene.place.serve()
    shim = Shim(scene.place)
    for reactions in (
        shim_pb2.Reactions(webhook="ftp://somewhere"),
        shim_pb2.Reactions(webhook=scene.url(), webhook_secret_file="relative"),
        shim_pb2.Reactions(hook=shim_pb2.Hook(command=["relative"])),
        shim_pb2.Reactions(hook=shim_pb2.Hook(command=["/bin/true"], timeout_ns=-1)),
    ):
        answer = shim.ask(open_run=shim_pb2.OpenRun(run="r", reactions=reactions))
        assert answer.failure.code == shim_pb2.FAILURE_CODE_INVALID, answer
    scene.open(shim, scene.reactions(scene.url(), scene.hook()))
    scene.open(shim, scene.reactions(webhook=""))
    scene.kill("r")
    wait_until(lambda: scene.hook_lines("killed"), "the hook, which was not named, stays")
    scene.wait_told()

    assert scene.posted() == []
    shim.close()


def test_an_agent_within_a_run_cannot_have_it_told_elsewhere(scene: Scene) -> None:
    scene.place.serve()
    scene.receive()
    opener, agent = Shim(scene.place), Shim(scene.place)
    scene.open(opener, scene.reactions(scene.url(), scene.hook()))
    for asked in (scene.reactions(webhook=""), scene.reactions(scene.url("404"))):
        refused = scene.open(agent, asked)
        assert refused.failure.code == shim_pb2.FAILURE_CODE_INVALID
        assert "leave them out" in refused.failure.message
    assert scene.open(agent, scene.reactions(scene.url(), scene.hook())).HasField("account"), "the same changes nothing"
    scene.kill("r")
    wait_until(lambda: [post["told"]["event"] for post in scene.posted()] == ["killed"], "the webhook is told")
    opener.close()
    agent.close()


def test_the_daemon_of_a_host_takes_none_from_a_client(scene: Scene) -> None:
    scene.place.serve(*SYSTEM)
    shim = Shim(scene.place)
    refused = scene.open(shim, scene.reactions(scene.url(), scene.hook()))

    assert refused.failure.code == shim_pb2.FAILURE_CODE_INVALID
    assert "only from its own configuration" in refused.failure.message
    assert shim.open().HasField("account"), "without them it is opened"
    shim.close()


def test_the_daemon_of_a_host_tells_of_every_run_as_its_own_configuration_says(scene: Scene) -> None:
    config = scene.root / "leashd.toml"
    hook = scene.hook()[0]
    table = f'[reactions]\nwebhook = "{scene.url()}"\nwebhook_secret_file = "{scene.key}"\non_event_exec = ["{hook}"]\n'
    config.write_text(table)
    config.chmod(0o600)
    daemon = scene.place.serve(*SYSTEM, "--config", str(config))
    shim = Shim(scene.place)
    shim.open("first")
    shim.open("second")
    full = scene.run_names()
    scene.kill(full[0])
    wait_until(lambda: scene.posted("killed") and scene.hook_lines("killed"), "both are told")
    config.write_text(table.replace(scene.url(), scene.url("201")))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "config_reloaded" in daemon.said, "it is read again")
    scene.kill(full[1])
    scene.wait_told()

    assert [post["path"] for post in scene.posted("killed")] == ["/200", "/201"]
    assert all(post["signed"] for post in scene.posted())
    assert [post["told"]["run"] for post in scene.posted("killed")] == full, "by their whole names"
    shim.close()
