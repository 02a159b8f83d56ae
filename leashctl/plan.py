"""What ``wrap`` is going to do, settled before anything is started: every mistake of the command line ends here."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from leash.governance import Governance
from leashctl.failure import say
from leashctl.options import DEFAULTS
from leashctl.price_notice import price_notice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leash.client.paths import Endpoint
    from leash.reactions import Reactions
    from leash.v1 import shim_pb2
    from leashctl.price_file import PriceFile

# Connections that come before the shim serves wait here: more than an agent opens at once, and what Linux allows.
_BACKLOG = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One wrapped run. ``environ`` is the program's, whole; ``limits`` what was given of them.

    ``is_named`` says that the run may exist already, and may refuse what is asked of it. ``secret`` is the first part
    of the paths in the program's base URLs, which the shim wants to see again.
    """

    command: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    run: str
    is_named: bool
    endpoint: Endpoint
    listener: socket.socket
    secret: str = field(repr=False)
    upstreams: Mapping[str, str]
    limits: Governance
    prices: PriceFile | None
    reactions: Reactions
    inject: bool
    max_body_bytes: int
    header_timeout_s: float
    refusal_status: int | None
    log_level: str
    log_format: str

    def open_message(self, pid: int) -> shim_pb2.OpenRun:
        """The opening of the run, by the process ``pid``; 0 where it is not started yet."""
        from leash.v1 import shim_pb2  # noqa: PLC0415 (the program is started before protobuf is needed)

        return shim_pb2.OpenRun(
            run=self.run,
            limits=self.limits.to_wire(),
            defaults=DEFAULTS.to_wire(),
            prices_sha256=hashlib.sha256(self.prices.text).digest() if self.prices else b"",
            pid=pid,
            kind="wrap",
            reactions=self.reactions.to_wire(),
        )

    def say_about_prices(self, *, budgeted: bool, on_blind: str) -> None:
        """Tells of a missing price table, unless the budget was turned off on purpose."""
        if self.prices is None and self.limits.max_cost != 0:
            say(price_notice(budgeted=budgeted, on_blind=on_blind))


def listen() -> socket.socket:
    """Listens on a free port of the loopback: connections wait in the backlog until the shim is there."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(_BACKLOG)
    return listener
