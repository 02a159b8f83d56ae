"""Running one program as if leash were not there: its terminal, its signals, its exit code, and its whole tree.

The rule: the program gets each signal exactly once. It stays in the process group of ``wrap``, so that what the
terminal sends (Ctrl-C, Ctrl-Z, a new window size) comes to it from the kernel; what another process sends to ``wrap``
is passed on. One thread does all of this, so that no signal can meet a process id that was reaped a moment earlier.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

EXIT_FAILED = 1
COMMAND_NOT_EXECUTABLE = 126
COMMAND_NOT_FOUND = 127
SIGNALLED = 128

# Signals that end a program, or that it may have a use for. Faults are the process's own, and SIGKILL and SIGSTOP
# cannot be caught.
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_WATCHED = frozenset((*_ENDING, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT, signal.SIGCHLD))

# What the terminal's keys send, for systems that do not tell who sent a signal.
_FROM_KEYS = frozenset((signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH))

# The stops of job control. A plain SIGSTOP is somebody's doing to the program alone, unless Ctrl-Z came before it.
_JOB_STOPS = frozenset((signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))

# Python ignores these in itself, and a program expects them as they are by default.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

_PR_SET_CHILD_SUBREAPER = 36

# Who started a session leader may wait for it by itself (the daemon's launcher looks every 10 ms, in a loop that
# imports may hold up); after this long nobody does.
_SPARED_FOR_S = 5.0
_LOOK_AGAIN_S = 1.0
# The thread is woken by signals alone; the bound only keeps the wait a finite one.
_NO_HURRY_S = 3600.0


class CommandFailure(Exception):  # noqa: N818 (the shell's word for it: the command cannot be run)
    """The command cannot be run; ``exit_code`` is the shell's, 127 for not found and 126 for not executable."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Child:
    """One wrapped program. Make it in the main thread, before any other thread is started.

    From then on the signals of this process are the program's; before it is started an ending signal ends this
    process. ``on_late_signal`` is called, in the thread, for one that comes after the program has ended;
    ``on_suspend`` before this process is stopped together with the program, and ``on_resume`` once that goes on.
    """

    def __init__(self) -> None:
        self.pid = 0
        self.on_late_signal: Callable[[], None] = _nothing
        self.on_suspend: Callable[[], None] = _nothing
        self.on_resume: Callable[[], None] = _nothing
        self._exit_code: int | None = None
        self._lock = threading.Lock()
        self._ended_callbacks: list[Callable[[], None]] = []
        self._stopped = False
        self._suspending = False
        self._spared: dict[int, float] = {}
        _adopt_orphans()
        # An inherited SIG_IGN would make the kernel reap children before their exit code is read.
        signal.signal(signal.SIGCHLD, _on_child)
        self._inherited_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        threading.Thread(target=self._attend, name="leash-signals", daemon=True).start()

    @property
    def exit_code(self) -> int | None:
        """The program's exit code, 128 + n where signal n ended it; None before."""
        return self._exit_code

    def start(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Starts the program with this process's standard streams, terminal, group and inherited descriptors.

        Raises ``CommandFailure``.
        """
        with self._lock:
            # Under the lock, so that a signal is either handled before there is a program, or passed on to it.
            self.pid = _spawn(command, environ, self._inherited_mask)
        # The program may have ended before its id was known here.
        os.kill(os.getpid(), signal.SIGCHLD)

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Calls back once the program has ended, from the thread, or at once where it has."""
        with self._lock:
            if self._exit_code is None:
                self._ended_callbacks.append(callback)
                return
        callback()

    async def wait(self) -> int:
        """Waits for the program's end; returns its exit code."""
        import asyncio  # noqa: PLC0415 (the program is started before a loop is needed)

        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(ended.set)

        self.when_ended(wake)
        await ended.wait()
        assert self._exit_code is not None, "the program has ended"
        return self._exit_code

    def _attend(self) -> None:
        """The thread: takes every watched signal of this process."""
        try:
            while True:
                number, sender = _next_signal(_LOOK_AGAIN_S if self._spared else _NO_HURRY_S)
                with self._lock:
                    callbacks = self._take(number, sender)
                for callback in callbacks:
                    callback()
        except BaseException:  # noqa: BLE001 (without this thread the program's end would never be seen)
            self._give_up()

    def _give_up(self) -> NoReturn:
        """Ends the program and this process after what should not happen."""
        import traceback  # noqa: PLC0415

        from leashctl.process_tree import end_tree  # noqa: PLC0415

        traceback.print_exc()
        if self.pid and self._exit_code is None:
            end_tree(self.pid)
        os._exit(EXIT_FAILED)

    def _take(self, number: int, sender: int | None) -> list[Callable[[], None]]:
        """Acts on one signal, or on none where ``number`` is 0; returns what to call after it."""
        if not self.pid:
            _act_unstarted(number)
            return []
        was_running = self._exit_code is None
        if was_running:
            self._look_at_child()
        self._reap_orphans()
        if self._exit_code is not None:
            callbacks, self._ended_callbacks = self._ended_callbacks, []
            # A signal that is met together with the program's end is what ended it.
            late = number in _ENDING and not was_running
            return [*callbacks, self.on_late_signal] if late else callbacks
        match number:
            case signal.SIGTSTP if sender is None:
                self._suspending = True
            case signal.SIGCONT if not self._stopped:
                pass  # it was sent to the whole group, and the program had its own
            case 0 | signal.SIGCHLD:
                pass
            case _ if sender is not None and not _is_descendant(sender):
                # A program of another user (sudo) cannot be signalled from here, nor by whoever sent this.
                with suppress(PermissionError):
                    os.kill(self.pid, number)
        return []

    def _look_at_child(self) -> None:
        """Follows the program's changes of state: a stop, a continuation, the end."""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if not pid:
                return
            if os.WIFSTOPPED(status):
                self._stopped = True
                if os.WSTOPSIG(status) in _JOB_STOPS or self._suspending:
                    # The shell takes the terminal back once this process has stopped as well.
                    self.on_suspend()
                    os.kill(os.getpid(), signal.SIGSTOP)
            elif os.WIFCONTINUED(status):
                self._stopped = self._suspending = False
                self.on_resume()
            else:
                code = os.waitstatus_to_exitcode(status)
                self._exit_code = code if code >= 0 else SIGNALLED - code
                return

    def _reap_orphans(self) -> None:
        """Reaps the processes of the program's tree whose parents have ended, as init would."""
        if sys.platform != "linux":
            return  # elsewhere they are init's
        while True:
            try:
                state = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if state is None or state.si_pid == self.pid or self._spare(state.si_pid):
                return
            os.waitpid(state.si_pid, os.WNOHANG)

    def _spare(self, pid: int) -> bool:
        """Whether an ended process is left for now to whoever in this process may have started it."""
        with suppress(ProcessLookupError):
            if os.getsid(pid) != pid:
                return False
        now_s = time.monotonic()
        if now_s - self._spared.setdefault(pid, now_s) < _SPARED_FOR_S:
            return True
        del self._spared[pid]
        return False


def _spawn(command: Sequence[str], environ: Mapping[str, str], mask: set[signal.Signals | int]) -> int:
    """Starts a command as a shell does: found by PATH; a script that names no reader is read by /bin/sh."""
    try:
        return _posix_spawn(command[0], command, environ, mask)
    except OSError as error:
        if error.errno == errno.ENOEXEC and (path := _found(command[0])):
            return _posix_spawn("/bin/sh", ["sh", path, *command[1:]], environ, mask)
        found = error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
        reason = "command not found" if error.errno == errno.ENOENT and "/" not in command[0] else error.strerror
        raise CommandFailure(
            f"{command[0]}: {reason}", COMMAND_NOT_EXECUTABLE if found else COMMAND_NOT_FOUND
        ) from error


def _posix_spawn(
    file: str, arguments: Sequence[str], environ: Mapping[str, str], mask: set[signal.Signals | int]
) -> int:
    return os.posix_spawnp(file, list(arguments), environ, setsigmask=mask, setsigdef=_IGNORED_BY_PYTHON)


def _found(file: str) -> str | None:
    import shutil  # noqa: PLC0415 (only for a script without a first line)

    return shutil.which(file)


def _next_signal(timeout_s: float) -> tuple[int, int | None]:
    """The next watched signal and the process that sent it: None for the kernel. 0 where none comes in time."""
    if sys.platform != "linux":
        number = signal.sigwait(_WATCHED)
        # Nothing says who sent it; those of the keys come from them almost always.
        return number, None if number in _FROM_KEYS and os.isatty(0) else 0
    info = signal.sigtimedwait(_WATCHED, timeout_s)
    if info is None:
        return 0, None
    # si_code is positive for what the kernel sends (SI_KERNEL for the terminal), see sigaction(2).
    return info.si_signo, None if info.si_code > 0 else info.si_pid


def _act_unstarted(number: int) -> None:
    """Does what a signal would have done to this process, had it not been blocked for the program to come."""
    if number in _ENDING:
        os._exit(SIGNALLED + number)  # nothing runs yet that could be left behind
    if number == signal.SIGTSTP:
        os.kill(os.getpid(), signal.SIGSTOP)


def _is_descendant(pid: int) -> bool:
    """Whether a process is of the program's own tree: what it sends to its group has reached the program already."""
    from leashctl.process_tree import is_descendant  # noqa: PLC0415 (few programs signal their group)

    return is_descendant(pid)


def _adopt_orphans() -> None:
    """Makes this process the parent of orphans in its tree, so that none of them escapes unseen (Linux)."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415

        # Where an old kernel declines, orphans are init's, as without leash.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _on_child(_number: int, _frame: FrameType | None) -> None:
    """Stands as a handler that never runs: the signal is blocked, and taken by the thread."""


def _nothing() -> None:
    """Stands where nobody wants to know."""
