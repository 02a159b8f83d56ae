"""A page is run: one bash in a place of its own, which goes through the steps and says where it had to stop.

Processes that a page started end with it, and what does not end is an error.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.docs.alone import CANNOT
from tests.docs.steps import Step, matches
from tests.harness import LEASHCTL, PYTHON, Workspace, wait_until

_ALONE = str(Path(__file__).with_name("alone.py"))
_FIXTURES = Path(__file__).with_name("fixtures")

# The ports that the pages use, and the one of the provider behind them all.
_PAGE_PORTS = (8088, 8089, 9098, 9099)
_PROVIDER_PORT = 19099

# Long enough for a busy machine; a page takes a few seconds.
_PAGE_S = 90.0
_READY_TRIES = 300

# Each server is a process group of its own: its shell waits for the program, which ends as it does for systemd.
_END_SERVERS = """\
_end_servers() {
  local server
  for server in ${_servers[@]+"${_servers[@]}"}; do
    kill -TERM -- "-$server"
    while kill -0 -- "-$server" 2> /dev/null; do sleep 0.1; done
  done
  _servers=()
}"""


class Session:
    """One page's shell, with all that a page may count on."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._records = workspace.root / "steps"
        self._records.mkdir()
        self._said = self._records / "said"
        self.directory = workspace.root / "page"
        self.directory.mkdir()
        for fixture in _FIXTURES.iterdir():
            (self.directory / fixture.name).write_bytes(fixture.read_bytes())
        home = workspace.root / "home"
        workspace.environ |= {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_STATE_HOME": str(home / ".local" / "state"),
            "PATH": f"{Path(LEASHCTL).parent}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",  # what is printed stands in order, as on a terminal
            "ANTHROPIC_API_KEY": "sk-nothing-is-spent",
            "GEMINI_API_KEY": "nothing-is-spent",
            "LEASH_UPSTREAM": f"http://127.0.0.1:{_PROVIDER_PORT}",
        }

    def run(self, steps: list[Step]) -> None:
        """Do everything in its order. AssertionError says which block failed, and what it printed."""
        provider = f"leashctl fake-provider --listen 127.0.0.1:{_PROVIDER_PORT}\n"
        whole = [Step(place="the provider behind the page", script=provider, background="fake provider:"), *steps]
        for number, step in enumerate(whole):
            self._file(number, "sh").write_text(step.script, encoding="utf-8")
        driver = self._records / "driver"
        driver.write_text(self._driver(whole), encoding="utf-8")
        with _ports() as prefix:
            status = self._drive([*prefix, "bash", str(driver)])
        reached = int((self._records / "reached").read_text(encoding="ascii"))
        for number, step in enumerate(whole[: reached + 1]):
            printed = self._printed(number)
            if number == reached and status != 0:
                shown = f"{step.script}it printed:\n{printed}{self._said.read_text(encoding='utf-8')}"
                raise AssertionError(f"{step.place}: {_ended(status, step)}\n{shown}")
            if step.printed is not None and not matches(step.printed, printed):
                shown = f"the page says that it prints:\n{step.printed}it printed:\n{printed}"
                raise AssertionError(f"{step.place}: {shown}")
        assert reached == len(whole) - 1, f"the page ended after {whole[reached].place}: a block has left the shell"

    def _driver(self, whole: list[Step]) -> str:
        lines = ["set -euo pipefail", "_status=0", "_servers=()", _END_SERVERS]
        for number, step in enumerate(whole):
            lines += [f"echo {number} > {shlex.quote(str(self._records / 'reached'))}", *self._lines(number, step)]
        return "\n".join([*lines, "_end_servers"]) + "\n"

    def _lines(self, number: int, step: Step) -> list[str]:
        """The lines of bash for one step."""
        script, out = (shlex.quote(str(self._file(number, suffix))) for suffix in ("sh", "out"))
        run = f". {script} > {out} 2>&1 < /dev/null"
        first = ["_end_servers"] if step.servers_end else []
        if step.file:
            target = shlex.quote(str(self.directory / step.file))
            return [f"mkdir -p $(dirname {target})", f"cp {script} {target}", f": > {out}"]
        if step.background:
            ready = f"grep -qF -- {shlex.quote(step.background)} {out}"
            return [
                *("set -m", f"( trap : TERM; {run} ) &", "set +m", "_servers+=($!)" if number else ":"),
                f"for _ in $(seq {_READY_TRIES}); do",
                f"{ready} 2> /dev/null && break; kill -0 $! || exit; sleep 0.1",
                "done",
                ready,
            ]
        if step.status is None:
            return ["set +e", run, "_status=$?", "set -e"]
        if step.status:
            return ["set +e", f"( set -e; {run} )", "_status=$?", "set -e", f"[ $_status = {step.status} ] || exit 99"]
        return [*first, run, "_status=0"]

    def _drive(self, command: list[str]) -> int:
        with self._said.open("w") as said:
            process = subprocess.Popen(
                command,
                env=self._workspace.environ,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            return process.wait(timeout=_PAGE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return 124
        finally:
            self._end(process.pid)

    def _end(self, session: int) -> None:
        """End what the page left running in its session; a daemon has one of its own, and is the workspace's."""

        def left() -> list[psutil.Process]:
            found = []
            for process in psutil.process_iter():
                with suppress(psutil.Error, ProcessLookupError):
                    if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
            return found

        for process in left():
            with suppress(psutil.Error):
                process.send_signal(signal.SIGTERM)
        try:
            wait_until(lambda: not left(), "what the page started ends after SIGTERM")
        finally:
            for process in left():
                with suppress(psutil.Error):
                    process.kill()

    def _file(self, number: int, suffix: str) -> Path:
        return self._records / f"{number}.{suffix}"

    def _printed(self, number: int) -> str:
        path = self._file(number, "out")
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _ended(status: int, step: Step) -> str:
    if status == 124:
        return f"it did not end within {_PAGE_S:.0f} s"
    if step.status:
        return f"it did not end with {step.status}"
    return f"it ended with {status}{', before it was ready' if step.background else ''}"


@functools.cache
def _can_be_alone() -> bool:
    tried = subprocess.run([PYTHON, _ALONE, "true"], check=False, capture_output=True)
    assert tried.returncode in (0, CANNOT), tried.stderr
    return tried.returncode == 0


@contextmanager
def _ports() -> Iterator[list[str]]:
    """What the command begins with for its ports to be free; where nothing helps, pages take turns on the host's."""
    if _can_be_alone():
        yield [PYTHON, _ALONE]
        return
    with (Path(tempfile.gettempdir()) / f"leash-docs-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for port in (*_PAGE_PORTS, _PROVIDER_PORT):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    pytest.skip(f"the pages use port {port}, which is taken, and no network namespace can be had")
        yield []
