"""Where a request comes in: who may, under which run, and at which path. A wrapped program's own is here."""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from leash_shim.headers import Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A request that may come in. ``path`` is what is left of its path once what is addressed to leash is taken off.

    ``run`` is its run's full name, with the tenant where there is one; empty where it names none and needs one.
    ``max_cost_nanodollars`` and ``max_calls`` are what it asks for a new run of its own; None where it does not.
    """

    path: str
    run: str
    max_cost_nanodollars: int | None = None
    max_calls: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Why a request does not come in: the status, the stable ``code`` and the sentence of the answer to it.

    ``retry_after_seconds`` is zero where to ask again is of no use, or comes to something only after a change.
    ``path`` is what is left of its path, as a visitor's.
    """

    status: int
    code: str
    message: str
    path: str = ""
    retry_after_seconds: int = 0


# How soon an agent may ask again after the daemon could not be asked: it is restarted within a second or so.
_UNAVAILABLE_RETRY_SECONDS = 1


def unavailable(message: str) -> Denial:
    """The daemon cannot be asked, or cannot record a call."""
    return Denial(status=503, code="leash_unavailable", message=message, retry_after_seconds=_UNAVAILABLE_RETRY_SECONDS)


class Door(Protocol):
    """Decides who comes in, and has runs open while they have calls."""

    def admit(self, path: str, request_headers: Headers, /) -> Visitor | Denial:
        """The visitor that a request is, or why it may not come in. ``path`` is percent-encoded."""
        ...

    async def enter(self, visitor: Visitor, /) -> Denial | None:
        """Opens the visitor's run for reserves, or tells why not. Each success is followed by one ``leave``."""
        ...

    def leave(self, visitor: Visitor, /) -> None:
        """A call of the visitor's run has ended."""
        ...


_NOT_BY_THE_BASE_URL = (
    "leash serves a wrapped program here, and this path does not begin as the base URLs do that the program was given: "
    "use the whole of OPENAI_BASE_URL and the like, not only host and port"
)


class OneRun:
    """The door of a wrapped program: everything is of its one run, which is open as long as the program lives.

    Its port is open to every user of the host, and to the pages in their browsers. So a path has to begin with
    ``secret``, which only the program was given; it goes no further. ``turned_away`` counts the requests without it.
    """

    __slots__ = ("_run", "_secret", "turned_away")

    def __init__(self, run: str, *, secret: str) -> None:
        """``secret`` is a path segment of unreserved characters."""
        if not secret:
            raise ValueError("a wrapped program's door needs a secret")
        self._run = run
        self._secret = secret.encode("ascii")
        self.turned_away = 0

    def admit(self, path: str, request_headers: Headers, /) -> Visitor | Denial:
        """Whoever has the secret, under the one run."""
        del request_headers
        before, _, below = path.partition("/")
        given, slash, rest = below.partition("/")
        # In a time that does not tell how much of it was right.
        if before or not compare_digest(given.encode("latin-1"), self._secret):
            self.turned_away += 1
            return Denial(status=404, code="unknown_address", message=_NOT_BY_THE_BASE_URL)
        return Visitor(path=slash + rest or "/", run=self._run)

    async def enter(self, visitor: Visitor, /) -> None:
        """Open already."""

    def leave(self, visitor: Visitor, /) -> None:
        """Stays open."""
