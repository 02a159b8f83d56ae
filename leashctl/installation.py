"""Where this installation of leash is, and whether a service of the host can run it from there."""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from leash.programs import command, is_frozen

# What the units hide from their processes: ProtectHome= and PrivateTmp=.
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108 (nothing is put there)

_PACKAGES = ("leash", "leashd", "leashctl", "leash_shim", "grpc")

_READ, _SEARCH = stat.S_IROTH, stat.S_IXOTH


def program(name: str) -> list[str]:
    """The command line of ``leashd`` or ``leashctl`` of this installation, from any directory and without a PATH."""
    beside = Path(sys.executable).parent if is_frozen() else Path(sysconfig.get_path("scripts"))
    path = beside / name
    return [str(path)] if path.is_file() else command(name)


def shared_files() -> Path:
    """The directory of what the package brings beside its code."""
    return Path(sysconfig.get_path("data")) / "share" / "leash"


def why_not_for_services() -> str:
    """Why a service of the host, which is a user of its own, cannot run this installation; empty where it can."""
    paths = [Path(sys.executable), Path(sys.prefix), Path(sys.base_prefix), Path(os.__file__)]
    paths += [Path(program(name)[0]) for name in ("leashd", "leashctl")]
    paths += [Path(spec.origin) for name in _PACKAGES if (spec := find_spec(name)) is not None and spec.origin]
    for path in dict.fromkeys(paths):
        if reason := _out_of_reach(path.absolute()) or _out_of_reach(path.resolve()):
            return reason
    return ""


def _out_of_reach(path: Path) -> str:
    for directory in _HIDDEN:
        if path.is_relative_to(directory):
            return f"{path} is below {directory}, which services do not see"
    for each in (path, *path.parents):
        try:
            mode = each.stat().st_mode
        except OSError:  # a program that is put together of what is inside it has no such file
            continue
        wanted = _SEARCH if stat.S_ISDIR(mode) else _READ
        if not mode & wanted:
            return f"{each} may not be read by other users (chmod o+rX)"
    return ""
