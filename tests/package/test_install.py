"""The wheel and the sdist as people install them: with pip, pipx and uv, where there is no compiler and no protoc."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Workspace
from tests.package.conftest import BUILD_S, Packages, run

pytestmark = pytest.mark.timeout(3 * BUILD_S)

PROGRAMS = ("leash", "leashctl", "leashd")
PROTOCOL = ("control", "runs", "shim", "types")

# What the package puts below the environment's prefix, beside its modules.
SHARED = (
    "share/leash/systemd/",
    "share/man/man1/leashctl.1",
    "share/man/man1/leash.1",
    "share/man/man8/leashd.8",
    "share/bash-completion/completions/leashctl",
    "share/zsh/site-functions/_leashctl",
    "share/fish/vendor_completions.d/leashctl.fish",
)

# Whatever could make machine code or stubs. A path without them is what a host without them has.
MAKERS = ("cc", "gcc", "c++", "g++", "clang", "cargo", "rustc", "make", "protoc", "python-config")


def bare(workspace: Workspace, *directories: Path) -> dict[str, str]:
    """The environment of a host where nothing can be compiled: these directories, a shell, and an interpreter."""
    place = workspace.root / "host"
    place.mkdir(exist_ok=True)
    for name in ("sh", "bash", "env", "uname", "git"):
        if (found := shutil.which(name)) and not (place / name).exists():
            (place / name).symlink_to(found)
    path = os.pathsep.join(map(str, (*directories, place)))
    assert not any(shutil.which(name, path=path) for name in MAKERS)
    return workspace.environ | {"PATH": path}


def check(programs: Path, environ: dict[str, str]) -> None:
    """What was installed runs: all three programs, a daemon that is started on demand, a budget that ends."""
    for name in PROGRAMS:
        assert "0." in run(programs / name, "--version", environ=environ)
    told = run(programs / "leash", "demo", environ=environ)
    assert "after 4 calls, $0.10 tokens + $0.00 compute = $0.10 (cost_budget)" in told
    assert "cost_budget" in run(programs / "leash", "ps", "--all", environ=environ)


def names_below(place: Path) -> set[str]:
    """Every file below a directory, without what an interpreter keeps compiled."""
    found = (path.relative_to(place) for path in place.rglob("*") if not path.is_dir())
    return {str(path) for path in found if path.suffix != ".pyc"}


def test_the_wheel_runs_from_a_virtual_environment_without_a_compiler_and_leaves_nothing_behind(
    packages: Packages, workspace: Workspace
) -> None:
    assert packages.wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(packages.wheel) as wheel:
        names = wheel.namelist()
        [metadata] = [wheel.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    for message in PROTOCOL:
        assert {f"leash/v1/{message}{end}" for end in (".proto", "_pb2.py", "_pb2.pyi")} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    assert "grpcio-tools" not in metadata

    place = workspace.root / "environment"
    run(sys.executable, "-m", "venv", place, environ=workspace.environ)
    before = names_below(place)
    environ = bare(workspace, place / "bin") | {"PIP_ONLY_BINARY": ":all:"}
    run(place / "bin" / "pip", "install", "-q", "--no-compile", packages.wheel, environ=environ)
    installed = names_below(place) - before
    for name in SHARED:
        assert [path for path in installed if path.startswith(name)], f"{name} is not in {place}"
    check(place / "bin", environ)

    run(place / "bin" / "pip", "uninstall", "-q", "-y", "leash-governor", environ=environ)
    left = names_below(place) - before
    own = ("leash", "share/")
    assert not [name for name in left if name.startswith((*own, *(f"bin/{start}" for start in own)))]
    assert not [name for name in left if name.partition("site-packages/")[2].startswith("leash")]


@pytest.mark.long
def test_the_sdist_has_what_it_is_built_and_checked_with(packages: Packages, workspace: Workspace) -> None:
    with tarfile.open(packages.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "proto/leash/v1/shim.proto", "tests/harness.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", ".git/", ".cache"))]

    # Stubs are made while it is built, by tools that come as wheels; the environment that it runs in has none of them.
    place = workspace.root / "environment"
    run(sys.executable, "-m", "venv", place, environ=workspace.environ)
    environ = bare(workspace, place / "bin")
    run(place / "bin" / "pip", "install", "-q", packages.sdist, environ=environ)
    assert "grpcio-tools" not in run(place / "bin" / "pip", "list", environ=environ)
    check(place / "bin", environ)


def with_pipx(tools: Path, package: Path, environ: dict[str, str]) -> tuple[Path, Callable[[], str]]:
    home = Path(environ["HOME"])
    environ |= {"PIPX_HOME": str(home / "pipx"), "PIPX_BIN_DIR": str(home / "bin"), "PIPX_MAN_DIR": str(home / "man")}
    pipx = tools / "pipx"
    run(pipx, "install", "--python", sys.executable, package, environ=environ)
    assert (home / "man" / "man1" / "leashctl.1").exists()
    return home / "bin", lambda: run(pipx, "uninstall", "leash-governor", environ=environ)


def with_uv(tools: Path, package: Path, environ: dict[str, str]) -> tuple[Path, Callable[[], str]]:
    home = Path(environ["HOME"])
    environ |= {"UV_TOOL_DIR": str(home / "tools"), "UV_TOOL_BIN_DIR": str(home / "bin"), "UV_NO_BUILD": "1"}
    uv = tools / "uv"
    run(uv, "tool", "install", "--python", sys.executable, package, environ=environ)
    return home / "bin", lambda: run(uv, "tool", "uninstall", "leash-governor", environ=environ)


@pytest.mark.long
@pytest.mark.parametrize("install", [with_pipx, with_uv])
def test_pipx_and_uv_install_the_programs_and_take_them_away(
    install: Callable[[Path, Path, dict[str, str]], tuple[Path, Callable[[], str]]],
    tools: Path,
    packages: Packages,
    workspace: Workspace,
) -> None:
    environ = bare(workspace)
    programs, uninstall = install(tools, packages.wheel, environ)
    check(programs, environ)

    workspace.stop_daemons()
    uninstall()
    assert not [name for name in PROGRAMS if (programs / name).exists()]
