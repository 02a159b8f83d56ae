"""Where a client looks for its daemon."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from leash.client import paths
from leash.client.errors import AccessDenied, DaemonError
from leash.client.paths import Endpoint, check_private, find_endpoint, known_daemons, user_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 65534
ABSENT = Path("/nonexistent/leashd.sock")


@pytest.fixture
def environ(directory: Path) -> dict[str, str]:
    (directory / "run").mkdir(mode=0o700)
    return {"XDG_RUNTIME_DIR": str(directory / "run"), "XDG_STATE_HOME": str(directory / "state"), "HOME": "/home/ada"}


@pytest.fixture
def listen() -> Iterator[Callable[[Path], Path]]:
    listeners = []

    def start(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listeners.append(listener)
        return path

    yield start
    for listener in listeners:
        listener.close()


@pytest.fixture
def as_nobody(directory: Path) -> Iterator[None]:
    """Be somebody whom a file's mode binds: root may open everything."""
    if os.geteuid() != 0:
        yield
        return
    directory.chmod(0o755)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


def find(
    environ: dict[str, str], *, flag_socket: str | None = None, db: str | None = None, system_socket: Path = ABSENT
) -> Endpoint:
    return find_endpoint(socket=flag_socket, db=db, environ=environ, system_socket=system_socket)


def test_a_named_socket_comes_first(environ: dict[str, str]) -> None:
    environ |= {"LEASH_SOCKET": "/other.sock", "LEASH_DB": "/x.db"}
    found = find(environ, flag_socket="/a/b/../x.sock", db="/y.db")
    assert found == Endpoint(Path("/a/x.sock"), Path("/a/x-control.sock"), None, "socket")
    assert not found.on_demand


def test_the_environment_stands_in_for_the_flags(environ: dict[str, str], directory: Path) -> None:
    environ |= {"LEASH_SOCKET": "/run/x/leashd.sock", "LEASH_DB": str(directory / "x.db")}
    found = find(environ)
    assert (found.origin, found.control_socket) == ("socket", Path("/run/x/control.sock"))
    assert find(environ | {"LEASH_SOCKET": ""}).origin == "db"
    # A flag wins over any variable.
    assert find(environ, db="/y.db").ledger == Path("/y.db")


def test_a_named_ledger_has_a_daemon_of_its_own(environ: dict[str, str], directory: Path) -> None:
    (directory / "real").mkdir()
    (directory / "link").symlink_to(directory / "real")
    found = find(environ, db=str(directory / "link" / "a.db"))
    assert found.ledger == directory / "real" / "a.db"
    assert found.origin == "db"
    assert found.on_demand
    assert found.socket.parent.parent == directory / "run" / "leash"
    assert len(found.socket.parent.name) == 12
    assert found == find(environ, db=str(directory / "real" / "a.db"))
    assert found.socket != find(environ, db=str(directory / "real" / "b.db")).socket


def test_the_users_own_ledger_by_name_is_the_users_own_daemon(environ: dict[str, str]) -> None:
    own = find(environ)
    assert (own.origin, own.on_demand) == ("user", True)
    assert find(environ, db=str(user_ledger(environ))) == own


