"""Processes of other users of this host: who they are, and the command that starts one. It takes root, and Linux."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

PYTHON = sys.executable

# Where the interpreter lies in a home of root's: it may be read then, and no socket may be opened for it.
_MAY_READ = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


@dataclass(frozen=True, slots=True)
class User:
    """A user with the groups of one login."""

    uid: int
    groups: tuple[int, ...] = ()

    def command(self, *command: str) -> tuple[str, ...]:
        """The command, to be run by this user."""
        groups = f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        capabilities = _capabilities()
        assert capabilities is not None, "the test is to be skipped"
        return ("setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", groups, *capabilities, "--", *command)


def why_not() -> str:
    """Why this process cannot start one of another user; empty where it can."""
    if os.geteuid() != 0:
        return "only root can be another user"
    if shutil.which("setpriv") is None:
        return "there is no setpriv"
    return "" if _capabilities() is not None else "another user cannot run this interpreter"


# It runs itself again: that it can read its modules does not say that it can be started by this user.
_TRY = "import subprocess, sys, leashctl.main; sys.exit(subprocess.run([sys.executable, '-c', '']).returncode)"


@functools.cache
def _capabilities() -> tuple[str, ...] | None:
    """What another user needs to run this interpreter; None where nothing helps."""
    for capabilities in ((), _MAY_READ):
        command = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", *capabilities, PYTHON, "-c", _TRY)
        tried = subprocess.run(command, check=False, cwd="/", capture_output=True)
        if tried.returncode == 0:
            return capabilities
    return None
