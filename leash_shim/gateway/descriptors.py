"""How many files a gateway's processes may open, which bounds their connections."""

from __future__ import annotations

import resource

# What a worker has open beside connections: libraries, its log, the daemon's socket, its metrics, and some to spare.
_OTHERS = 64

# A call has a connection from its client and one to its provider.
_OF_A_CALL = 2

# Where connections have no bound of their own: more than one process serves, and little for the kernel to account for.
_MOST = 1 << 16


def connections_allowed(wanted: int) -> int:
    """Raises the limit of this process, and of those that it starts, for so many connections each; 0 for any number.

    Returns how many there may be, which is less where the limit may not be raised so far.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted * _OF_A_CALL + _OTHERS if wanted else _MOST
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed == needed:
        return wanted
    return max((allowed - _OTHERS) // _OF_A_CALL, 1)