def test_the_users_ledger_follows_the_xdg_rule() -> None:
    assert user_ledger({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == Path("/s/leash/leash.db")
    assert user_ledger({"XDG_STATE_HOME": "relative", "HOME": "/h"}) == Path("/h/.local/state/leash/leash.db")
    assert user_ledger({}) == Path.home() / ".local/state/leash/leash.db"


def test_the_systems_daemon_comes_before_the_users_own(
    environ: dict[str, str], directory: Path, listen: Callable[[Path], Path]
) -> None:
    system = listen(directory / "system" / "leashd.sock")
    found = find(environ, system_socket=system)
    assert (found.origin, found.socket, found.on_demand) == ("system", system, False)
    assert find(environ, db="/y.db", system_socket=system).origin == "db"


def test_a_dead_system_socket_is_no_reason_for_a_detour(environ: dict[str, str], directory: Path) -> None:
    system = directory / "leashd.sock"
    system.touch()
    assert find(environ, system_socket=system).origin == "system"


def test_a_system_daemon_that_is_down_is_asked_for_all_the_same(environ: dict[str, str], directory: Path) -> None:
    system = directory / "system" / "leashd.sock"
    assert find(environ, system_socket=system).origin == "user"
    assert known(environ, directory, system) == []
    system.parent.mkdir()
    assert find(environ, system_socket=system).origin == "system"
    assert [endpoint.origin for endpoint in known(environ, directory, system)] == ["system"]


def test_a_system_socket_that_may_not_be_opened_names_the_group(
    environ: dict[str, str], directory: Path, listen: Callable[[Path], Path], request: pytest.FixtureRequest
) -> None:
    system = listen(directory / "system" / "leashd.sock")
    system.chmod(0)
    listen(directory / "system" / "control.sock").chmod(0)
    (directory / "system").chmod(0o755)
    request.getfixturevalue("as_nobody")
    with pytest.raises(AccessDenied, match="group leash only"):
        find(environ, system_socket=system)


def test_a_directory_of_the_system_that_may_not_be_searched_is_no_absence(
    environ: dict[str, str], directory: Path, listen: Callable[[Path], Path], request: pytest.FixtureRequest
) -> None:
    system = listen(directory / "system" / "leashd.sock")
    (directory / "system").chmod(0)
    request.getfixturevalue("as_nobody")
    try:
        with pytest.raises(AccessDenied, match="usermod -aG leash"):
            find(environ, system_socket=system)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        (directory / "system").chmod(0o700)


def test_a_person_of_the_control_group_alone_is_let_through(
    environ: dict[str, str], directory: Path, listen: Callable[[Path], Path], request: pytest.FixtureRequest
) -> None:
    system = listen(directory / "system" / "leashd.sock")
    system.chmod(0)
    listen(directory / "system" / "control.sock").chmod(0o777)
    (directory / "system").chmod(0o755)
    request.getfixturevalue("as_nobody")
    assert find(environ, system_socket=system).origin == "system"


@pytest.mark.parametrize("runtime", [None, "relative", "/nonexistent", "/usr"])
def test_without_a_runtime_directory_a_private_one_is_used(
    environ: dict[str, str], directory: Path, runtime: str | None, request: pytest.FixtureRequest
) -> None:
    if runtime == "/usr":
        # It exists and is somebody else's.
        request.getfixturevalue("as_nobody")
    values = {"XDG_STATE_HOME": environ["XDG_STATE_HOME"]} | ({"XDG_RUNTIME_DIR": runtime} if runtime else {})
    found = paths._user_endpoint(values, directory)
    assert found.socket.parent.parent == directory / f"leash-{os.geteuid()}"


def test_a_runtime_directory_that_makes_the_path_too_long_is_left(environ: dict[str, str], directory: Path) -> None:
    deep = directory / ("d" * 90)
    deep.mkdir()
    found = paths._user_endpoint(environ | {"XDG_RUNTIME_DIR": str(deep)}, directory)
    assert found.socket.parent.parent == directory / f"leash-{os.geteuid()}"


def test_a_socket_path_that_no_socket_can_have_is_said(environ: dict[str, str]) -> None:
    with pytest.raises(DaemonError, match="choose a shorter one"):
        find(environ, flag_socket=f"/{'x' * 107}.sock")


def test_a_login_and_a_cron_job_find_the_same_daemon(
    environ: dict[str, str], directory: Path, listen: Callable[[Path], Path]
) -> None:
    cron = {name: value for name, value in environ.items() if name != "XDG_RUNTIME_DIR"}
    (directory / f"leash-{os.geteuid()}").mkdir(mode=0o700)
    first = listen(paths._user_endpoint(cron, directory).socket)
    assert paths._user_endpoint(environ, directory).socket == first


def test_a_daemon_of_another_ledger_is_never_taken_for_this_ones(
    environ: dict[str, str], directory: Path, listen: Callable[[Path], Path]
) -> None:
    other = environ | {"XDG_STATE_HOME": str(directory / "other")}
    (directory / "run" / "leash").mkdir(mode=0o700)
    assert find(environ).socket != listen(find(other).socket)


def test_a_runtime_directory_that_others_may_write_is_refused(environ: dict[str, str], directory: Path) -> None:
    runtime = directory / "run" / "leash"
    runtime.mkdir()
    runtime.chmod(0o770)
    with pytest.raises(AccessDenied, match="can be written by others"):
        find(environ)


def test_a_runtime_directory_of_somebody_else_is_refused(directory: Path) -> None:
    with pytest.raises(AccessDenied, match="belongs to uid"):
        check_private(directory, NOBODY - 1)


def test_a_link_in_the_place_of_the_runtime_directory_is_refused(environ: dict[str, str], directory: Path) -> None:
    (directory / "run" / "leash").symlink_to(directory)
    with pytest.raises(AccessDenied, match="no directory"):
        find(environ)


def known(environ: dict[str, str], directory: Path, system_socket: Path = ABSENT) -> list[Endpoint]:
    return known_daemons(
        environ=environ, system_socket=system_socket, temporary=directory / "tmp", sessions=directory / "sessions"
    )


def test_the_daemons_of_the_host_are_listed_once_each(
    environ: dict[str, str], directory: Path, listen: Callable[[Path], Path]
) -> None:
    system = listen(directory / "system" / "leashd.sock")
    own = listen(find(environ).socket)
    named = listen(find(environ, db=str(directory / "a.db")).socket)
    dead = find(environ, db=str(directory / "b.db")).socket
    dead.parent.mkdir(mode=0o700)
    dead.touch()
    found = known(environ, directory, system)
    assert [(endpoint.socket, endpoint.origin) for endpoint in found] == [
        (system, "system"),
        (own, "user"),
        (named, "found"),
    ]
    assert [endpoint.on_demand for endpoint in found] == [False, True, False]


def test_the_users_own_is_listed_for_its_ledger_alone(environ: dict[str, str], directory: Path) -> None:
    assert known(environ, directory) == []
    ledger = user_ledger(environ)
    ledger.parent.mkdir(parents=True)
    ledger.touch()
    [own] = known(environ, directory)
    assert (own.ledger, own.origin) == (ledger, "user")


def test_a_daemon_that_refuses_this_user_is_listed(
    environ: dict[str, str], directory: Path, listen: Callable[[Path], Path], request: pytest.FixtureRequest
) -> None:
    system = listen(directory / "system" / "leashd.sock")
    system.chmod(0)
    (directory / "system").chmod(0o755)
    request.getfixturevalue("as_nobody")
    [found] = known({"XDG_STATE_HOME": "/nonexistent"}, directory, system)
    assert (found.socket, found.origin) == (system, "system")


def test_roots_list_has_the_directories_of_others_where_they_are_theirs(
    directory: Path, listen: Callable[[Path], Path]
) -> None:
    uid = os.geteuid()
    private = listen(directory / "tmp" / f"leash-{uid}" / "leashd.sock").parent
    login = listen(directory / "sessions" / str(uid) / "leash" / "leashd.sock").parent
    # A directory that names one user and belongs to another is a trap.
    listen(directory / "tmp" / f"leash-{NOBODY - 1}" / "leashd.sock")
    (directory / "tmp" / "leash-x").mkdir()
    assert paths._directories_of_others(directory / "tmp", directory / "sessions") == [private, login]
