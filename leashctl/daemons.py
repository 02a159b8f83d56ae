"""Which daemons a command that shows every run asks: the one that was named, or else all that are known."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from leashctl.options import chosen_endpoint, named_daemon

if TYPE_CHECKING:
    from collections.abc import Callable

    from leash.client.paths import Endpoint


def daemons_to_follow() -> Callable[[], list[Endpoint]]:
    """What gives the daemons of now, in the course of a command that goes on. Raises ``Failure`` for a wrong name."""
    from leash.client.paths import known_daemons  # noqa: PLC0415

    if not any(named_daemon()) and not os.environ.get("LEASH_SOCKET") and not os.environ.get("LEASH_DB"):
        return known_daemons
    endpoint = chosen_endpoint()
    return lambda: [endpoint]
