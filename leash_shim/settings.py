"""What a shim is told once, when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash.v1 import shim_pb2

MIB = 1 << 20

# Above what providers take for one model call (OpenAI refuses beyond some tens of megabytes): it bounds the memory
# that one request can claim, not what an agent can ask.
DEFAULT_MAX_BODY_BYTES = 64 * MIB

# The official SDKs wait ten minutes for an answer; a shim that gave up earlier would cut calls that they would not.
DEFAULT_HEADER_TIMEOUT_S = 600.0

# What a person may choose as the status of a terminal refusal.
REFUSAL_STATUSES = (429, 402, 400)


class CallSession(Protocol):
    """The part of a shim session that a call needs. ``leash.client.session.ShimSession`` is one."""

    async def reserve(self, operation: shim_pb2.Reserve, /) -> shim_pb2.Admitted | shim_pb2.Refused:
        """Asks for admission, as long as that takes. Cancelling the wait takes the request back."""
        ...

    def settle(self, operation: shim_pb2.Settle, /) -> None:
        """Closes a call with what the wire reported. Kept and sent again until it is acknowledged; never waits."""
        ...

    def void(self, operation: shim_pb2.Void, /) -> None:
        """Closes a call that never reached the provider. Kept as a settle is; never waits."""
        ...

    def abandon(self, operation: shim_pb2.Abandon, /) -> None:
        """Closes a call whose outcome is unknown. Kept as a settle is; never waits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ShimSettings:
    """The settings of one shim.

    ``upstreams`` maps a mount's name (``openai``) to a base URL. ``inject`` lets the shim ask for the usage of
    streams. ``header_timeout_s`` bounds the wait for an answer's headers; its body may take as long as it takes.
    ``refusal_status`` is the status of every terminal refusal; None leaves it to what each client needs.
    ``body_timeout_s`` bounds the wait for each part of a request's body, and ``max_held_bytes`` what is held of all of
    them together; zero is no bound.
    """

    upstreams: Mapping[str, str]
    session: CallSession
    inject: bool = True
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    header_timeout_s: float = DEFAULT_HEADER_TIMEOUT_S
    refusal_status: int | None = None
    body_timeout_s: float = 0.0
    max_held_bytes: int = 0

    def __post_init__(self) -> None:
        """Refuses what could not work. ValueError."""
        if self.refusal_status not in (None, *REFUSAL_STATUSES):
            raise ValueError(f"refusal_status must be one of {REFUSAL_STATUSES}")
        if self.max_body_bytes <= 0 or self.header_timeout_s <= 0:
            raise ValueError("max_body_bytes and header_timeout_s must be above zero")
        if self.body_timeout_s < 0 or self.max_held_bytes < 0:
            raise ValueError("body_timeout_s and max_held_bytes must not be below zero")
