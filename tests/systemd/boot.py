"""Becomes a systemd as PID 1: ``python boot.py JSON``, in namespaces of its own, on an overlay of this machine's root.

Nothing of it reaches the host: what is written goes to memory, and all of it is gone with the process.

JSON says the ``root`` to build it on (an empty directory), what is ``bound`` and what is ``copied`` from this machine
to where, and the ``files`` and ``links`` that are made, each with its content.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

MS_BIND, MS_REC, MS_SHARED = 0x1000, 0x4000, 0x100000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
SYSTEMD = ("/usr/lib/systemd/systemd", "--unit=basic.target", "--show-status=no")

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    plan = json.loads(sys.argv[1])
    root = Path(plan["root"])
    mount("tmpfs", root, "tmpfs")
    for name in ("upper", "work", "new"):
        (root / name).mkdir()
    new = root / "new"
    mount("overlay", new, "overlay", data=f"lowerdir=/,upperdir={root}/upper,workdir={root}/work")
    furnish(new)
    for source, target in plan["bound"]:
        directory = new / target.lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        mount(source, directory, flags=MS_BIND)
    for source, target in plan["copied"]:
        copy_readable(Path(source), new / target.lstrip("/"))
    for target, (content, mode) in plan["files"].items():
        path = new / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        path.chmod(mode)
    for target, content in plan["links"].items():
        path = new / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(content)
    enter(new)
    bring_up_loopback()
    environment = {"container": "leash-test", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    os.execve(SYSTEMD[0], SYSTEMD, environment)


def furnish(new: Path) -> None:
    """The file systems that systemd expects of whoever starts it. No unit of this machine is enabled there."""
    mount("proc", new / "proc", "proc")
    mount("sysfs", new / "sys", "sysfs")
    mount("cgroup2", new / "sys/fs/cgroup", "cgroup2")
    for name, mode in (("dev", "755"), ("run", "755"), ("tmp", "1777"), ("etc/systemd/system", "755")):
        (new / name).mkdir(parents=True, exist_ok=True)
        mount("tmpfs", new / name, "tmpfs", data=f"mode={mode}")
    dev = new / "dev"
    for name in DEVICES:
        (dev / name).touch()
        mount(f"/dev/{name}", dev / name, flags=MS_BIND)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    mount("devpts", dev / "pts", "devpts", data="newinstance,ptmxmode=0666,mode=620")
    mount("tmpfs", dev / "shm", "tmpfs", data="mode=1777")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        (dev / name).symlink_to(target)
    # Timers of this machine have nothing to do there.
    (new / "etc/systemd/system/timers.target").symlink_to("/dev/null")


def copy_readable(source: Path, target: Path) -> None:
    """Copies a tree, with the times of its files, so that every user may read it."""
    os.umask(0o022)
    shutil.copytree(source, target, copy_function=shutil.copy2)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def enter(new: Path) -> None:
    """Makes it the root, and leaves the old one behind."""
    os.chdir(new)
    subprocess.run(["pivot_root", ".", "mnt"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "--lazy", "/mnt"], check=True)
    mount(None, Path("/"), flags=MS_REC | MS_SHARED)


def mount(source: str | None, target: Path, kind: str | None = None, *, flags: int = 0, data: str = "") -> None:
    arguments = (text and text.encode() for text in (source, str(target), kind))
    if _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() or None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh22x", b"lo", 0)
        [flags] = struct.unpack("16xh22x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    main()
