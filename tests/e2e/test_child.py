"""A program under ``Child``, as real processes: what it sees and what is left of it must be as without leash."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.terminal import Terminal

# What wrap does around a Child, without the shim and the daemon.
DRIVER = """
import os, sys, threading
from leashctl.child import Child, CommandFailure
from leashctl.process_tree import end_left_behind, end_tree
child = Child()
try:
    child.start(sys.argv[2:], os.environ)
except CommandFailure as failure:
    print(failure, file=sys.stderr)
    os._exit(failure.exit_code)
ended = threading.Event()
child.when_ended(ended.set)
if sys.argv[1] == "kill":
    sys.stdin.readline()
    end_tree(child.pid)
ended.wait()
late = threading.Event()
child.on_late_signal = late.set
end_left_behind()
if sys.argv[1] == "late":
    print("ended", flush=True)
    assert late.wait(10)
    print("late", flush=True)
os._exit(child.exit_code)
"""

REPORTER = """
import os, signal, sys, time
path = sys.argv[1]
def note(text):
    with open(path, "a") as file:
        file.write(text + "\\n")
for name in sys.argv[2:]:
    signal.signal(signal.Signals[name], lambda number, frame: note(signal.Signals(number).name))
note("ready")
while True:
    time.sleep(0.05)
"""

PYTHON = sys.executable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the behaviour of Linux is what is promised")


def driver(*command: str, mode: str = "wait") -> list[str]:
    return [PYTHON, "-c", DRIVER, mode, *command]


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(driver(*command), capture_output=True, text=True, timeout=30, check=False, **options)


def eventually(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass in time"
        time.sleep(0.02)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def start(command: list[str], **options: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, text=True, **options)
        processes.append(process)
        return process

    yield start
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for descendant in psutil.Process(process.pid).children(recursive=True):
                descendant.kill()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_exit_code_is_the_programs(code: int) -> None:
    assert run("sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("name", ["TERM", "KILL", "INT", "SEGV"])
def test_death_by_signal_is_128_and_its_number(name: str) -> None:
    assert run("sh", "-c", f"ulimit -c 0; kill -{name} $$").returncode == 128 + signal.Signals[f"SIG{name}"]


def test_unknown_command_is_127() -> None:
    ended = run("no-such-command-anywhere")
    assert ended.returncode == 127
    assert ended.stderr == "no-such-command-anywhere: command not found\n"


def test_missing_path_is_127(tmp_path: Path) -> None:
    ended = run(str(tmp_path / "missing"))
    assert ended.returncode == 127
    assert "No such file" in ended.stderr


def test_file_that_is_not_executable_is_126(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    assert run(str(tmp_path / "data")).returncode == 126


def test_directory_is_126(tmp_path: Path) -> None:
    assert run(str(tmp_path)).returncode == 126


def test_script_that_names_no_reader_is_read_by_sh(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$0 has $1"\n')
    script.chmod(0o755)
    assert run(str(script), "an argument").stdout == f"{script} has an argument\n"


def test_arguments_and_environment_arrive_as_they_are() -> None:
    code = "import os, sys; print(sys.argv[1:], os.environb[b'ODD'])"
    environ = os.environb | {b"ODD": b"\xff=1"}
    ended = run(PYTHON, "-c", code, "--", "a b", "", "ü", env=environ)
    assert ended.stdout == "['--', 'a b', '', 'ü'] b'\\xff=1'\n"


def test_standard_streams_and_other_descriptors_are_inherited(tmp_path: Path) -> None:
    (tmp_path / "three").write_text("from three")
    command = " ".join(f"'{part}'" for part in (PYTHON, str(tmp_path / "driver"), "wait", "sh", "-c", "cat; cat <&3"))
    (tmp_path / "driver").write_text(DRIVER)
    ended = subprocess.run(
        ["sh", "-c", f"{command} 3<'{tmp_path}/three'"],
        input="from stdin, ",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ended.stdout == "from stdin, from three"


def signal_sets(status: str) -> dict[str, int]:
    """The kernel's signal sets of a process, without the two signals that the C library keeps for itself."""
    found = re.findall(r"Sig(Blk|Ign|Cgt|Pnd):\s*([0-9a-f]+)", status)
    return {name: int(bits, 16) & ~(0b11 << 31) for name, bits in found}


def test_signal_mask_and_dispositions_are_those_without_leash() -> None:
    program = ["grep", "Sig", "/proc/self/status"]
    bare = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert signal_sets(run(*program).stdout) == signal_sets(bare)
    assert signal_sets(bare)["Blk"] == 0


def test_ignored_and_blocked_signals_stay_so() -> None:
    def prepare() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGALRM})

    program = ["grep", "Sig", "/proc/self/status"]
    bare = subprocess.run(program, capture_output=True, text=True, check=True, preexec_fn=prepare).stdout
    assert signal_sets(run(*program, preexec_fn=prepare).stdout) == signal_sets(bare)
    assert signal_sets(bare)["Blk"] != 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"])
