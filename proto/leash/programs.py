"""How one program of leash starts another one, and how a person would: always by what is made here.

A program names the interpreter that runs now, so that what it starts is of the same installation, whatever is on the
path. The self-contained artefact has no interpreter to name: its one program takes these arguments in the place of one,
and runs the module that they name.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

# Where the self-contained artefact says which file it was started from.
ARTEFACT_VARIABLE = "LEASH_ARTEFACT"


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of leash as a program: ``leashd``, ``leashctl``, a worker of the gateway."""
    # -P: what lies in the working directory is not to be imported.
    return [sys.executable, "-P", "-m", module, *arguments]


def is_frozen() -> bool:
    """Whether this is the self-contained artefact, which has no interpreter beside it."""
    return bool(getattr(sys, "frozen", False))


def typed(name: str) -> str:
    """What a person types to run ``leash``, ``leashctl`` or ``leashd`` of this installation: its name, or its path."""
    if shutil.which(name):
        return name
    return os.environ.get(ARTEFACT_VARIABLE) or str(Path(sys.executable).with_name(name))
