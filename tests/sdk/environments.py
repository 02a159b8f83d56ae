"""Environments with the official clients, built from the pins that are committed, and kept until the pins change."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.harness import REPOSITORY

HERE = Path(__file__).parent
CACHE = REPOSITORY / ".cache" / "sdk"
NODE = "node"

# The largest takes half a minute here, and several times that through a slow connection.
_BUILD_S = 540.0

_PINS = {path.stem: path for path in sorted((HERE / "clients").glob("*.txt"))}
_LOCK = HERE / "node" / "package-lock.json"


def build_all() -> None:
    """Build what is missing. RuntimeError with the installer's words where one cannot be built, or without Node."""
    if missing := [name for name in ("node", "npm") if shutil.which(name) is None]:
        raise RuntimeError(f"install {' and '.join(missing)} first (on Debian: apt install nodejs npm)")
    CACHE.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=2) as workers:
        list(workers.map(_build, (*_PINS, NODE)))


def command(environment: str, program: str) -> tuple[str, ...]:
    """The command that runs a program of ``programs/`` in an environment."""
    if environment == NODE:
        # Node looks for packages from the program's folder upwards.
        return ("node", str(_place(NODE) / program))
    return (str(_place(environment) / "bin" / "python"), str(HERE / "programs" / program))


def version(environment: str, package: str) -> str:
    """The version of a package that the pins name."""
    if environment == NODE:
        locked = json.loads(_LOCK.read_text(encoding="utf-8"))
        return str(locked["packages"][f"node_modules/{package}"]["version"])
    [pinned] = re.findall(f"^{re.escape(package)}==(.*)$", _PINS[environment].read_text(encoding="utf-8"), re.MULTILINE)
    return str(pinned)


def _place(environment: str) -> Path:
    """The folder of an environment. Another one for other pins or another interpreter."""
    pins = _LOCK if environment == NODE else _PINS[environment]
    made_of = pins.read_bytes() + sys.version.encode()
    return CACHE / f"{environment}-{hashlib.sha256(made_of).hexdigest()[:12]}"


def _build(environment: str) -> None:
    place = _place(environment)
    whole = place / ".whole"
    if not whole.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if environment == NODE:
            _build_node(place)
        else:
            _build_python(place, _PINS[environment])
        whole.touch()
    if environment == NODE:
        for program in (HERE / "programs").glob("*.mjs"):
            shutil.copy(program, place)


def _build_python(place: Path, pins: Path) -> None:
    _run(sys.executable, "-m", "venv", "--without-pip", str(place))
    # What is imported is compiled then; most of it never is.
    _run(
        *(sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "install"),
        *("-q", "-q", "--no-input", "--no-compile", "--only-binary", ":all:", "-r", str(pins)),
    )


def _build_node(place: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "node" / name, place)
    _run("npm", "ci", "--prefix", str(place), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error")


def _run(*arguments: str) -> None:
    ended = subprocess.run(
        arguments, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_BUILD_S
    )
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)}\n{ended.stdout}{ended.stderr}")
