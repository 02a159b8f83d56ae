"""The ledger's disk is full, read-only, or fails: calls are refused and none is forwarded, until it works again."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.faults.causes import SYNC, WRITES, SmallDisk, failing, in_the_namespace_of, on_a_small_disk
from tests.e2e.faults.site import Answer, Site
from tests.harness import LEASHCTL, PYTHON, wait_until

AGENT = """\
import os, sys, urllib.error, urllib.request, json
body = json.dumps({"model": "demo-model", "messages": [{"role": "user", "content": "go on"}]}).encode()
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
for line in sys.stdin:
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        print(urllib.request.urlopen(request).status, flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode(), flush=True)
"""


def _until_refused(site: Site) -> tuple[int, Answer]:
    """Calls until one is refused: a small write finds room for a while in pages that the ledger has freed."""
    for answered in range(2_000):
        answer = site.call()
        if answer.status != 200:
            return answered, answer
    raise AssertionError("no call was refused")


def test_a_full_disk_refuses_calls_and_forwards_none_and_is_over_when_there_is_room(site: Site) -> None:
    site.serve(within=on_a_small_disk(site.directory))
    disk = SmallDisk(site.directory, site.pid)
    site.open_gateway(provider=("--chunks", "10", "--chunk-delay", "20ms"))
    assert site.call().whole

    disk.fill()
    answered, refused = _until_refused(site)
    served = site.served
    assert served == answered + 1
    assert (refused.status, refused.code, refused.retry_after) == (503, "leash_unavailable", "1")
    assert "the ledger cannot be written" in refused.message
    assert "No space left on device" in refused.message
    assert [site.call().status for _ in range(5)] == [503] * 5
    assert site.served == served
    status, why = site.ready()
    assert status == 200 or "No space left on device" in why

    # What was recorded can be read, by the daemon that has it open.
    listed = site.leashctl("ps", "--all", "--json")
    assert [row["run"] for row in json.loads(listed.stdout)] == ["r"]
    assert "commit_failed" in site.said

    disk.make_room()
    site.until_it_works()
    # A probe of the gateway may find room meanwhile, so there may be several of each.
    assert site.said.count("commit_failed") == site.said.count("ledger_writable") > 0
    site.until_recorded(calls=site.served)
    assert site.end_daemon() == 0
    assert "Traceback" not in site.said


def test_a_call_that_is_under_way_when_the_disk_fills_is_answered_and_recorded_later(site: Site) -> None:
    site.serve(within=on_a_small_disk(site.directory))
    disk = SmallDisk(site.directory, site.pid)
    site.open_gateway(provider=("--chunks", "10", "--chunk-delay", "100ms"))
    with site.connected() as connection:
        under_way = site.begin(connection, streams=True)
        disk.fill()
        _until_refused(site)
        assert under_way.read().decode().rstrip().endswith("[DONE]")
    served = site.served
    assert site.account()["calls"] < served

    disk.make_room()
    assert site.until_recorded(calls=served)["unresolved_calls"] == 0


def test_a_wrapped_program_is_told_of_the_full_disk_and_goes_on_when_there_is_room(site: Site) -> None:
    site.serve(within=on_a_small_disk(site.directory))
    disk = SmallDisk(site.directory, site.pid)
    provider = site.workspace.fake_provider()
    agent = str(site.workspace.write("agent.py", AGENT))
    wrapped = site.workspace.start(
        *(LEASHCTL, "wrap", "--run", "r", "--max-calls", "0", "--upstream", provider.origin),
        *("--", PYTHON, agent),
        environ=site.chosen,
    )

    def ask() -> str:
        assert wrapped.stdin is not None
        assert wrapped.stdout is not None
        wrapped.stdin.write("\n")
        wrapped.stdin.flush()
        return wrapped.stdout.readline()

    assert ask() == "200\n"
    disk.fill()
    answers = ["200\n"]
    while answers[-1] == "200\n":
        answers.append(ask())
    code, _, body = answers[-1].partition(" ")
    assert code == "503"
    assert "No space left on device" in json.loads(body)["error"]["message"]
    assert provider.served() == len(answers) - 1

    disk.make_room()
    wait_until(lambda: ask() == "200\n", "the program's calls are answered again")
    assert wrapped.stdin is not None
    wrapped.stdin.close()
    assert wrapped.wait(timeout=20) == 0
    assert site.account()["calls"] == provider.served()


def _remount(within: tuple[str, ...], directory: Path, options: str) -> None:
    # With its type, so that mount does not repeat what it finds of options: not all of them are an ordinary user's.
    mount = ("mount", "-t", "tmpfs", "-o", f"remount,{options}", "tmpfs", str(directory))
    subprocess.run((*within, *mount), check=True, capture_output=True)


def test_a_daemon_does_not_start_on_a_read_only_file_system_and_starts_when_it_is_writable(site: Site) -> None:
    # The namespace is kept by a process that does nothing else.
    keeper = site.workspace.start(*on_a_small_disk(site.directory), "sleep", "600")
    seen = Path(f"/proc/{keeper.pid}/root{site.directory}")
    wait_until(lambda: seen.stat().st_dev != site.directory.stat().st_dev, "the file system is mounted")
    within = in_the_namespace_of(keeper.pid)
    site.serve(within=within)
    site.open_gateway()
    assert site.call().whole
    site.until_recorded(calls=1)
    assert site.end_daemon() == 0

    _remount(within, site.directory, "ro")
    site.start_daemon(within=within)
    assert site.exit_code() == 1
    assert str(site.ledger) in site.said
    assert "Read-only file system" in site.said
    refused = site.call()
    assert (refused.status, refused.code) == (503, "leash_unavailable")
    assert site.served == 1

    _remount(within, site.directory, "rw")
    site.serve(within=within)
    site.until_it_works()
    site.until_recorded(calls=site.served)
    assert "Traceback" not in site.said


@pytest.mark.parametrize(
    ("calls", "fault", "text"),
    [
        (WRITES, "EROFS", "Read-only file system"),
        (WRITES, "EIO", "Input/output error"),
        (WRITES, "EDQUOT", "Disk quota exceeded"),
        (SYNC, "EIO", "Input/output error"),
        (SYNC, "ENOSPC", "No space left on device"),
    ],
)
def test_writes_and_syncs_that_fail_refuse_calls_and_forward_none_until_they_work_again(
    site: Site, calls: tuple[str, ...], fault: str, text: str
) -> None:
    site.serve()
    site.open_gateway()
    assert site.call().whole
    site.until_recorded(calls=1)  # so that no commit is under way, whose last write would be another fault

    with failing(site.pid, calls, f"error={fault}", trace=site.workspace.root / "trace"):
        refused = site.call()
        assert (refused.status, refused.code, refused.retry_after) == (503, "leash_unavailable", "1")
        assert text in refused.message
        assert site.call(run="another").status == 503
        status, why = site.ready()
        assert status == 503
        assert text in why
        assert site.served == 1
        assert site.leashctl("ps", "--json").returncode == 0

    site.until_it_works()
    site.until_recorded(calls=site.served)
    assert site.said.count("commit_failed") == site.said.count("ledger_writable") == 1
    assert site.end_daemon(signal.SIGTERM) == 0
    assert "Traceback" not in site.said
