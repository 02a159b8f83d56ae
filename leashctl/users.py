"""The names of users."""

from __future__ import annotations

import pwd
from functools import lru_cache


# More owners than one host's fleet has.
@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    """The name of a user, or the number of one that has none here."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
