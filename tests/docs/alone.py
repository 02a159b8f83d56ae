"""Runs a program as on a host of its own: every port is free, nothing outside is reached, no other process is seen.

``python alone.py PROGRAM [ARGUMENT…]`` waits for the program, and exits with its status; whatever the program has
started ends with it. It takes root or user namespaces, and Linux; where it has neither it exits with ``CANNOT``, before
anything was run.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from pathlib import Path

CANNOT = 77

# linux/sched.h, linux/mount.h, linux/prctl.h, linux/sockios.h, linux/if.h
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_PR_SET_PDEATHSIG = 1
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def main(command: list[str]) -> int:
    """Leave the host, run the program as the first process, and wait for it."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        _leave(libc)
    except (OSError, AttributeError) as error:
        return _cannot(error)
    child = os.fork()
    if child == 0:
        try:
            _settle(libc)
        except OSError as error:
            os._exit(_cannot(error))
        os.execvp(command[0], command)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _leave(libc: ctypes.CDLL) -> None:
    """Enter new namespaces, in a user namespace of its own where that is what it takes. Raises OSError."""
    wanted = _CLONE_NEWNET | _CLONE_NEWPID | _CLONE_NEWNS
    if libc.unshare(wanted) == 0:
        return
    uid, gid = os.geteuid(), os.getegid()
    _done(libc.unshare(_CLONE_NEWUSER | wanted))
    # Everybody stays who he is.
    Path("/proc/self/setgroups").write_bytes(b"deny")
    Path("/proc/self/uid_map").write_bytes(b"%d %d 1" % (uid, uid))
    Path("/proc/self/gid_map").write_bytes(b"%d %d 1" % (gid, gid))


def _settle(libc: ctypes.CDLL) -> None:
    """Make the namespaces a host: its processes in /proc, its loopback up; it ends when its starter does. OSError."""
    _done(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL))
    _done(libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None))
    _done(libc.mount(b"proc", b"/proc", b"proc", 0, None))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _done(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _cannot(error: Exception) -> int:
    sys.stderr.write(f"no namespaces can be had: {error}\n")
    return CANNOT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
