"""Builds the self-contained artefact for Linux: one file that runs without Python and without pip.

    python deploy/one-file/build.py dist/leash_governor-*.whl dist/leash-linux-x86_64

It takes no compiler, but an interpreter with a shared library, and makes an environment of its own, from the index that
pip is set up for. The result runs where the C library is at least as new as that of the machine that builds it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).parent
PYINSTALLER = "pyinstaller==6.22.3"
# The programs by whose name it can be called; the first is the one that PyInstaller makes.
NAMES = ("leash", "leashctl", "leashd")


def main() -> None:
    """Builds what the command line says."""
    parser = argparse.ArgumentParser(description="Build the self-contained artefact for Linux from a wheel of leash.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--environment", type=Path, help="where to make the environment, and leave it, to be looked at")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leash-one-file-") as name:
        python = _environment(arguments.wheel, arguments.environment or Path(name) / "environment")
        content = _packed(_frozen(python, Path(name)))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_bytes(_header(arguments.wheel, content) + content)
    arguments.output.chmod(0o755)
    sys.stderr.write(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB\n")


def _environment(wheel: Path, place: Path) -> Path:
    """Installs the wheel and what freezes it into a new environment; returns its interpreter."""
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--only-binary", ":all:")
    subprocess.run((*pip, str(wheel), PYINSTALLER), check=True)  # noqa: S603 (pip, and files of ours)
    return python


def _frozen(python: Path, work: Path) -> Path:
    """Puts the program and all that it needs into one directory, which is returned."""
    directories = ("--distpath", str(work / "dist"), "--workpath", str(work / "build"))
    subprocess.run(  # noqa: S603 (the interpreter of the environment, and a file of ours)
        (str(python), "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR", *directories, HERE / "leash.spec"),
        # The order of what is in the program is that of sets; the same input is to come to the same output.
        env=os.environ | {"PYTHONHASHSEED": "0"},
        check=True,
    )
    directory = work / "dist" / NAMES[0]
    for name in NAMES[1:]:
        (directory / name).symlink_to(NAMES[0])
    return directory


def _packed(directory: Path) -> bytes:
    """The directory as a compressed archive, in which nothing tells when or by whom it was made."""
    archive = io.BytesIO()
    with gzip.GzipFile(fileobj=archive, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(directory.rglob("*")):
            entry = tar.gettarinfo(path, str(path.relative_to(directory)))
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = "root"
            entry.mode = 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)
    return archive.getvalue()


def _header(wheel: Path, content: bytes) -> bytes:
    """The text before the archive, which unpacks and runs it."""
    version = wheel.name.split("-")[1]
    text = (HERE / "header.sh").read_text(encoding="utf-8")
    values = {
        "VERSION": version,
        "MACHINE": platform.machine(),
        "ID": f"{version}-{hashlib.sha256(content).hexdigest()[:16]}",
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    # The text tells how long it is, in digits that count.
    offset = len(text)
    while offset != (length := len(text.replace("@OFFSET@", str(offset)).encode()) + 1):
        offset = length
    return text.replace("@OFFSET@", str(offset)).encode()


if __name__ == "__main__":
    main()
