"""Names: what a run may be called, and how a call is shown."""

from __future__ import annotations

import os
import re

# 118 characters leave room for a tenant before the name in one file name or ledger key.
_PART = "[A-Za-z0-9][A-Za-z0-9._-]{0,117}"
_RUN_NAME = re.compile(f"(?:{_PART}/)?{_PART}", re.ASCII)

# An error shows no more than this of what was given, so that a pasted file does not fill the terminal.
_SHOWN_CHARACTERS = 140


def check_run_name(name: str) -> str:
    """Returns the name of a run, with its tenant (``tenant/run``) where it has one, if it is well formed.

    Raises ``ValueError`` that says the rule.
    """
    if _RUN_NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name[:_SHOWN_CHARACTERS]!r} is no name for a run: use up to 118 letters, digits, dots, dashes and "
            "underscores, beginning with a letter or a digit"
        )
    return name


def check_name_part(name: str) -> str:
    """Returns the name of a tenant, or of a run within one, if it is well formed. Raises ``ValueError``."""
    if "/" in name:
        raise ValueError(f"{name[:_SHOWN_CHARACTERS]!r} has a slash, which stands between a tenant and its run only")
    return check_run_name(name)


def new_run_name() -> str:
    """A random name for a run: eight hex digits, so that a ledger of thousands of runs hardly ever meets one twice."""
    return os.urandom(4).hex()


def short_call(call_id: bytes) -> str:
    """The first eight hex digits of a call's id, as people are shown it and may type it."""
    return call_id[:4].hex()
