"""Finding and ending the processes of a wrapped program's tree. Everything that looks at that tree is here.

The rule: what has begun a session of its own (``setsid``) and lost its parent has detached itself, and is left alone.
Orphans come to this process, which is their subreaper.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import psutil

# What a program gets to put its affairs in order, before it is killed.
GRACE_S = 2.0

# How long a killed process takes to be gone, unless it hangs in the kernel.
_KILLED_S = 1.0

# A person notices nothing below 10 ms.
_POLL_INTERVAL_S = 0.01

# A tree that forks faster than it is ended is given up after so many rounds; each kills all that it finds.
_ROUNDS = 5


def end_tree(program: int) -> None:
    """Ends a program with all its descendants: SIGTERM, and SIGKILL after the grace. Blocks until they are gone."""
    _end(partial(_tree, program))


def end_left_behind() -> None:
    """Ends what a program that has ended left running in this session, in the same way."""
    if _has_children():
        _end(partial(_tree, 0))


def is_descendant(pid: int) -> bool:
    """Whether a process descends from this one."""
    import psutil  # noqa: PLC0415 (20 ms that most runs never need)

    try:
        return os.getpid() in (parent.pid for parent in psutil.Process(pid).parents())
    except psutil.Error:
        return False


def _end(collect: Callable[[], list[psutil.Process]]) -> None:
    for _ in range(_ROUNDS):
        processes = collect()
        if not processes:
            return
        for process in processes:
            _send(process, signal.SIGTERM)
            # A stopped process would keep the SIGTERM for later.
            _send(process, signal.SIGCONT)
        for process in _wait(processes, GRACE_S):
            _send(process, signal.SIGKILL)
        _wait(processes, _KILLED_S)


def _tree(program: int) -> list[psutil.Process]:
    """The program and its descendants, and the orphans among them that are of this session still."""
    import psutil  # noqa: PLC0415

    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            descendants = child.children(recursive=True)
            if child.pid == program:
                found += [child, *descendants]
            elif _is_of_this_session(child):
                found += [child, *filter(_is_of_this_session, descendants)]
    return [process for process in found if _is_alive(process)]


def _wait(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those that still live when the time is over.

    Not by ``psutil.wait_procs``, which would take the exit code of this process's own child.
    """
    deadline_s = time.monotonic() + timeout_s
    alive = list(filter(_is_alive, processes))
    while alive and time.monotonic() < deadline_s:
        time.sleep(_POLL_INTERVAL_S)
        alive = list(filter(_is_alive, alive))
    return alive


def _is_alive(process: psutil.Process) -> bool:
    import psutil  # noqa: PLC0415

    try:
        return process.is_running() and process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


def _is_of_this_session(process: psutil.Process) -> bool:
    try:
        return os.getsid(process.pid) == os.getsid(0)
    except OSError:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    import psutil  # noqa: PLC0415

    # What has gone needs no signal; what another user owns can have none.
    with suppress(psutil.Error):
        process.send_signal(number)


def _has_children() -> bool:
    """Whether this process has any child: nearly free, and the answer is nearly always no."""
    if sys.platform != "linux":
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
