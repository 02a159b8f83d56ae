"""Starting the daemon on demand: once, detached, and with its last words where it fails."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from leash.client import launch
from leash.client.errors import AccessDenied, DaemonError, DaemonUnreachable
from leash.client.launch import daemon_environment, ensure_daemon, log_path, reach
from leash.client.paths import Endpoint, control_socket_for
from leash.client.probe import Reach, probe

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def on_demand(directory: Path) -> Iterator[Endpoint]:
    socket = directory / "run" / "leash" / "0123456789ab" / "leashd.sock"
    (directory / "run").mkdir(mode=0o700)
    ledger = directory / "a.db"
    yield Endpoint(socket, control_socket_for(socket), ledger, "db")
    for process in [*launch._started]:
        process.terminate()
        process.wait(timeout=10)
    launch._reap()


def failing(monkeypatch: pytest.MonkeyPatch, directory: Path, source: str) -> None:
    """Put a daemon that fails as ordered in the place of the real one."""
    (directory / "leashd.py").write_text(source, encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(directory))


def ended_log(endpoint: Endpoint) -> str:
    """End the daemons, which may say that they are ready a moment after they answer, and read what they wrote."""
    for process in launch._started:
        process.terminate()
        process.wait(timeout=10)
    assert endpoint.ledger is not None
    return log_path(endpoint.ledger).read_text(encoding="utf-8")


def open_files(pid: int) -> dict[str, str]:
    files = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the daemon closed it in between
            files[path.name] = str(path.readlink())
    return files


async def test_ten_clients_at_once_start_one_daemon(on_demand: Endpoint) -> None:
    await asyncio.gather(*(ensure_daemon(on_demand) for _ in range(10)))
    [process] = launch._started
    assert probe(on_demand.socket) is Reach.ANSWERS
    assert probe(on_demand.control_socket) is Reach.ANSWERS
    # Another client of the same ledger finds it at once.
    began_s = time.perf_counter()
    await ensure_daemon(on_demand)
    assert time.perf_counter() - began_s < 0.05
    assert launch._started == [process]
    assert ended_log(on_demand).count("ready") == 1


async def test_the_daemon_is_detached_and_private(on_demand: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    pipe = os.pipe()
    os.set_inheritable(pipe[1], True)
    await ensure_daemon(on_demand)
    [started] = launch._started
    assert on_demand.ledger is not None
    log = log_path(on_demand.ledger)
    daemon = psutil.Process(started.pid)
    assert os.getsid(started.pid) == started.pid
    assert daemon.cwd() == "/"
    assert "OPENAI_API_KEY" not in daemon.environ()
    if sys.platform == "linux":
        opened = open_files(started.pid)
        assert [opened[number] for number in "012"] == [os.devnull, str(log), str(log)]
        # Whoever reads the other end of a pipe of this client's must not wait for the daemon.
        assert f"pipe:[{os.fstat(pipe[1]).st_ino}]" not in opened.values()
    for end in pipe:
        os.close(end)
    for path in (on_demand.socket.parent.parent, on_demand.socket.parent, log):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


async def test_a_daemon_that_was_killed_is_started_again(on_demand: Endpoint) -> None:
    await ensure_daemon(on_demand)
    [first] = launch._started
    first.kill()
    first.wait()
    assert probe(on_demand.socket) is Reach.DEAD
    await ensure_daemon(on_demand)
    [second] = launch._started
    assert second.pid != first.pid


async def test_a_daemon_on_its_way_out_is_waited_for(on_demand: Endpoint) -> None:
    for _ in range(3):
        await ensure_daemon(on_demand)
        launch._started[-1].send_signal(signal.SIGTERM)
        # Its sockets are closed before its ledger is.
        while probe(on_demand.socket) is Reach.ANSWERS:  # noqa: ASYNC110 (it is another process's)
            await asyncio.sleep(0.001)
    await ensure_daemon(on_demand)
    assert probe(on_demand.socket) is Reach.ANSWERS


async def test_a_ledger_that_another_daemon_holds_is_said_with_its_pid(on_demand: Endpoint, directory: Path) -> None:
    await ensure_daemon(on_demand)
    [holder] = launch._started
    elsewhere = directory / "run" / "leash" / "ffffffffffff" / "leashd.sock"
    other = Endpoint(elsewhere, control_socket_for(elsewhere), on_demand.ledger, "db")
    with pytest.raises(DaemonError, match=rf"did not start(?s:.*)pid {holder.pid}"):
        await ensure_daemon(other)


async def test_a_daemon_that_fails_shows_its_last_lines(
    on_demand: Endpoint, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_PAUSES_BEFORE_RETRY_S", ())
    assert on_demand.ledger is not None
    log_path(on_demand.ledger).write_text("of an earlier day\n", encoding="ascii")
    lines = "for n in range(50): print('line', n, flush=True)"
    failing(monkeypatch, directory, f"import sys\n{lines}\nsys.exit('it cannot be')")
    with pytest.raises(DaemonError) as failure:
        await ensure_daemon(on_demand)
    text = str(failure.value)
    assert "exit code 1" in text
    assert str(log_path(on_demand.ledger)) in text
    assert "it cannot be" in text
    assert "earlier day" not in text
    assert len(text.splitlines()) == 9


async def test_a_daemon_that_fails_without_a_word_says_how_to_see_more(
    on_demand: Endpoint, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_PAUSES_BEFORE_RETRY_S", ())
    failing(monkeypatch, directory, "raise SystemExit(7)")
    with pytest.raises(DaemonError, match=r"exit code 7.*-m leashd"):
        await ensure_daemon(on_demand)


async def test_a_daemon_that_never_answers_is_given_up(
    on_demand: Endpoint, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "START_TIMEOUT_S", 0.3)
    failing(monkeypatch, directory, "import time\ntime.sleep(60)")
    with pytest.raises(DaemonError, match="does not answer after"):
        await ensure_daemon(on_demand)


async def test_a_start_that_another_client_does_not_finish_is_given_up(
    on_demand: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "START_TIMEOUT_S", 0.2)
    on_demand.socket.parent.mkdir(parents=True, mode=0o700)
    on_demand.socket.parent.parent.chmod(0o700)
    with on_demand.socket.with_name("start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DaemonError, match="another client"):
            await ensure_daemon(on_demand)
    assert launch._started == []


async def test_a_ledger_in_no_directory_is_said(on_demand: Endpoint, directory: Path) -> None:
    missing = Endpoint(on_demand.socket, on_demand.control_socket, directory / "no" / "a.db", "db")
    with pytest.raises(DaemonError, match="no is no directory"):
        await ensure_daemon(missing)


async def test_a_log_that_cannot_be_written_is_said(on_demand: Endpoint) -> None:
    assert on_demand.ledger is not None
    log_path(on_demand.ledger).mkdir()
    with pytest.raises(DaemonError, match=r"cannot be started: .*a\.db\.log"):
        await ensure_daemon(on_demand)


async def test_the_users_own_ledger_gets_its_directory(on_demand: Endpoint, directory: Path) -> None:
    ledger = directory / "state" / "leash" / "leash.db"
    socket = directory / "run" / "leash" / "leashd.sock"
    await ensure_daemon(Endpoint(socket, control_socket_for(socket), ledger, "user"))
    assert stat.S_IMODE(ledger.parent.stat().st_mode) == 0o700
    assert probe(socket) is Reach.ANSWERS


async def test_a_log_that_has_grown_large_begins_anew(on_demand: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_MAX_LOG_BYTES", 10)
    assert on_demand.ledger is not None
    log = log_path(on_demand.ledger)
    log.write_text("more than ten bytes\n", encoding="ascii")
    await ensure_daemon(on_demand)
    assert log.with_name("a.db.log.1").read_text(encoding="ascii") == "more than ten bytes\n"
    assert "ready" in ended_log(on_demand)


@pytest.mark.parametrize(("origin", "advice"), [("system", "systemctl start leashd"), ("socket", "--socket")])
async def test_a_daemon_that_is_not_the_clients_to_start_is_only_missed(
    on_demand: Endpoint, origin: str, advice: str
) -> None:
    with pytest.raises(DaemonUnreachable, match=advice):
        await ensure_daemon(Endpoint(on_demand.socket, on_demand.control_socket, None, origin))
    assert launch._started == []


@pytest.mark.parametrize(("control", "group"), [(False, "group leash only"), (True, "group leash-admin only")])
async def test_a_door_that_is_shut_names_its_group(
    on_demand: Endpoint, directory: Path, control: bool, group: str
) -> None:
    await ensure_daemon(on_demand)
    system = Endpoint(on_demand.socket, on_demand.control_socket, None, "system")
    for path in (on_demand.socket, on_demand.control_socket):
        path.chmod(0)
    with _as_nobody(directory), pytest.raises(AccessDenied, match=group):
        await reach(system, system.control_socket if control else system.socket)


@contextlib.contextmanager
def _as_nobody(directory: Path) -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    for path in (directory, directory / "run", directory / "run" / "leash", directory / "run/leash/0123456789ab"):
        path.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_the_daemon_sees_nothing_of_the_environment_that_it_does_not_need() -> None:
    environ = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "XDG_STATE_HOME": "/s", "PYTHONPATH": "/p", "TZ": "UTC"}
    assert daemon_environment(environ | {"OPENAI_API_KEY": "sk", "LEASH_SOCKET": "x", "http_proxy": "y"}) == environ
