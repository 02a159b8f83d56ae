"""Where a request comes in: who may, under which run, and at which path. A wrapped program's own is here."""

from __future__ import annotations

from dataclasses import dataclass
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


class OneRun:
    """The door of a wrapped program: everything is of its one run, which is open as long as the program lives."""

    __slots__ = ("_run",)

    def __init__(self, run: str) -> None:
        self._run = run

    def admit(self, path: str, request_headers: Headers, /) -> Visitor:
        """Anybody, under the one run."""
        del request_headers
        return Visitor(path=path, run=self._run)

    async def enter(self, visitor: Visitor, /) -> None:
        """Open already."""

    def leave(self, visitor: Visitor, /) -> None:
        """Stays open."""
