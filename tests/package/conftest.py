"""The packages, built once from the files of this checkout, and the tools that install them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness import REPOSITORY

HERE = Path(__file__).parent
BUILD_S = 300.0  # it takes a quarter of a minute, and several times that through a slow connection

# What no package is made of, and what takes long to copy.
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".cache", ".*_cache", ".hypothesis", "__pycache__", "dist", "*_pb2*", "node_modules"
)


@dataclass(frozen=True, slots=True)
class Packages:
    """Both packages as they would be published."""

    wheel: Path
    sdist: Path


def run(*command: str | Path, environ: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Runs a command to its end; returns what it printed. AssertionError with everything it said where it fails."""
    ended = subprocess.run(
        list(map(str, command)),
        env=environ,
        cwd=cwd,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_S,
    )
    assert ended.returncode == 0, f"{' '.join(map(str, command))} ended with {ended.returncode}:\n{ended.stdout}"
    return ended.stdout


@pytest.fixture(scope="session")
def tools() -> Iterator[Path]:
    """The programs that build and install packages, in a directory of an environment of their own."""
    with tempfile.TemporaryDirectory(prefix="leash-tools-") as name:
        venv.create(name, with_pip=False)
        programs = Path(name) / "bin"
        run(
            *(sys.executable, "-m", "pip", "--python", programs / "python", "install", "-q"),
            *("-r", HERE / "tools.txt"),
        )
        yield programs


@pytest.fixture(scope="session")
def packages(tools: Path) -> Iterator[Packages]:
    """The sdist, and the wheel that comes of the sdist."""
    with tempfile.TemporaryDirectory(prefix="leash-packages-") as name:
        source, built = Path(name) / "source", Path(name) / "built"
        shutil.copytree(REPOSITORY, source, ignore=_LEFT_OUT)
        run(tools / "python", "-m", "build", "--outdir", built, source)
        [wheel], [sdist] = built.glob("*.whl"), built.glob("*.tar.gz")
        yield Packages(wheel, sdist)
