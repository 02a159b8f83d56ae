"""A machine with a real systemd: this one's own root below, everything that is changed in memory, nothing left over.

leash is installed in it as an administrator would, for the whole host and below /opt/leash: the environment of the
tests, with the code of this tree. It takes root, and a kernel that lets root make namespaces.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness import REPOSITORY, WAIT_S, wait_until

PREFIX = "/opt/leash"
PYTHON = f"{PREFIX}/bin/python"
LEASHCTL = f"{PREFIX}/bin/leashctl"
SYSTEMD = Path("/usr/lib/systemd/systemd")
BOOT = Path(__file__).with_name("boot.py")
COMMAND_S = 60.0

_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
_NAMESPACES = ("--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc", "--net", "--propagation", "private")
_ENVIRONMENT = ("PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "SYSTEMD_PAGER=", "COLUMNS=200")


@functools.cache
def why_not() -> str:
    """Why no machine can be had here; empty where one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root can start a systemd as PID 1"
    if not SYSTEMD.exists():
        return f"there is no {SYSTEMD}"
    missing = [name for name in ("unshare", "nsenter", "pivot_root", "setpriv") if shutil.which(name) is None]
    if missing:
        return f"there is no {missing[0]}"
    if _cgroup_root() is None:
        return "there is no cgroup2 that can be written"
    tried = subprocess.run(("unshare", *_NAMESPACES, "true"), check=False, capture_output=True, text=True)
    if tried.returncode != 0:
        return f"namespaces cannot be made: {tried.stderr.strip()}"
    return "" if _interpreter() else "there is no interpreter of this version that every user may run"


def _interpreter() -> str:
    """An interpreter that services can run; empty where there is none."""
    for path in (Path(sys.executable).resolve(), Path("/usr/bin") / _VERSION):
        if path.is_file() and all(each.stat().st_mode & 0o001 for each in (path, *path.parents)):
            return str(path)
    return ""


@dataclass(slots=True)
class Machine:
    """A machine that runs; ``pid`` is that of its PID 1 as this machine sees it."""

    root: Path
    cgroup: Path
    process: subprocess.Popen[bytes]
    pid: int = 0
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @classmethod
    def booted(cls) -> Machine:
        """Boots one, and returns once it is up."""
        group = _cgroup_root()
        assert group is not None
        root = Path(tempfile.mkdtemp(prefix="lt-machine-", dir="/tmp"))
        cgroup = group / root.name
        cgroup.mkdir()
        plan = json.dumps(_plan(root))

        def join() -> None:
            (cgroup / "cgroup.procs").write_text(f"{os.getpid()}\n", encoding="ascii")

        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                ("unshare", *_NAMESPACES, "--kill-child", "--", sys.executable, str(BOOT), plan),
                preexec_fn=join,  # noqa: PLW1509 (the cgroup namespace begins at the group in which it is made)
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        # Behind the file systems that are mounted there the log is still this one.
        machine = cls(root, cgroup, process)
        log_descriptor = os.open(root / "log", os.O_RDONLY)
        try:
            wait_until(machine._is_up, "systemd is up")
        except (AssertionError, TimeoutError):
            said = os.pread(log_descriptor, 1 << 16, 0).decode(errors="replace")
            machine.close()
            pytest.fail(f"no systemd: {said}")
        finally:
            os.close(log_descriptor)
        return machine

    def command(self, *command: str, user: str = "") -> tuple[str, ...]:
        """The command line that runs a command in the machine, as root or as a user who has just logged in."""
        home = f"HOME=/home/{user}" if user else f"HOME={PREFIX}"
        as_user = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--") if user else ()
        inside = ("nsenter", f"--target={self.pid}", "--all", "--", "env", "-i", "--chdir=/", *_ENVIRONMENT, home)
        return (*inside, *as_user, *command)

    def run(
        self, *command: str, user: str = "", text: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the machine to its end."""
        done = subprocess.run(
            self.command(*command, user=user),
            check=False,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def start(self, *command: str, user: str = "") -> subprocess.Popen[str]:
        """Starts a command in the machine."""
        process = subprocess.Popen(
            self.command(*command, user=user),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Puts a file into the machine."""
        self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", path, text=content)

    def read(self, path: str) -> str:
        """The content of a file in the machine."""
        return self.run("cat", path).stdout

    def systemctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs systemctl. Where it fails, the end of the journal is told as well."""
        done = self.run("systemctl", *arguments, check=False)
        if check and done.returncode != 0:
            journal = self.run("journalctl", "--no-pager", "-n", "60", check=False).stdout
            pytest.fail(f"systemctl {' '.join(arguments)}: {done.stderr}\n{journal}")
        return done

    def property(self, unit: str, name: str) -> str:
        """One property of a unit, as ``systemctl show`` has it."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def journal(self, *matches: str) -> list[dict[str, object]]:
        """The journal's records that match."""
        lines = self.run("journalctl", "--no-pager", "--all", "--output=json", *matches).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Ends it, and all that runs in it."""
        for process in self.started:
            process.kill()
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, 9)
        self.process.kill()
        self.process.wait(timeout=WAIT_S)
        for process in self.started:
            process.communicate(timeout=WAIT_S)
        wait_until(lambda: "populated 0" in (self.cgroup / "cgroup.events").read_text(), "the machine has ended")
        for directory, _, _ in os.walk(self.cgroup, topdown=False):
            Path(directory).rmdir()
        shutil.rmtree(self.root)

    def _is_up(self) -> bool:
        assert self.process.poll() is None, "unshare has ended"
        if not self.pid:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if not children or Path(f"/proc/{children[0]}/comm").read_text().strip() != "systemd":
                return False
            self.pid = int(children[0])
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")


def _plan(root: Path) -> dict[str, object]:
    """What ``boot.py`` is to make: leash below /opt/leash, with an interpreter that every user may run."""
    interpreter = _interpreter()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    packages = [(REPOSITORY / package, f"{PREFIX}/code/{Path(package).name}") for package in wheel["packages"]]
    shared = [(REPOSITORY / source, f"{PREFIX}/{target}") for source, target in wheel["shared-data"].items()]
    files = {
        f"{PREFIX}/pyvenv.cfg": (f"home = {Path(interpreter).parent}\ninclude-system-site-packages = false\n", 0o644),
        f"{PREFIX}/lib/{_VERSION}/site-packages/leash.pth": (f"{PREFIX}/code\n{PREFIX}/packages\n", 0o644),
    }
    for name, place in project["project"]["scripts"].items():
        module, function = place.split(":")
        text = f"#!{PYTHON}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        files[f"{PREFIX}/bin/{name}"] = (text, 0o755)
    return {
        "root": str(root),
        "bound": [(sysconfig.get_path("purelib"), f"{PREFIX}/packages")],
        "copied": [(str(source), target) for source, target in (*packages, *shared) if source.is_dir()],
        "files": files,
        "links": {
            f"{PREFIX}/bin/python": interpreter,
            **{f"/usr/local/bin/{name}": f"{PREFIX}/bin/{name}" for name in project["project"]["scripts"]},
        },
    }


def _cgroup_root() -> Path | None:
    """Where a group of one's own can be made for the machine's processes: beside that of this process."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            own = Path("/proc/self/cgroup").read_text(encoding="ascii").rpartition("0::/")[2].split("\n")[0]
            group = Path(fields[4]) / own
            return group if os.access(group, os.W_OK) else None
    return None
