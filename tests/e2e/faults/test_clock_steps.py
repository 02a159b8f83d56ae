"""The wall clock steps by an hour, in either direction: nothing is extended by it, and nothing trips."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

from leash.v1 import types_pb2
from tests.e2e.faults.site import Site
from tests.harness import wait_until

pytestmark = pytest.mark.long

HOUR_S = 3_600
# Puts the daemon's wall clock off by what a file says, from one reading to the next.
STEPPING = """\
import pathlib, time
offset = pathlib.Path({path!r})
for name, factor in (("time_ns", 10**9), ("time", 1)):
    def stepped(read=getattr(time, name), factor=factor):
        return read() + int(offset.read_text()) * factor
    setattr(time, name, stepped)
"""


class Wall:
    """The daemon's wall clock."""

    def __init__(self, site: Site) -> None:
        self._offset = site.workspace.write("offset", "0")
        planted = site.workspace.root / "planted"
        planted.mkdir()
        site.workspace.write("planted/sitecustomize.py", STEPPING.format(path=str(self._offset)))
        self.environ = {"PYTHONPATH": str(planted)}

    def step(self, seconds: int) -> None:
        """Puts it off by so much."""
        self._offset.write_text(str(seconds))


@pytest.mark.parametrize("step_s", [HOUR_S, pytest.param(-HOUR_S, marks=pytest.mark.long)])
def test_a_step_neither_trips_a_deadline_nor_extends_one(site: Site, step_s: int) -> None:
    wall = Wall(site)
    site.serve(environ=wall.environ)
    shim = site.shim()
    for run, deadline_s in (("long", 1_800), ("short", 4)):
        shim.open(run, deadline_ns=deadline_s * 10**9)
        assert shim.reserve(secrets.token_bytes(16), run).HasField("admitted")
    wall.step(step_s)

    assert shim.reserve(secrets.token_bytes(16), "long").HasField("admitted")
    wait_until(
        lambda: shim.reserve(secrets.token_bytes(16), "short").refused.reason == types_pb2.REASON_DEADLINE,
        "the short deadline is reached when it is due",
    )
    shim.close()
    # Nor does a start with the clock off change anything.
    site.end_daemon()
    site.serve(environ=wall.environ)
    again = site.shim()
    again.open("long")
    again.open("short")
    assert again.reserve(secrets.token_bytes(16), "long").HasField("admitted")
    assert again.reserve(secrets.token_bytes(16), "short").refused.reason == types_pb2.REASON_DEADLINE
    again.close()


@pytest.mark.parametrize("step_s", [HOUR_S, pytest.param(-HOUR_S, marks=pytest.mark.long)])
def test_a_step_neither_empties_the_window_of_a_rate_nor_keeps_it_full(site: Site, step_s: int) -> None:
    wall = Wall(site)
    site.serve(environ=wall.environ)
    site.open_gateway("--rate", "1000/20s")  # a call has 1,500 tokens
    assert site.call().whole
    site.until_recorded(calls=1)
    refused = site.call()
    assert (refused.status, refused.code) == (429, "rate_limit")

    wall.step(step_s)
    again = site.call()
    assert (again.status, again.code) == (429, "rate_limit")
    assert again.retry_after is not None
    assert 1 <= int(again.retry_after) <= 20
    site.until_it_works()


def _time_namespace(seconds: int) -> tuple[str, ...]:
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    within = ("unshare", *user, "--time", "--boottime", str(seconds))
    if shutil.which("unshare") is None or subprocess.run((*within, "true"), check=False).returncode != 0:
        pytest.skip("this user may not have a time namespace (unshare --time)")
    return within


def test_a_boot_clock_that_begins_anew_neither_trips_a_deadline_nor_extends_one(site: Site) -> None:
    """As after a reboot, or for a container that goes on on another host: its boot clock is behind the ledger's."""
    uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    behind = _time_namespace(-int(uptime_s / 2))
    site.serve()
    site.open_gateway("--deadline", "30m")
    assert site.call().whole
    started_at = site.account()["started_at"]
    site.end_daemon()

    site.serve(within=behind)
    site.until_it_works()
    account = site.account()
    assert account["started_at"] == started_at
    assert account["status"] == "running"
