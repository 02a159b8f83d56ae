"""One notice to one command: a process group of its own, without a shell, and for a bounded time.

The rule: a hook's group does not outlive its time-out, and what it says costs a bounded memory and goes to the log.
What has left the group, or was left behind by a hook that ended in time, is the hook's own affair.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from leashd.core.outbox import Failure

MAX_OUTPUT_BYTES = 4_096  # of what one hook has to say: some fifty lines
PIPE_BYTES = 65_536  # what a pipe holds
BETWEEN_LOOKS_S = 0.02  # at whether it has ended: a hook that mails or posts takes much longer
LAST_WORDS_S = 0.2  # for what is in the pipe already when the command has ended; a child that it left may keep it open

_log = structlog.get_logger("leashd.reactions")


async def run_hook(command: tuple[str, ...], *, timeout_s: float, variables: Mapping[str, str]) -> Failure | None:
    """Runs a command to its end; why it failed, or None where it exited with 0."""
    try:
        with anyio.CancelScope(shield=True):  # what is started is to be ended here
            # In a thread: the program may lie on a disk that does not answer.
            process = await anyio.to_thread.run_sync(_start, command, variables)
    except OSError as error:
        return Failure(f"{command[0]} cannot be run: {error.strerror or error}")
    said = bytearray()
    try:
        code = await _end_of(process, said, timeout_s)
    finally:
        with anyio.CancelScope(shield=True):
            await _left_to_nobody(process)
    _tell(bytes(said), command, code, variables)
    if code is None:
        return Failure(f"{command[0]} did not end within {timeout_s:g} s, and was killed")
    return Failure(f"{command[0]} exited with {code}") if code else None


def _start(command: tuple[str, ...], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a command. By Popen, and not by the event loop, which forks: gRPC's handlers of a fork may crash it."""
    return subprocess.Popen(  # noqa: S603 - what the run's opener, or the host's administrator, has named
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(variables),
        cwd=_directory(),
        start_new_session=True,
    )


async def _end_of(process: subprocess.Popen[bytes], said: bytearray, timeout_s: float) -> int | None:
    """The exit code; None where the time is over."""
    code: int | None = None
    silent = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_listen, process, said, silent)
        with anyio.move_on_after(timeout_s):
            code = await _exit_code(process)
        if code is None:
            _kill_group(process)
        with anyio.move_on_after(LAST_WORDS_S):
            await silent.wait()
        tasks.cancel_scope.cancel()
    return code


async def _exit_code(process: subprocess.Popen[bytes]) -> int:
    while (code := process.poll()) is None:  # noqa: ASYNC110 - no event tells on every system that leash runs on
        await anyio.sleep(BETWEEN_LOOKS_S)
    return code


async def _listen(process: subprocess.Popen[bytes], said: bytearray, silent: anyio.Event) -> None:
    """Keeps the beginning of what it says, and takes the rest, so that it does not wait."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    while True:
        await anyio.wait_readable(descriptor)
        data = os.read(descriptor, PIPE_BYTES)
        if not data:
            break
        said += data[: MAX_OUTPUT_BYTES - len(said)]
    silent.set()


async def _left_to_nobody(process: subprocess.Popen[bytes]) -> None:
    """A command that is still there is killed with its group; one that has ended may have left something running."""
    if process.poll() is None:
        _kill_group(process)
        await _exit_code(process)
    assert process.stdout is not None
    process.stdout.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The daemon's own environment with the notice; other settings of leash are none of a hook's business."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("LEASH_")}
    return {**own, **variables}


def _directory() -> str:
    home = Path(os.environ.get("HOME") or "/")
    return str(home) if home.is_dir() else "/"


def _tell(said: bytes, command: tuple[str, ...], code: int | None, variables: Mapping[str, str]) -> None:
    text = said.decode(errors="replace").strip()
    if text:
        _log.info(
            "hook_output",
            run=variables["LEASH_RUN"],
            notice=variables["LEASH_EVENT_ID"],
            command=command[0],
            code=code,
            output=text,
        )