def test_signal_sent_by_another_process_arrives_once(
    name: str, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    notes = tmp_path / "notes"
    process = started(driver(PYTHON, "-c", REPORTER, str(notes), name))
    eventually(lambda: lines(notes) == ["ready"])
    process.send_signal(signal.Signals[name])
    eventually(lambda: len(lines(notes)) > 1)
    time.sleep(0.3)
    assert lines(notes) == ["ready", name]
    assert process.poll() is None


def test_signal_that_the_program_dies_of_ends_wrap_with_its_code(
    tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    notes = tmp_path / "notes"
    process = started(driver(PYTHON, "-c", REPORTER, str(notes)))
    eventually(lambda: lines(notes) == ["ready"])
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM


def test_signal_that_the_program_sends_to_its_group_arrives_once(
    tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    notes = tmp_path / "notes"
    code = REPORTER.replace("while True:", "os.kill(0, signal.SIGUSR1)\nwhile True:")
    process = started(driver(PYTHON, "-c", code, str(notes), "SIGUSR1"), start_new_session=True)
    eventually(lambda: len(lines(notes)) > 1)
    time.sleep(0.3)
    assert lines(notes) == ["ready", "SIGUSR1"]
    assert process.poll() is None


def test_late_signal_is_told(started: Callable[..., subprocess.Popen[str]]) -> None:
    process = started(driver("true", mode="late"), stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ended\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "late\n"
    assert process.wait(10) == 0


def test_orphan_in_the_session_is_ended(tmp_path: Path) -> None:
    ended = run("sh", "-c", f"(sleep 600 >/dev/null 2>&1 & echo $! >{tmp_path}/pid); exit 4")
    assert ended.returncode == 4
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_orphan_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    began_s = time.monotonic()
    ended = run("sh", "-c", f"(sh -c 'trap \"\" TERM; echo $$ >{tmp_path}/pid; exec sleep 600' &) ; sleep 0.3")
    assert ended.returncode == 0
    assert not is_alive(int((tmp_path / "pid").read_text()))
    assert 2.0 <= time.monotonic() - began_s < 6.0


def test_detached_process_is_left_alone(tmp_path: Path) -> None:
    script = f"setsid sh -c 'echo $$ >{tmp_path}/pid; exec sleep 600' >/dev/null 2>&1 & sleep 0.3"
    assert run("sh", "-c", script).returncode == 0
    pid = int((tmp_path / "pid").read_text())
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_no_zombie_stays_while_the_program_runs(tmp_path: Path, started: Callable[..., subprocess.Popen[str]]) -> None:
    # Twenty orphans of the session, and one that leads a session of its own.
    script = f"for i in $(seq 20); do (true &); done; (setsid true &); echo >{tmp_path}/done; exec sleep 600"
    process = started(driver("sh", "-c", script))
    eventually((tmp_path / "done").exists)

    def zombies() -> list[psutil.Process]:
        found = psutil.Process(process.pid).children(recursive=True)
        return [child for child in found if child.status() == psutil.STATUS_ZOMBIE and child.ppid() == process.pid]

    eventually(lambda: not zombies(), timeout_s=15)


def test_kill_ends_the_whole_tree(tmp_path: Path, started: Callable[..., subprocess.Popen[str]]) -> None:
    pids = tmp_path / "pids"
    # A child of its own session that is no orphan belongs to the tree all the same; one ignores SIGTERM.
    script = (
        f"setsid --wait sh -c 'echo $$ >>{pids}; exec sleep 600' &"
        f" sh -c 'trap \"\" TERM; echo $$ >>{pids}; exec sleep 600' &"
        f" echo $$ >>{pids}; wait"
    )
    process = started(driver("sh", "-c", script, mode="kill"), stdin=subprocess.PIPE)
    eventually(lambda: len(lines(pids)) == 3)
    assert process.stdin is not None
    process.stdin.write("now\n")
    process.stdin.flush()
    assert process.wait(15) == 128 + signal.SIGTERM
    assert not any(is_alive(int(pid)) for pid in lines(pids))


def test_kill_ends_a_stopped_program(tmp_path: Path, started: Callable[..., subprocess.Popen[str]]) -> None:
    process = started(driver("sh", "-c", "kill -STOP $$", mode="kill"), stdin=subprocess.PIPE)
    eventually(lambda: [child.status() for child in psutil.Process(process.pid).children()] == [psutil.STATUS_STOPPED])
    # A stop of the program alone does not stop leash with it.
    assert psutil.Process(process.pid).status() != psutil.STATUS_STOPPED
    assert process.stdin is not None
    process.stdin.write("now\n")
    process.stdin.flush()
    assert process.wait(15) == 128 + signal.SIGTERM


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "reporter.py").write_text(REPORTER)
    shell = Terminal(environ=dict(os.environ), home=tmp_path)
    yield shell
    shell.close()


def wrapped(tmp_path: Path, *command: str) -> str:
    return " ".join((PYTHON, str(tmp_path / "driver.py"), "wait", *command))


def reporter(tmp_path: Path, *signals: str) -> str:
    return wrapped(tmp_path, PYTHON, str(tmp_path / "reporter.py"), str(tmp_path / "notes"), *signals)


def test_ctrl_c_arrives_once_and_leash_goes_on(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type(reporter(tmp_path, "SIGINT") + "\n")
    eventually(lambda: lines(tmp_path / "notes") == ["ready"])
    terminal.type("\x03")
    eventually(lambda: len(lines(tmp_path / "notes")) > 1)
    time.sleep(0.3)
    assert lines(tmp_path / "notes") == ["ready", "SIGINT"]
    terminal.type("\x1c")  # Ctrl-\, which it does not handle
    terminal.wait_for("ready> ")
    terminal.type("echo code=$?\n")
    terminal.wait_for(f"code={128 + signal.SIGQUIT}")


def test_ctrl_c_ends_a_program_that_does_not_handle_it(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type(wrapped(tmp_path, "sleep 600") + "\n")
    time.sleep(0.5)
    terminal.type("\x03")
    terminal.wait_for("ready> ")
    terminal.type("echo code=$?\n")
    terminal.wait_for(f"code={128 + signal.SIGINT}")


def test_ctrl_z_suspends_the_job_and_fg_goes_on(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type(reporter(tmp_path, "SIGCONT") + "\n")
    eventually(lambda: lines(tmp_path / "notes") == ["ready"])
    terminal.type("\x1a")
    terminal.wait_for(r"Stopped.*driver")
    terminal.wait_for("ready> ")
    terminal.type("fg\n")
    eventually(lambda: len(lines(tmp_path / "notes")) > 1)
    time.sleep(0.3)
    assert lines(tmp_path / "notes") == ["ready", "SIGCONT"]
    terminal.type("\x1a")
    terminal.wait_for(r"Stopped.*driver")
    terminal.type("bg\nkill %1; wait %1; echo code=$?\n")
    terminal.wait_for(f"code={128 + signal.SIGTERM}")


def test_program_that_handles_ctrl_z_itself_stops_when_it_is_ready(terminal: Terminal, tmp_path: Path) -> None:
    # As an editor does: it puts the terminal in order first, then stops its whole group.
    program = tmp_path / "editor.py"
    program.write_text(
        "import os, signal, time\n"
        "def leave(number, frame):\n"
        "    time.sleep(0.5)\n"
        "    os.write(1, b'in order\\n')\n"
        "    signal.signal(signal.SIGTSTP, signal.SIG_DFL)\n"
        "    os.kill(0, signal.SIGTSTP)\n"
        "    signal.signal(signal.SIGTSTP, leave)\n"
        "    os.write(1, b'back\\n')\n"
        "signal.signal(signal.SIGTSTP, leave)\n"
        "os.write(1, b'open\\n')\n"
        "while True: time.sleep(0.05)\n"
    )
    terminal.type(wrapped(tmp_path, PYTHON, str(program)) + "\n")
    terminal.wait_for("open")
    for _ in range(2):
        terminal.type("\x1a")
        terminal.wait_for(r"in order[\s\S]*Stopped")
        terminal.wait_for("ready> ")
        terminal.type("fg\n")
        terminal.wait_for("back")


def test_program_that_ignores_ctrl_z_goes_on(terminal: Terminal, tmp_path: Path) -> None:
    program = tmp_path / "stubborn.py"
    program.write_text(
        "import signal\nsignal.signal(signal.SIGTSTP, signal.SIG_IGN)\n"
        "print('open', flush=True)\nprint('read ' + input(), flush=True)\n"
    )
    terminal.type(wrapped(tmp_path, PYTHON, str(program)) + "\n")
    terminal.wait_for("open")
    terminal.type("\x1a")
    time.sleep(0.3)
    terminal.type("a line\n")
    terminal.wait_for("read a line")


def test_window_size_arrives_once(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type(reporter(tmp_path, "SIGWINCH") + "\n")
    eventually(lambda: lines(tmp_path / "notes") == ["ready"])
    terminal.resize(40, 132)
    eventually(lambda: len(lines(tmp_path / "notes")) > 1)
    time.sleep(0.3)
    assert lines(tmp_path / "notes") == ["ready", "SIGWINCH"]


def test_program_has_the_terminal(terminal: Terminal, tmp_path: Path) -> None:
    code = "import os, sys; print([os.isatty(n) for n in (0, 1, 2)], os.tcgetpgrp(0) == os.getpgrp(), input())"
    (tmp_path / "asks.py").write_text(code)
    terminal.type(wrapped(tmp_path, PYTHON, str(tmp_path / "asks.py")) + "\n")
    time.sleep(0.5)
    terminal.type("typed\n")
    terminal.wait_for(r"\[True, True, True\] True typed")


def test_signal_before_there_is_a_program_ends_wrap(started: Callable[..., subprocess.Popen[str]]) -> None:
    code = "import sys, time; from leashctl.child import Child; Child(); print('made', flush=True); time.sleep(600)"
    process = started([PYTHON, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "made\n"
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM
