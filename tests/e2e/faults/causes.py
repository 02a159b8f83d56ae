"""What breaks on purpose: a small disk of its own, and system calls that fail or wait, by strace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.harness import wait_until

_TRACED = "TracerPid:\t"
# What LMDB writes pages with, and the sync before the page that makes them count.
WRITES = ("pwrite64", "writev", "pwritev")
SYNC = ("fdatasync", "fsync")


# A disk of its own


@cache
def _namespace() -> tuple[str, ...]:
    """The command that makes a mount namespace; empty where this user may not have one."""
    own = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", "--mount")
    if shutil.which("unshare") is None:
        return ()
    tried = subprocess.run((*own, "mount", "-t", "tmpfs", "tmpfs", "/mnt"), capture_output=True, check=False)
    return own if tried.returncode == 0 else ()


def on_a_small_disk(directory: Path, *, kilobytes: int = 1024) -> tuple[str, ...]:
    """What to put before a command so that it alone sees a small file system at ``directory``."""
    own = _namespace()
    if not own:
        pytest.skip("this user may not mount a file system in a namespace of its own (unshare)")
    mount = f'mount -t tmpfs -o size={kilobytes}k,mode=0700 tmpfs "$0" && exec "$@"'
    return (*own, "sh", "-c", mount, str(directory))


def in_the_namespace_of(pid: int) -> tuple[str, ...]:
    """What to put before a command so that it sees what a process sees that was started on a small disk."""
    user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
    return ("nsenter", "--mount", *user, "--target", str(pid))


class SmallDisk:
    """The file system at ``directory`` as a process sees it that was started on it."""

    def __init__(self, directory: Path, pid: int) -> None:
        self._pid = pid
        self._directory = directory
        self.seen = Path(f"/proc/{pid}/root{directory}")
        self._filler = self.seen / "filler"

    def fill(self) -> None:
        """Takes every free block."""
        with self._filler.open("ab", buffering=0) as filler:
            for size in (65_536, 4_096, 1):
                try:
                    while True:
                        filler.write(bytes(size))
                except OSError:
                    continue

    def make_room(self) -> None:
        """Gives them back."""
        self._filler.unlink()


# A disk that fails


def _threads(pid: int) -> list[str]:
    return [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]


def _is_traced(pid: int) -> bool:
    return all(f"{_TRACED}0\n" not in status for status in _threads(pid))


@contextmanager
def failing(pid: int, calls: tuple[str, ...], fault: str, *, trace: Path) -> Iterator[subprocess.Popen[str]]:
    """While it lasts, the system calls of a process do what ``fault`` says (``error=EIO``, ``delay_enter=1s``)."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    names = ",".join(calls)
    command = ["strace", "-f", "-p", str(pid), "-o", str(trace), "-s", "64", "-e", f"trace={names}"]
    if fault:
        command += ["-e", f"inject={names}:{fault}"]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        wait_until(lambda: tracer.poll() is not None or _is_traced(pid), "strace is attached")
        if tracer.poll() is not None and os.geteuid() != 0:
            pytest.skip("this user may not trace a process of its own (kernel.yama.ptrace_scope)")
        assert tracer.poll() is None, tracer.stderr.read() if tracer.stderr else ""
        yield tracer
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)
        tracer.wait(timeout=20)
        if tracer.stderr is not None:
            tracer.stderr.close()


@contextmanager
def hung(pid: int) -> Iterator[None]:
    """While it lasts, a process is there and does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
