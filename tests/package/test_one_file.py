"""The self-contained artefact: how its one file unpacks and names itself, and, as a long test, the whole of it."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from tests.harness import REPOSITORY, Workspace, wait_until
from tests.package.conftest import BUILD_S, Packages, run

DIRECTORY = REPOSITORY / "deploy" / "one-file"
PROGRAM = DIRECTORY / "program.py"

# In the place of what PyInstaller makes: it says what it was started as, with what, and with which environment.
STAND_IN = """\
#!/bin/bash -p
printf '%s\\n' "${0##*/}" "$@"
env -0 | tr '\\0' '\\n'
"""


def builder() -> ModuleType:
    spec = spec_from_file_location("one_file_build", DIRECTORY / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    """The one file, with a stand-in for the program."""
    build = builder()
    made = tmp_path / "made"
    made.mkdir()
    (made / "leash").write_text(STAND_IN, encoding="utf-8")
    (made / "leash").chmod(0o755)
    for name in ("leashctl", "leashd"):
        (made / name).symlink_to("leash")
    file = tmp_path / "leash-linux"
    content: bytes = build._packed(made)
    file.write_bytes(build._header(Path("leash_governor-1.2.3-py3-none-any.whl"), content) + content)
    file.chmod(0o755)
    return file


def start(*command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def unpacked(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_it_unpacks_once_below_the_home_and_starts_what_its_name_says(artefact: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("leash", "leashctl", "leashd", "leashctl-1.2.3", "anything")):
        link = tmp_path / name
        link.symlink_to(artefact)
        said = start(link, "ps", "a b", HOME=str(tmp_path)).stdout.splitlines()
        assert said[:3] == [("leash", "leashctl", "leashd", "leashctl", "leash")[number], "ps", "a b"]
        assert f"LEASH_ARTEFACT={link}" in said
    [place] = unpacked(tmp_path / ".cache" / "leash")
    assert place.startswith("1.2.3-")
    mode = (tmp_path / ".cache" / "leash" / place).stat().st_mode
    assert stat.S_IMODE(mode) == 0o755, "others can run it, and nobody else can change it"


def test_the_program_has_the_environment_that_the_file_was_given(artefact: Path, tmp_path: Path) -> None:
    odd = {"npm_config_//registry/:_authToken": "secret", "BASH_FUNC_f%%": "() { echo hello; }", "A.B": "c"}
    odd |= dict.fromkeys(("name", "root", "place", "new", "artefact"), "own")
    does = tmp_path / "does"
    startup = tmp_path / "startup"
    startup.write_text(f"touch {does}", encoding="utf-8")
    environ = odd | {"HOME": str(tmp_path), "BASH_ENV": str(startup), "ENV": str(startup)}
    said = start(artefact, **environ).stdout
    for name, value in environ.items():
        assert f"{name}={value}" in said.replace("\n}", " }"), name
    assert not does.exists(), "a shell's own files are not for a program to read"


def test_many_first_starts_at_once_come_to_one_place(artefact: Path, tmp_path: Path) -> None:
    command = (str(artefact), "x")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    started = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    for process in started:
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, said.splitlines()[:2]) == (0, ["leash", "x"])
    assert len(unpacked(tmp_path / ".cache" / "leash")) == 1


def test_where_it_unpacks_can_be_said_and_has_to_be_said_without_a_home(artefact: Path, tmp_path: Path) -> None:
    refused = start(artefact)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "LEASH_UNPACK_DIR" in refused.stderr
    assert start(artefact, LEASH_UNPACK_DIR=str(tmp_path / "there")).returncode == 0
    assert len(unpacked(tmp_path / "there")) == 1
    assert start(artefact, HOME="/nowhere", XDG_CACHE_HOME=str(tmp_path / "cache")).returncode == 0
    assert len(unpacked(tmp_path / "cache" / "leash")) == 1


def test_what_cannot_be_unpacked_is_refused_and_leaves_nothing(artefact: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(artefact.read_bytes()[:-100])
    cut.chmod(0o755)
    root = tmp_path / "root"
    refused = start(cut, LEASH_UNPACK_DIR=str(root))
    assert refused.returncode == 1
    assert f"cannot be unpacked into {root}" in refused.stderr
    assert unpacked(root) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_a_cache_of_another_user_is_not_run(artefact: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert start(artefact, LEASH_UNPACK_DIR=str(root)).returncode == 0
    [name] = unpacked(root)
    os.chown(root / name, 12345, 12345)
    refused = start(artefact, LEASH_UNPACK_DIR=str(root))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "belongs to another user" in refused.stderr


def test_the_program_takes_the_arguments_of_an_interpreter_for_modules_of_leash_alone() -> None:
    version = start(sys.executable, PROGRAM, "-P", "-m", "leashctl", "--version")
    assert (version.returncode, version.stdout[:9]) == (0, "leashctl ")
    foreign = start(sys.executable, PROGRAM, "-P", "-m", "http.server")
    assert (foreign.returncode, foreign.stdout) == (1, "")
    assert "no module of leash" in foreign.stderr


def test_the_program_gives_back_what_the_bootloader_took(tmp_path: Path) -> None:
    tells = tmp_path / "leash"
    tells.mkdir()
    (tells / "__init__.py").write_text("", encoding="utf-8")
    (tells / "tell.py").write_text("import os\nprint(dict(os.environ))\n", encoding="utf-8")
    command = (sys.executable, PROGRAM, "-P", "-m", "leash.tell")
    given = {"PYTHONPATH": str(tmp_path), "LD_LIBRARY_PATH": "/unpacked/_internal", "_PYI_ARCHIVE_FILE": "/unpacked"}
    said = start(*command, **given).stdout
    assert "/unpacked" not in said
    assert "'LD_LIBRARY_PATH': '/own'" in start(*command, **given, LD_LIBRARY_PATH_ORIG="/own").stdout


@pytest.mark.long
@pytest.mark.timeout(2 * BUILD_S)
@pytest.mark.skipif(sys.platform != "linux", reason="the one file is for Linux")
def test_the_real_one_stops_a_run_and_goes_on_after_a_kill(packages: Packages, workspace: Workspace) -> None:
    file = workspace.root / "leash"
    run(sys.executable, DIRECTORY / "build.py", packages.wheel, file)
    for name in ("leashctl", "leashd"):
        (workspace.root / name).symlink_to(file)

    # Nothing but what unpacks it is on the path: no interpreter of this host helps.
    host = workspace.root / "host"
    host.mkdir()
    for name in ("bash", "tail", "tar", "gzip", "mktemp", "mkdir", "chmod", "sync", "mv", "rm", "stat", "env"):
        found = shutil.which(name)
        assert found is not None
        (host / name).symlink_to(found)
    environ = workspace.environ | {"PATH": str(host)}
    assert "cost_budget" in run(file, "demo", environ=environ)

    [killed] = workspace.daemon_pids()
    os.kill(killed, 9)
    wait_until(lambda: not workspace.daemon_pids(), "the daemon is gone")
    assert "cost_budget" in run(workspace.root / "leashctl", "ps", "--all", environ=environ)
    assert "the ledger is whole" in run(workspace.root / "leashctl", "verify", environ=environ)
    # In an installation it is found below the prefix; here there is only what is inside.
    staging = workspace.root / "staging"
    run(workspace.root / "leashctl", "install-systemd", "--prefix", staging, environ=environ)
    assert (staging / "lib" / "systemd" / "system" / "leashd.service").exists()

    with tarfile.open(fileobj=io.BytesIO(_content(file))) as inside:
        names = inside.getnames()
    assert "_internal/share/man/man1/leashctl.1" in names
    assert [name for name in names if "grpcio-" in name and "LICENSE" in name], "licences go along"


@pytest.mark.long
@pytest.mark.timeout(3 * BUILD_S)
@pytest.mark.skipif(os.geteuid() != 0, reason="a root directory is entered, which only root may")
@pytest.mark.skipif(
    not (shutil.which("mmdebstrap") or shutil.which("debootstrap")), reason="mmdebstrap is not installed"
)
def test_the_real_one_runs_where_there_is_no_python(packages: Packages, tmp_path: Path) -> None:
    file = tmp_path / "leash"
    run(sys.executable, DIRECTORY / "build.py", packages.wheel, file)
    assert "Everything went as it should" in run(REPOSITORY / "tests" / "fresh" / "one-file", file)


def _content(file: Path) -> bytes:
    """The archive behind the text."""
    return file.read_bytes().partition(b'exec "$leash_place/$leash_name" "$@"\n')[2]
